"""Result tables: what the writer refuses, what the reader gets back, what may not be mixed."""

import gzip
import hashlib
import json
import math
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import infolab.results.store as store
import infolab.results.whole as whole
from infolab.errors import UserError
from infolab.results import (
    files,
    is_written,
    read,
    read_arrays,
    read_or_reference,
    refuse_mixture,
    write,
    write_arrays,
)
from scripts.tables import declared_tables, main, render

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def row_type(monkeypatch):
    """A table that exists for one test."""
    monkeypatch.setattr(store, "TABLES", store.TABLES)
    declared = store.table("paper/table", 2, "A table of this test.")

    class Row:
        name: str = store.setting("a word")
        n: int = store.setting("a count")
        flag: bool = store.setting("a switch")
        x_nats: float = store.value("a number", "nats")
        x_se: float | None = store.error("x_nats", "nats", default=None)

    row = declared(Row)
    yield row
    del store.TABLES["paper/table"]


def row(row_type, **changes):
    return row_type(**{"name": "a", "n": 1, "flag": True, "x_nats": 0.5} | changes)


def one_sentence(error):
    return "\n" not in str(error.value)


def random_floats(count):
    """Finite floats of every size, from their bit patterns."""
    source = random.Random(0)
    found = [0.1, 1 / 3, 5e-324, sys.float_info.max, -0.0, 1e22, 123456789.12345679]
    while len(found) < count:
        number = struct.unpack("d", struct.pack("Q", source.getrandbits(64)))[0]
        if math.isfinite(number):
            found.append(number)
    return found


def test_floats_read_back_to_the_same_bits(tmp_path, row_type):
    numbers = random_floats(3000)
    write(tmp_path, row_type, "id", [row(row_type, x_nats=x) for x in numbers], {})
    assert [struct.pack("d", x) for x in read(tmp_path, "paper/table").x_nats] == [struct.pack("d", x) for x in numbers]


def test_types_empties_and_words_that_look_like_missing_values_come_back(tmp_path, row_type):
    rows = [row(row_type, name=name, x_se=se) for name, se in (("None", None), ("NA", 0.25), ('a, "b"', None))]
    write(tmp_path, row_type, "id", [*rows, row(row_type, x_nats=3, flag=False)], {})
    frame = read(tmp_path, "paper/table")
    assert frame.name.tolist() == ["None", "NA", 'a, "b"', "a"]
    assert frame.x_se.isna().tolist() == [True, False, True, True]
    assert frame.flag.tolist() == [True, True, True, False]
    assert (frame.n.dtype, frame.x_nats.dtype, frame.x_se.dtype) == (np.int64, np.float64, np.float64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_nats": None}, "column x_nats: a value is missing"),
        ({"x_nats": math.nan}, "column x_nats: nan is not finite"),
        ({"x_se": math.inf}, "column x_se: inf is not finite"),
        ({"x_nats": "0.5"}, "column x_nats: '0.5' is a str, expected float"),
        ({"n": 1.0}, "column n: 1.0 is a float, expected int"),
        ({"n": True}, "column n: True is a bool, expected int"),
        ({"flag": 1}, "column flag: 1 is a int, expected bool"),
        ({"name": 3}, "column name: 3 is a int, expected str"),
    ],
)
def test_the_writer_refuses_a_bad_value_and_writes_nothing(tmp_path, row_type, changes, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, row_type, "id", [row(row_type), row(row_type, **changes)], {})
    assert list(tmp_path.rglob("*")) == []


def test_the_writer_refuses_unknown_and_missing_columns_other_rows_and_no_rows(tmp_path, row_type):
    with pytest.raises(TypeError, match="colour"):
        row(row_type, colour="red")
    with pytest.raises(TypeError, match="x_nats"):
        row_type(name="a", n=1, flag=True)
    with pytest.raises(ValueError, match="takes rows of type"):
        write(tmp_path, row_type, "id", [{"name": "a"}], {})
    with pytest.raises(ValueError, match="must have rows"):
        write(tmp_path, row_type, "id", [], {})
    with pytest.raises(ValueError, match="not a declared table"):
        write(tmp_path, dict, "id", [{}], {})
    assert list(tmp_path.rglob("*")) == []


