"""The loop: exact resume, stop signals, time limit, non-finite losses, clipping, moving average."""

import json
import math
import signal
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import infolab.training as training_module
from infolab.config import RunConfig
from infolab.errors import InterruptedRunError, RunFailedError
from infolab.noise import generator
from infolab.runs import Run
from infolab.signals import SIGNALS
from infolab.storage import load_latest
from infolab.training import Training, train

STEPS = 130


@dataclass(frozen=True)
class Small(RunConfig):
    """A config of this test."""

    lr: float = 0.01


class Board:
    """Stands in for TensorBoard, whose import takes longer than all of these tests."""

    def __init__(self, run, step):
        self.started_at = step

    def scalars(self, step, losses):
        assert torch.isfinite(losses).all()

    def rows(self, step, rows):
        pass

    def close(self):
        pass


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch):
    monkeypatch.setattr(training_module, "_Board", Board)
    monkeypatch.setattr(training_module, "CHECKPOINT_SHARE", math.inf)  # these steps take less time than a file


class Problem:
    """A small regression whose noise is a function of the step; `at_step` runs something in the middle."""

    def __init__(self, folder, steps=STEPS, ema_decay=0.9, optimizer=torch.optim.Adam, events=None, **settings):
        checkpoint_seconds = settings.pop("checkpoint_seconds", 1e9)
        max_minutes = settings.pop("max_minutes", 0.0)
        self.run = Run("paper", "study", "smoke", Small(folder / "runs", folder / "results",
                       checkpoint_seconds=checkpoint_seconds, max_minutes=max_minutes))  # fmt: skip
        self.events = events or {}
        self.seen = []
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 1))
        with torch.no_grad():
            for index, item in enumerate(self.model.parameters()):
                item.copy_(torch.randn(item.shape, generator=generator(0, "init", index)))
        self.training = Training(
            model=self.model,
            optimizer=optimizer(self.model.parameters(), lr=0.01),
            objective=self.objective,
            steps=steps,
            ema_decay=ema_decay,
            evaluate=self.evaluate,
            evaluate_after=[40, 80, STEPS],
            **settings,
        )

    def objective(self, step):
        self.seen.append(step)
        x = torch.randn(16, 4, generator=generator(0, "data", step))
        loss = (self.model(x)[:, 0] - x.sum(1)).square().mean()
        return self.events.get(step, lambda loss: loss)(loss)

    def evaluate(self, step):
        weights = torch.cat([item.flatten() for item in self.training.averaged().values()])
        return [{"step": step, "norm": float(weights.norm()), "note": "σ", "empty": None}]

    def go(self):
        with self.run.open():
            rows = train(self.run, self.training)
        state = {**self.model.state_dict(), **{f"ema/{name}": item for name, item in self.training.ema.items()}}
        return rows, {name: item.clone() for name, item in state.items()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_module, "_Board", Board)
        return {
            optimizer: Problem(tmp_path_factory.mktemp("whole"), optimizer=optimizer).go()
            for optimizer in (torch.optim.Adam, torch.optim.SGD)
        }


def same(left, right):
    assert left[0] == right[0]
    assert left[1].keys() == right[1].keys()
    for name in left[1]:
        assert torch.equal(left[1][name], right[1][name]), name


def raising(number):
    def event(loss):
        signal.raise_signal(number)
        return loss

    return event


def kill(loss):
    raise KeyboardInterrupt  # ends the loop without a checkpoint, as a kill does


@pytest.mark.bits
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_save_load_and_go_on_equals_not_stopping(tmp_path, unbroken, optimizer):
    first = Problem(tmp_path, optimizer=optimizer, events={93: kill})
    with pytest.raises(KeyboardInterrupt):
        first.go()
    second = Problem(tmp_path, optimizer=optimizer)
    same(second.go(), unbroken[optimizer])
    assert second.seen == list(range(80, STEPS))  # from the checkpoint of the last evaluation


@pytest.mark.bits
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [0, 49, 60, 79])
def test_a_signal_finishes_the_step_saves_and_the_same_command_goes_on(tmp_path, unbroken, number, step):
    first = Problem(tmp_path, events={step: raising(number)})
    with pytest.raises(InterruptedRunError, match=f"{signal.Signals(number).name} at step {step + 1} of 130") as error:
        first.go()
    assert error.value.exit_code == 75
    assert load_latest(first.run.folder)[0] == step + 1
    second = Problem(tmp_path)
    same(second.go(), unbroken[torch.optim.Adam])
    assert second.seen == list(range(step + 1, STEPS))


