"""Faults that a GPU box or a cluster met, put back one by one: each has a check that fails with it.

Those that need a second device (labels left on the CPU, mixed types in a norm, float64 on the device, a network left on
the CPU) are put back in `test_device_mutations`; the others here.
"""

import contextlib
import errno
import fcntl
import signal

import pytest
import torch

import infolab.atomic
import infolab.device
import infolab.runs
import infolab.storage
import infolab.sweep
import infolab.training
from infolab.config import RunConfig
from infolab.device import pick_device, set_up
from infolab.errors import InterruptedRunError, LabError, RunFailedError, UserError
from infolab.results.tables import Speed
from infolab.runs import Run, progress_watched
from infolab.signals import time_limit
from infolab.storage import Pieces
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.training import Training, train

pytestmark = pytest.mark.usefixtures("no_tensorboard")


def run_of(folder):
    return Run("paper", "study", "smoke", RunConfig(runs_dir=folder / "runs", results_dir=folder / "results"))


def training(evaluate=lambda step: []):
    weight = torch.nn.Parameter(torch.ones(2))
    return Training(
        torch.nn.ParameterList([weight]), torch.optim.Adam([weight]), lambda step: weight.square().sum(), steps=4,
        evaluate=evaluate, evaluate_after=[2],
    )  # fmt: skip


def sweep(run):
    return Experiment("x", {"quick": [RunConfig()]}, Speed, lambda config: None, run, lambda config: Cost(1, 1, 1, 1))


# ---- the checks: each passes, and fails with its fault


def a_signal_ends_an_evaluation_at_once(folder, patch):
    went_on = []

    def evaluate(step):
        signal.raise_signal(signal.SIGUSR1)
        went_on.append(step)
        return []

    run = run_of(folder)
    with contextlib.suppress(InterruptedRunError), run.open():
        train(run, training(evaluate))
    assert not went_on


def the_time_limit_counts_in_evaluations(folder, patch):
    pieces = Pieces(folder, "x")
    with time_limit(1e-9):
        pieces("first", lambda: {"value": torch.zeros(1)})
        with pytest.raises(InterruptedRunError):
            pieces("second", lambda: {"value": torch.zeros(1)})


def a_task_without_progress_ends(folder, patch):
    codes = []
    for _ in range(2):
        try:
            with progress_watched(folder, "abc"):
                raise InterruptedRunError("stopped", signal.SIGUSR1)
        except (InterruptedRunError, RunFailedError) as error:
            codes.append(error.exit_code)
    assert codes == [75, 3]


def a_gpu_that_cannot_be_used_is_said(folder, patch):
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setenv("SLURM_JOB_GPUS", "0")
    with pytest.raises(UserError):
        pick_device("auto")


def a_file_system_without_locks_is_worked_on(folder, patch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    patch.setattr(fcntl, "flock", unsupported)
    with run_of(folder).open():
        pass


def float32_is_not_tf32(folder, patch):
    before = [backend.fp32_precision for backend in infolab.device._tf32_backends()]
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = "tf32"  # as torch starts
    try:
        set_up(RunConfig(device="cpu"))
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    finally:
        for backend, old in zip(_REAL_BACKENDS(), before, strict=False):
            backend.fp32_precision = old


def a_finished_run_keeps_one_checkpoint(folder, patch):
    patch.setattr(infolab.training, "CHECKPOINT_SHARE", float("inf"))
    run = run_of(folder)
    with run.open():
        train(run, training())
    assert len(list(run.folder.glob("checkpoint-*"))) == 1


def a_run_of_another_process_is_not_tried_again(folder, patch):
    with run_of(folder).open(), pytest.raises(LabError) as error, run_of(folder).open():
        pass
    assert error.value.exit_code == 2


def torchrun_does_not_repeat_a_run(folder, patch):
    patch.setenv("WORLD_SIZE", "2")
    patch.setenv("RANK", "0")
    done = []
    with contextlib.suppress(UserError):
        run_sweep(
            sweep(lambda preset, config: done.append(config)), ["--runs-dir", str(folder), "--results-dir", str(folder)]
        )
    assert not done


_REAL_BACKENDS = infolab.device._tf32_backends


class TriedAgainError(InterruptedRunError):
    """What a taken run was: code 75."""


def _no_context(*_):
    return contextlib.nullcontext()


def _two_are_kept(folder, step, tensors, state):
    return infolab.storage.save_checkpoint(folder, step, tensors, {**state, "complete": False})


FAULTS = {
    a_signal_ends_an_evaluation_at_once: [(infolab.training, "stops_raise", _no_context)],
    the_time_limit_counts_in_evaluations: [(infolab.storage, "time_is_up", lambda: False)],
    a_task_without_progress_ends: [(infolab.runs, "PATIENCE", 10**9)],
    a_gpu_that_cannot_be_used_is_said: [(infolab.device, "_check_no_gpu_is_left_out", lambda: None)],
    a_file_system_without_locks_is_worked_on: [(infolab.atomic, "UNSUPPORTED", set())],
    float32_is_not_tf32: [(infolab.device, "_tf32_backends", list)],
    a_finished_run_keeps_one_checkpoint: [(infolab.training, "save_checkpoint", _two_are_kept)],
    a_run_of_another_process_is_not_tried_again: [(infolab.runs, "RunTakenError", TriedAgainError)],
    torchrun_does_not_repeat_a_run: [(infolab.sweep, "_check_processes", lambda experiment: None)],
}


@pytest.mark.parametrize("check", FAULTS, ids=lambda check: check.__name__)
def test_a_fault_that_is_put_back_is_noticed(check, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        check(tmp_path / "mended", patch)
    with monkeypatch.context() as patch:
        for module, name, fault in FAULTS[check]:
            patch.setattr(module, name, fault)
        with pytest.raises((AssertionError, pytest.fail.Exception, OSError, InterruptedRunError)):
            check(tmp_path / "put back", patch)