def test_a_kill_before_the_csv_leaves_the_run_unfinished(tmp_path, row_type, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.atomic, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, row_type, "id", [row(row_type)], {})
    assert not is_written(tmp_path, row_type, "id")
    assert read(tmp_path, "paper/table").empty


def test_provenance_lies_beside_the_table(tmp_path, row_type):
    path = write(tmp_path, row_type, "id", [row(row_type)] * 3, {"command": "python -m x", "seed": 4})
    assert path == tmp_path / "paper/table/id.csv"
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "table": "paper/table", "schema_version": 2, "rows": 3, "command": "python -m x", "seed": 4,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip


def test_big_tables_are_compressed_and_read_in_columns(tmp_path, row_type, monkeypatch):
    few, many = [row(row_type)] * 10, [row(row_type, n=i) for i in range(11)]
    monkeypatch.setattr(store, "COMPRESS_ROWS", 10)
    assert write(tmp_path, row_type, "few", few, {}).name == "few.csv"
    path = write(tmp_path, row_type, "many", many, {})
    assert path.name == "many.csv.gz"
    assert gzip.decompress(path.read_bytes()).startswith(b"name,n,flag,x_nats,x_se\n")
    assert is_written(tmp_path, row_type, "many")
    assert [item.name for item in files(tmp_path, "paper/table")] == ["few.csv", "many.csv.gz"]
    frame = read(tmp_path, "paper/table", ["x_nats", "n"])
    assert list(frame.columns) == ["x_nats", "n"]
    assert frame.n.tolist() == [1] * 10 + list(range(11))
    first = path.read_bytes()
    write(tmp_path, row_type, "many", many, {})
    assert path.read_bytes() == first  # no time stamp inside


def test_a_table_that_shrinks_or_grows_replaces_its_other_form(tmp_path, row_type, monkeypatch):
    monkeypatch.setattr(store, "COMPRESS_ROWS", 1)
    write(tmp_path, row_type, "id", [row(row_type)] * 2, {})
    write(tmp_path, row_type, "id", [row(row_type)], {})
    assert len(read(tmp_path, "paper/table")) == 1
    write(tmp_path, row_type, "id", [row(row_type)] * 2, {})
    assert len(read(tmp_path, "paper/table")) == 2


def rename_version(path):
    meta = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(meta | {"schema_version": 1}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (rename_version, "written under version 1 of paper/table, this code reads version 2"),
        (lambda path: path.with_suffix(".json").unlink(), "no readable provenance 'id.json'"),
        (lambda path: path.with_suffix(".json").write_text("{"), "no readable provenance"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "no readable provenance"),
        (lambda path: path.write_text("x,y\n1,2\n"), "does not have the columns"),
        (lambda path: path.write_text(path.read_text().replace("x_nats", "x_bits")), "does not have the columns"),
        (lambda path: path.write_text(""), "does not have the columns"),
        (lambda path: path.write_text(path.read_text().replace("0.5", "zero")), "has the digest of"),
        (lambda path: path.write_text("".join(path.read_text().splitlines(True)[:2])), "damaged .1 rows"),
        (lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()), "damaged|columns"),
    ],
)
def test_a_foreign_or_damaged_file_is_refused_in_one_sentence(tmp_path, row_type, harm, message):
    harm(write(tmp_path, row_type, "id", [row(row_type)] * 2, {}))
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, "paper/table")
    assert one_sentence(error)


@pytest.mark.parametrize("keep", [5, 0.5, 0.95])
def test_a_truncated_compressed_table_is_refused_in_one_sentence(tmp_path, row_type, monkeypatch, keep):
    monkeypatch.setattr(store, "COMPRESS_ROWS", 0)
    path = write(tmp_path, row_type, "id", [row(row_type, x_nats=x) for x in random_floats(500)], {})
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep >= 1 else int(keep * len(content))])
    with pytest.raises(UserError, match="is damaged") as error:
        read(tmp_path, "paper/table")
    assert one_sentence(error)