@pytest.mark.bits
def test_a_signal_during_an_evaluation_is_not_lost(tmp_path, unbroken):
    first = Problem(tmp_path)
    evaluate = first.training.evaluate

    def interrupted(step):
        signal.raise_signal(signal.SIGTERM)
        return evaluate(step)

    first.training.evaluate = interrupted
    with pytest.raises(InterruptedRunError):
        first.go()
    assert load_latest(first.run.folder)[0] in (40, 41)
    same(Problem(tmp_path).go(), unbroken[torch.optim.Adam])


@pytest.mark.parametrize("look", range(4, 20, 3))
def test_a_signal_at_any_line_of_the_loop_saves_before_it_stops(tmp_path, monkeypatch, look):
    # The signal arrives between two looks at the watch; whenever the run stops, its newest checkpoint is of that step.
    looks = [0]

    class Watch(training_module.GracefulStop):
        @property
        def wanted(self):
            looks[0] += 1
            return looks[0] > look

        def stop(self, where):
            return InterruptedRunError(where)

    monkeypatch.setattr(training_module, "GracefulStop", Watch)
    problem = Problem(tmp_path)
    with pytest.raises(InterruptedRunError) as error:
        problem.go()
    assert str(error.value) == f"step {load_latest(problem.run.folder)[0]} of 130"


@pytest.mark.bits
def test_a_signal_in_the_last_step_stops_the_sweep_and_loses_nothing(tmp_path, unbroken):
    # The next run of a sweep must not begin; the same command finds the training done and writes its results.
    first = Problem(tmp_path, events={STEPS - 1: raising(signal.SIGTERM)})
    with pytest.raises(InterruptedRunError):
        first.go()
    again = Problem(tmp_path)
    same(again.go(), unbroken[torch.optim.Adam])
    assert again.seen == []


@pytest.mark.bits
def test_the_time_limit_stops_with_a_checkpoint(tmp_path, unbroken):
    first = Problem(tmp_path, max_minutes=1e-9)
    with pytest.raises(InterruptedRunError, match="the time limit at step 1 of 130"):
        first.go()
    same(Problem(tmp_path).go(), unbroken[torch.optim.Adam])


@pytest.mark.bits
def test_a_finished_run_trains_no_further(tmp_path, unbroken):
    Problem(tmp_path).go()
    again = Problem(tmp_path)
    same(again.go(), unbroken[torch.optim.Adam])
    assert again.seen == []


def test_checkpoints_come_by_the_clock(tmp_path):
    problem = Problem(tmp_path, checkpoint_seconds=0.0, events={129: kill})
    with pytest.raises(KeyboardInterrupt):
        problem.go()
    # The losses are looked at (and so a checkpoint can be written) 50 steps after the evaluation at 80 or sooner.
    assert load_latest(problem.run.folder)[0] >= 80
    assert len(list(problem.run.folder.glob("checkpoint-*"))) == 2


@pytest.mark.bits
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(tmp_path, unbroken, capsys):
    first = Problem(tmp_path, events={93: kill})
    with pytest.raises(KeyboardInterrupt):
        first.go()
    newest = first.run.folder / "checkpoint-000000080.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    second = Problem(tmp_path)
    same(second.go(), unbroken[torch.optim.Adam])
    assert second.seen[0] == 40
    message = capsys.readouterr().err
    assert "checkpoint checkpoint-000000080.safetensors is damaged and was set aside; going on from step 40" in message
    assert (first.run.folder / "checkpoint-000000080.safetensors.corrupt").exists()


@pytest.mark.parametrize("step", [0, 41, 77])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, step, value):
    problem = Problem(tmp_path, events={step: lambda loss: loss * value})
    with pytest.raises(RunFailedError, match=f"the loss of step {step + 1} is not finite") as error:
        problem.go()
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    found = load_latest(problem.run.folder)
    assert (found is None) if step < 40 else found[0] == 40


