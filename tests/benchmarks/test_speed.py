"""The speed table: how rows are measured, merged and written. No test looks at how fast anything is."""

import csv
import json
from dataclasses import replace

import pytest

from benchmarks import diffusion, run, speed_table
from benchmarks.timing import Duel, achieved_gflops, duel_to_row
from infolab.errors import UserError
from infolab.results import Speed, table_of


def duel(ours, reference):
    return Duel(
        setting="s", unit="ms", wanted=2.0, ours=ours, reference=reference, evaluations_ours=1,
        evaluations_reference=1, flops_ours=3e6, seconds_per_unit=1e-3,
    )  # fmt: skip


def row(name="diffusion.x", **changes):
    base = Speed(
        name=name, setting="m=1, two", unit="ms", ours=0.1, reference=0.3, ratio=3.0, ratio_low=2.0, ratio_high=4.0,
        wanted=2.5, evaluations_ours=1, evaluations_reference=2,
    )  # fmt: skip
    return replace(base, **changes)


def rows_of(path):
    with path.open() as file:
        return {record["name"]: record for record in csv.DictReader(file)}


def test_sides_alternate_and_the_ratio_is_that_of_pairs():
    order, times = [], iter([1.0, 2.0, 3.0, 4.0, 50.0])

    def ours(repeat):
        order.append(("ours", repeat))
        return 1.0

    def reference(repeat):
        order.append(("reference", repeat))
        return next(times)

    measured = duel_to_row("a", duel(ours, reference), 5)
    assert order == [(side, i) for i in range(5) for side in ("reference", "ours")]
    assert (measured.ratio, measured.ratio_low, measured.ratio_high) == (3.0, 1.0, 50.0)
    assert achieved_gflops(duel(ours, reference), measured) == pytest.approx(3.0)


def test_fewer_than_five_repeats_are_refused():
    with pytest.raises(UserError, match="at least 5"):
        duel_to_row("a", duel(lambda i: 1.0, lambda i: 1.0), 4)


def test_the_file_has_the_declared_columns_and_keeps_other_rows(tmp_path):
    path = speed_table.write(tmp_path, [row("vae.a", ours=1 / 3), row("diffusion.x")], {"day": 1})
    assert path == tmp_path / "bench" / "speed.csv"
    speed_table.write(tmp_path, [row("diffusion.x", ratio=7.0)], {"day": 2})
    assert path.read_text().splitlines()[0].split(",") == table_of(Speed).names()
    found = rows_of(path)
    assert list(found) == ["diffusion.x", "vae.a"]
    assert float(found["diffusion.x"]["ratio"]) == 7.0
    assert float(found["vae.a"]["ours"]) == 1 / 3
    assert found["vae.a"]["setting"] == "m=1, two"
    origins = json.loads(path.with_suffix(".json").read_text())
    assert origins["schema_version"] == table_of(Speed).version
    assert origins["rows"] == {"vae.a": {"day": 1}, "diffusion.x": {"day": 2}}
    assert sorted(file.name for file in path.parent.iterdir()) == ["speed.csv", "speed.json"]


@pytest.mark.parametrize("broken", ["speed.csv", "speed.json"])
def test_a_damaged_file_is_named_and_left_alone(tmp_path, broken):
    path = speed_table.write(tmp_path, [row()], {})
    (path.parent / broken).write_text("{")
    with pytest.raises(UserError, match=r"speed\.csv"):
        speed_table.write(tmp_path, [row()], {})
    assert (path.parent / broken).read_text() == "{"


def test_a_row_says_whether_the_wanted_ratio_is_met():
    assert " yes" in speed_table.line(row(ratio=2.5), 10.0)
    assert " NO" in speed_table.line(row(ratio=2.49), 0.0)


def test_rows_are_chosen_by_paper_and_name():
    everything = run.wanted_rows("", "")
    assert set(diffusion.ROWS) <= set(everything)
    assert run.wanted_rows("diffusion", "diffusion.bound_m2000") == {"diffusion.bound_m2000": "diffusion"}
    with pytest.raises(UserError, match=r"diffusion\.bound_m2000"):
        run.wanted_rows("", "diffusion.bound")
    with pytest.raises(UserError, match="choose one of"):
        run.wanted_rows("nothing", "")


def test_a_run_measures_its_rows_and_writes_them(tmp_path, monkeypatch, capsys):
    small = {
        "diffusion.train_sweep_m10": lambda: diffusion.train_sweep(10, 10.0, epochs=2),
        "diffusion.train_sweep_scaling_20": lambda: diffusion.sweep_scaling(20, m=5, epochs=2),
    }
    monkeypatch.setattr(diffusion, "ROWS", small)
    speed_table.write(tmp_path, [row("vae.a")], {})
    run.measure(run.wanted_rows("diffusion", ""), 5, tmp_path)
    found = rows_of(tmp_path / "bench" / "speed.csv")
    assert set(found) == {"vae.a", *small}
    for name in small:
        low, middle, high = (float(found[name][column]) for column in ("ratio_low", "ratio", "ratio_high"))
        assert 0 < low <= middle <= high
    origin = json.loads((tmp_path / "bench" / "speed.json").read_text())["rows"]["diffusion.train_sweep_m10"]
    assert origin["config"]["repeats"] == 5
    assert origin["config"]["machine_sgemm_gflops"] > 0
    assert origin["versions"]["torch"]
    assert "machine:" in capsys.readouterr().out


def test_the_bound_row_measures_both_sides_and_their_errors():
    prepared = diffusion.bound(m=40, train_epochs=2, part=2)
    assert prepared.reference(0) > 0
    assert prepared.ours(0) > 0
    assert "Standard error of the bound: ours" in prepared.note()


def test_a_folder_that_cannot_be_made_and_too_few_repeats_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "sgemm_gflops", lambda: pytest.fail("work was begun"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="results-dir"):
        run.measure({}, 5, tmp_path / "file")
    with pytest.raises(UserError, match="at least 5"):
        run.measure({}, 4, tmp_path)