def test_the_reference_stands_in_only_where_the_user_has_nothing(tmp_path, row_type):
    assert read_or_reference(tmp_path, "paper/table")[1] == "nothing"
    write(tmp_path / "reference", row_type, "r", [row(row_type, name="reference")], {})
    frame, whose = read_or_reference(tmp_path, "paper/table", ["name"])
    assert (frame.name.tolist(), whose) == (["reference"], "reference")
    write(tmp_path, row_type, "y", [row(row_type, name="own")], {})
    frame, whose = read_or_reference(tmp_path, "paper/table")
    assert (frame.name.tolist(), whose) == (["own"], "yours")


def test_rows_that_differ_in_scale_are_refused():
    frame = pd.DataFrame({"data_scale": [1.0, 1.0, None], "estimand": ["mass", "density", "mass"]})
    refuse_mixture(frame, ["data_scale"])
    with pytest.raises(UserError, match="different estimand"):
        refuse_mixture(frame, ["data_scale", "estimand"])


def test_ten_thousand_runs_are_listed_without_opening_one(tmp_path, row_type):
    folder = write(tmp_path, row_type, "run00007", [row(row_type, n=7)], {}).parent
    for index in range(10_000):
        if index != 7:
            (folder / f"run{index:05d}.csv").touch()
    (folder / ".run00001.csv.77.tmp").touch()  # what a kill may leave
    opened = []

    def note(event, arguments):
        if event == "open" and not note.off and str(arguments[0]).startswith(str(folder)):
            opened.append(arguments[0])

    note.off = False
    sys.addaudithook(note)
    try:
        assert len(files(tmp_path, "paper/table")) == 10_000
        assert not is_written(tmp_path, row_type, "run10000")
        assert opened == []
        assert is_written(tmp_path, row_type, "run00007")
        assert {os.path.basename(name) for name in opened} == {"run00007.csv", "run00007.json"}
        opened.clear()
        for index in range(10_000):
            if index != 7:
                (folder / f"run{index:05d}.csv").unlink()
        assert read(tmp_path, "paper/table").n.tolist() == [7]
        assert {os.path.basename(name) for name in opened} == {"run00007.csv", "run00007.json"}
    finally:
        note.off = True  # an audit hook cannot be removed


def test_a_table_is_declared_once_and_every_column_describes_itself(row_type):
    with pytest.raises(ValueError, match="declared twice"):
        store.table("paper/table", 1, "again")(type("Again", (), {"__annotations__": {}}))
    with pytest.raises(ValueError, match="declare it by setting"):
        store.table("paper/other", 1, "bare")(type("Bare", (), {"__annotations__": {"x": int}}))
    for declared in declared_tables().values():
        names = declared.names()
        for column in declared.columns:
            assert column.description
            assert column.kind != "error" or column.error_of in names, (declared.name, column.name)
            assert column.kind != "error" or column.unit == declared.columns[names.index(column.error_of)].unit
        assert any(column.kind == "setting" for column in declared.columns)


def test_the_readme_of_the_tables_is_current(monkeypatch, tmp_path):
    assert (REPOSITORY / "results/README.md").read_text() == render()
    monkeypatch.setattr(sys, "argv", ["scripts.tables", "--results-dir", str(tmp_path)])
    main()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--check"])
    main()
    (tmp_path / "README.md").write_text("old")
    with pytest.raises(SystemExit, match="out of date: run"):
        main()


def test_tables_are_read_without_torch():
    code = "import sys, scripts.tables; scripts.tables.declared_tables(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_arrays_come_back_and_pickles_are_refused(tmp_path):
    arrays = {"samples": np.arange(6, dtype=np.uint8).reshape(2, 3), "T": np.array([0.1, 1 / 3])}
    write_arrays(tmp_path / "reference", "paper", "r", {"T": np.zeros(1)}, {"experiment": "toy"})
    write_arrays(tmp_path, "paper", "a", arrays, {"experiment": "toy", "seed": 1})
    write_arrays(tmp_path, "paper", "b", arrays, {"experiment": "other"})
    ((provenance, found),) = read_arrays(tmp_path, "paper", "toy")
    assert provenance.items() >= {"experiment": "toy", "seed": 1}.items()
    assert found.keys() == arrays.keys()
    for name in arrays:
        assert found[name].dtype == arrays[name].dtype
        np.testing.assert_array_equal(found[name], arrays[name])
    (reference,) = read_arrays(tmp_path / "reference", "paper", "toy")
    assert reference[1]["T"].tolist() == [0.0]
    with pytest.raises(ValueError, match="only numbers and text"):
        write_arrays(tmp_path, "paper", "c", {"x": np.array([{}], dtype=object)}, {})


