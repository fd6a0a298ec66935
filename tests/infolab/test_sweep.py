"""A sweep: overrides reach every config, shares do not overlap, finished runs are skipped, bad settings stop it."""

import dataclasses
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from infolab import signals
from infolab.config import RunConfig, run_id
from infolab.data import registry
from infolab.errors import InterruptedRunError, RunTakenError, UserError
from infolab.results import read, store, write
from infolab.sweep import Cost, Experiment, distinct, run_sweep


@dataclass(frozen=True)
class Small(RunConfig):
    """A config of this test."""

    m: int = 1
    T: float = 1.0
    switch: bool = False


class Lab:
    """An experiment that notes what it is asked to run, and marks it as finished."""

    def __init__(self, row_type, configs):
        self.ran, self.costed, self.row_type = [], 0, row_type
        self.experiment = Experiment(
            "python -m lab", {"quick": configs, "smoke": configs[:1]}, row_type, self.check, self.run, self.cost
        )

    def check(self, config):
        if config.m * config.T > 100:
            raise UserError("too large")

    def run(self, preset, config):
        write(config.results_dir, self.row_type, run_id(config), [self.row_type(m=config.m)], {})
        self.ran.append((preset, config.m, config.T))

    def cost(self, config):
        self.costed += 1
        return Cost(10 * config.m, 2**20, 1e6, 6e10)

    def __call__(self, *words):
        self.ran = []
        run_sweep(self.experiment, words)
        return self.ran


@pytest.fixture
def lab(tmp_path):
    row_type = store.table("paper/sweep", 1, "A table of this test.")(
        type("Row", (), {"__annotations__": {"m": int}, "m": store.setting("m")})
    )
    yield Lab(row_type, [Small(m=m, T=T, results_dir=tmp_path) for m, T in ((1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5))])
    del store.TABLES["paper/sweep"]


def test_runs_in_order_and_skips_what_is_finished(lab, capsys):
    first = lab()
    assert first == [("quick", 1, 1.0), ("quick", 2, 1.0), ("quick", 3, 0.5), ("quick", 4, 0.5)]
    assert lab("quick") == []
    assert capsys.readouterr().err.count("finished already (--force runs it again)\n") == 4
    assert lab("--force") == first
    assert lab("smoke") == []


def test_a_flag_replaces_its_field_everywhere_and_twins_run_once_in_order(lab):
    assert lab("--T", "2") == [("quick", m, 2.0) for m in (1, 2, 3, 4)]
    assert lab("--m=3", "--switch") == [("quick", 3, 1.0), ("quick", 3, 0.5)]


def test_distinct_keeps_the_first_of_each():
    a, b, again = Small(m=1), Small(m=2), Small(m=1, device="cuda")
    assert distinct([a, b, again]) == [a, b]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_tasks_share_a_sweep_without_overlap(lab, count):
    parts = [lab("--force", "--task", f"{index}/{count}") for index in range(count)]
    together = [run for part in parts for run in part]
    assert sorted(together) == sorted(lab("--force"))
    assert len(set(together)) == len(together)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("task", ["2/2", "-1/2", "1", "a/b", "1/2/3", "0/0", "0.5/2"])
def test_a_task_that_is_no_share_is_refused(lab, task):
    with pytest.raises(UserError, match="--task must be i/n"):
        lab(f"--task={task}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--T", "30"], "too large"),
        (["--threads", "-1"], "--threads must be 0"),
        (["--device", "abacus"], "'abacus' is not available"),
        (["--device", "cuda:99"], "'cuda:99' is not available"),
    ],
)
def test_a_bad_setting_of_any_run_stops_the_sweep_before_the_first(lab, tmp_path, words, message):
    with pytest.raises(UserError, match=message) as error:
        lab(*words)
    assert "\n" not in str(error.value)
    assert lab.ran == []
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_the_cost_and_does_nothing(lab, tmp_path, capsys):
    lab("--m", "2")
    (tmp_path / "paper/sweep").rename(tmp_path / "moved")
    (tmp_path / "paper").rmdir()
    assert lab("--dry-run") == []
    text = capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved"]
    assert text.count("(to do)") == 4
    assert "40 parameters, 1 MiB, 1e+06 network evaluations" in text
    assert "4 runs" in text


def test_a_sweep_of_ten_thousand_finished_runs_parses_and_costs_nothing(lab, tmp_path):
    base = Small(results_dir=tmp_path)
    configs = [dataclasses.replace(base, m=m, T=0.001) for m in range(1, 10_001)]
    large = Lab(lab.experiment.row_type, configs)
    (tmp_path / "paper/sweep").mkdir(parents=True)
    for config in configs[1:]:
        for name, text in (("csv", f"m\n{config.m}\n"), ("json", '{"rows": 1}')):  # without waiting for the disk
            (tmp_path / f"paper/sweep/{run_id(config)}.{name}").write_text(text)
    assert large() == [("quick", 1, 0.001)]
    assert large.costed == 0


