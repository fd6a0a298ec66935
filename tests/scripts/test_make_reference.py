import sys

from infolab import results as tables
from scripts import make_reference
from vae.tables import Duplicates


def test_tables_are_copied_with_their_provenance_whatever_dots_are_in_their_names(tmp_path, monkeypatch, capsys):
    row = Duplicates(
        dataset="digits", seed=0, m=10, within=0.01, closest=1, index_a=1, index_b=2, label_a=0, label_b=1, distance=0.5
    )  # fmt: skip
    tables.write(tmp_path, Duplicates, "digits-within0.01", [row], {"paper": "vae"})
    monkeypatch.setattr(sys, "argv", ["make_reference", "--results-dir", str(tmp_path), "--paper", "vae"])
    make_reference.main()
    copied = tmp_path / "reference/vae/duplicates"
    assert sorted(path.name for path in copied.iterdir()) == ["digits-within0.01.csv", "digits-within0.01.json"]
    assert capsys.readouterr().out.startswith("copied 1 files")