def test_a_run_is_finished_when_all_that_it_wrote_is_whole(tmp_path, row_type):
    provenance = {"experiment": "one"}
    write_arrays(tmp_path, "paper", "id", {"x": np.arange(500)}, provenance)
    write(tmp_path, row_type, "id", [row(row_type)], provenance)
    array = tmp_path / "paper/images/id.npz"
    content, told = array.read_bytes(), []
    assert is_written(tmp_path, row_type, "id", told.append)
    for damaged in (content[:200], content[:100] + b"\xff" + content[101:], b""):
        array.write_bytes(damaged)
        assert not is_written(tmp_path, row_type, "id", told.append)
        assert "images/id.npz" in told[-1]
        with pytest.raises(UserError, match=r"id\.npz' is damaged"):
            read_arrays(tmp_path, "paper", "one")
    array.unlink()
    assert not is_written(tmp_path, row_type, "id", told.append)
    assert "images/id.npz: it is missing" in told[-1]
    array.write_bytes(content)
    assert is_written(tmp_path, row_type, "id", told.append)
    assert len(told) == 4


def test_a_table_of_another_start_than_the_last_one_is_found(tmp_path, row_type):
    provenance = {"experiment": "one"}
    write_arrays(tmp_path, "paper", "id", {"x": np.arange(5)}, provenance)
    write(tmp_path, row_type, "id", [row(row_type)], provenance)
    write_arrays(tmp_path, "paper", "id", {"x": np.arange(6)}, provenance)  # and then it was killed
    told = []
    assert not is_written(tmp_path, row_type, "id", told.append)
    assert "of another start of the run" in told[0]


def test_what_is_about_to_be_replaced_is_read_again(tmp_path, row_type, monkeypatch):
    path = write(tmp_path, row_type, "id", [row(row_type)], {})
    old = path.read_bytes()
    write(tmp_path, row_type, "id", [row(row_type, n=2)], {})
    new = path.read_bytes()
    path.write_bytes(old)  # the provenance is the new one's
    monkeypatch.setattr(whole.time, "sleep", lambda seconds: path.write_bytes(new))
    assert read(tmp_path, "paper/table")["n"].tolist() == [2]
    path.write_bytes(old)
    assert is_written(tmp_path, row_type, "id")


def test_pictures_of_the_run_that_finished_last_are_shown(tmp_path):
    for run, finished in (("0123456789ab-000000", "2"), ("0123456789ab-111111", "1"), ("0123456789ab", "0")):
        write_arrays(tmp_path, "paper", run, {"x": np.zeros(1)}, {"experiment": "e", "finished": finished, "id": run})
    assert [provenance["id"] for provenance, _ in read_arrays(tmp_path, "paper", "e")] == ["0123456789ab-000000"]


def test_what_another_experiment_wrote_of_the_same_run_is_not_in_its_list(tmp_path, row_type):
    write_arrays(tmp_path, "paper", "id", {"x": np.arange(5)}, {"experiment": "other"})
    write(tmp_path, row_type, "id", [row(row_type)], {"experiment": "one"})
    (tmp_path / "paper/images/id.npz").unlink()
    assert is_written(tmp_path, row_type, "id")


def test_results_without_a_digest_are_taken_as_they_are(tmp_path, row_type):
    path = write(tmp_path, row_type, "id", [row(row_type)], {})
    record = json.loads(path.with_suffix(".json").read_text())
    del record["sha256"]
    path.with_suffix(".json").write_text(json.dumps(record))
    assert is_written(tmp_path, row_type, "id")
    assert len(read(tmp_path, "paper/table")) == 1


def test_one_changed_digit_is_found_when_a_table_is_read(tmp_path, row_type):
    path = write(tmp_path, row_type, "id", [row(row_type, x_nats=0.5)], {})
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(UserError, match="not what its provenance has the digest of"):
        read(tmp_path, "paper/table")