def test_a_signal_between_two_trainings_stops_the_sweep_with_code_75(lab):
    def interrupted(preset, config):
        lab.run(preset, config)
        signal.raise_signal(signal.SIGTERM)

    before = [signal.getsignal(number) for number in signals.SIGNALS]
    lab.ran = []
    with pytest.raises(InterruptedRunError, match="SIGTERM") as error:
        run_sweep(dataclasses.replace(lab.experiment, run=interrupted), [])
    assert error.value.exit_code == 75
    assert len(lab.ran) == 1
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


def test_a_dry_run_tells_disk_and_the_time_on_a_gpu_that_is_not_here(lab, capsys):
    # 4 runs of 6e10 operations each: 240 GFLOP at a third of 67 TFLOP/s is 11 ms; 10 + 20 + 30 + 40 weights in float32,
    # with Adam's two moments.
    assert lab("--dry-run", "--gpu", "h100") == []
    text = capsys.readouterr().out
    assert "on a h100 at least 0.0 min (estimated from its data sheet: a third of 67 TFLOP/s" in text
    assert "disk: checkpoints of 0 MB when all runs have ended" in text
    with pytest.raises(UserError, match="unknown GPU 'h1000': choose one of"):
        lab("--dry-run", "--gpu", "h1000")


def test_runs_of_other_processes_are_left_to_them_and_said_at_the_end(lab, capsys):
    def taken(preset, config):
        if config.m == 2:
            raise RunTakenError("another process works on it")
        return lab.run(preset, config)

    lab.ran = []
    with pytest.raises(UserError, match=r"1 of 4 runs are being done by other processes") as error:
        run_sweep(dataclasses.replace(lab.experiment, run=taken), [])
    assert error.value.exit_code == 2
    assert [m for _, m, _ in lab.ran] == [1, 3, 4]
    assert "another process works on it" in capsys.readouterr().err


def test_torchrun_is_refused_where_each_process_would_do_the_whole_run(lab, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="one run is one process here, not the 2 that torchrun"):
        lab()
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stop:  # the first process has said it
        lab()
    assert stop.value.code == 2
    monkeypatch.delenv("RANK")  # WORLD_SIZE alone is left over from something else
    assert len(lab()) == 4


def damage_by_changing_a_digit(path):
    path.write_text(path.read_text().replace("3", "8"))


def damage_by_emptying(path):
    path.write_text("")


def damage_by_losing_a_row(path):
    path.write_text(path.read_text().splitlines(keepends=True)[0])


def damage_by_losing_the_provenance(path):
    path.with_suffix(".json").unlink()


def damage_by_garbling_the_provenance(path):
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize(
    "damage",
    [
        damage_by_changing_a_digit,
        damage_by_emptying,
        damage_by_losing_a_row,
        damage_by_losing_the_provenance,
        damage_by_garbling_the_provenance,
    ],
)
def test_a_table_that_is_not_what_was_written_is_made_again(lab, tmp_path, capsys, damage):
    lab("--m", "3", "--T", "0.5")
    (path,) = (tmp_path / "paper/sweep").glob("*.csv")
    before = path.read_text()
    assert lab("--m", "3", "--T", "0.5") == []
    damage(path)
    capsys.readouterr()
    assert lab("--m", "3", "--T", "0.5") == [("quick", 3, 0.5)]
    told = capsys.readouterr().err
    assert told.count("are damaged") == 1
    assert str(path) in told
    assert path.read_text() == before


@dataclass(frozen=True)
class Reader(RunConfig):
    """A config whose run reads a file."""

    file: str = ""

    def read_contents(self):
        return registry.joined(file=registry.of_path(Path(self.file)))


def test_a_changed_file_is_a_new_run_and_said(tmp_path, capsys, lab):
    file = tmp_path / "points.npy"
    file.write_bytes(b"first")
    configs = [Reader(file=str(file), results_dir=tmp_path)]
    row_type, ran = lab.row_type, []

    def run(preset, config):
        ran.append(run_id(config))
        finished = f"2026-01-0{len(ran)}T00:00:00Z"
        write(tmp_path, row_type, run_id(config), [row_type(m=len(ran))], {"finished": finished})

    experiment = Experiment("python -m lab", {"quick": configs}, row_type, lambda _: None, run, lab.cost)
    run_sweep(experiment, [])
    run_sweep(experiment, [])
    assert len(ran) == 1
    file.write_bytes(b"other")
    registry.forget()
    capsys.readouterr()
    run_sweep(experiment, [])
    assert len(set(ran)) == 2
    assert f"not those of run {ran[0]}" in capsys.readouterr().err
    assert read(tmp_path, "paper/sweep")["m"].tolist() == [2]
    file.write_bytes(b"first")
    registry.forget()
    capsys.readouterr()
    run_sweep(experiment, [])
    assert len(ran) == 2
    assert f"of it and {ran[1]}, of other files, figures show what ended last" in capsys.readouterr().err