def test_an_evaluation_that_is_not_finite_stops_the_run_and_names_the_column(tmp_path):
    problem = Problem(tmp_path)
    problem.training.evaluate = lambda step: [{"kl": 1.0, "name": "x"}, {"kl": math.nan, "name": "x"}]
    with pytest.raises(RunFailedError, match=r"the evaluation after step 40 is not finite \(kl\)"):
        problem.go()
    assert load_latest(problem.run.folder) is None


def test_gradients_are_scaled_to_the_norm_at_most(tmp_path):
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    model = nn.ParameterList([weight])
    run = Problem(tmp_path).run
    training = Training(
        model, torch.optim.SGD([weight], lr=1.0), lambda step: 0.5 * weight.square().sum(), steps=1, max_grad_norm=1.0
    )
    with run.open():
        train(run, training)
    torch.testing.assert_close(weight.detach(), torch.tensor([2.4, 3.2]))  # one unit along the gradient (3, 4)/5


def test_one_loss_per_network_is_summed(tmp_path):
    weights = nn.Parameter(torch.tensor([1.0, 2.0]))
    training = Training(
        nn.ParameterList([weights]), torch.optim.SGD([weights], lr=0.1), lambda step: weights.square(), steps=1
    )
    run = Problem(tmp_path).run
    with run.open():
        train(run, training)
    torch.testing.assert_close(weights.detach(), torch.tensor([0.8, 1.6]))


def test_the_moving_average_follows_its_recursion(tmp_path):
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    training = Training(
        nn.ParameterList([weight]), torch.optim.SGD([weight], lr=0.1), lambda step: weight.sum(), 5, ema_decay=0.75
    )
    run = Problem(tmp_path).run
    with run.open():
        train(run, training)
    average = 1.0
    for step in range(1, 6):
        average = 0.75 * average + 0.25 * (1 - 0.1 * step)
    assert float(training.averaged()["0"]) == pytest.approx(average, abs=1e-14)
    assert float(weight.detach()) == pytest.approx(0.5)


def test_wall_time_adds_up_over_the_parts_of_a_run(tmp_path):
    first = Problem(tmp_path, events={60: raising(signal.SIGTERM)})
    first.run.seconds_before = 1000.0
    with pytest.raises(InterruptedRunError):
        first.go()
    second = Problem(tmp_path)
    second.go()
    assert second.run.seconds > 1000.0


def test_tensorboard_gets_losses_and_evaluations(tmp_path, monkeypatch):
    monkeypatch.undo()
    problem = Problem(tmp_path, steps=STEPS)
    problem.go()
    (events,) = (problem.run.folder / "events").iterdir()
    content = events.read_bytes()
    assert b"loss/mean" in content
    assert b"evaluation/norm" in content
    assert json.loads((problem.run.folder / "config.json").read_text()) == {"lr": 0.01}


def test_checkpoints_take_a_share_of_the_time_at_most(tmp_path, monkeypatch):
    # A clock that only saving moves: each takes 2 s, so the next one is due after 100 s, whatever --checkpoint-seconds.
    now, saved = [0.0], []
    monkeypatch.setattr(training_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training_module, "CHECKPOINT_SHARE", 0.02)
    monkeypatch.setattr(training_module, "CHECK_EVERY", 1)
    real = training_module._save

    def slow(run, training, step, evaluation_due):
        now[0] += 2.0
        saved.append(step)
        real(run, training, step, evaluation_due)

    def second_of_work(loss):
        now[0] += 1.0
        return loss

    monkeypatch.setattr(training_module, "_save", slow)
    Problem(tmp_path, events=dict.fromkeys(range(STEPS), second_of_work), checkpoint_seconds=10.0).go()
    assert saved == [11, 112, STEPS]


def test_a_signal_during_an_evaluation_ends_it_at_once_and_it_is_done_first_the_next_time(tmp_path, unbroken):
    first = Problem(tmp_path)
    evaluate = first.training.evaluate
    after = []

    def interrupted(step):
        if step == 80:
            signal.raise_signal(signal.SIGUSR1)
            after.append(step)
        return evaluate(step)

    first.training.evaluate = interrupted
    with pytest.raises(InterruptedRunError, match="stopped by SIGUSR1 in the evaluation after step 80"):
        first.go()
    assert after == []
    assert load_latest(first.run.folder)[0] == 80
    second = Problem(tmp_path)
    same(second.go(), unbroken[torch.optim.Adam])
    assert second.seen[0] == 80
