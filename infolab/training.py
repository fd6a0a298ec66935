"""The training loop: optimiser, learning rate, EMA, checkpoints, exact resume, signals, evaluation at set steps."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from infolab import distributed
from infolab.errors import InterruptedRunError, RunFailedError, check_choice
from infolab.progress import Progress
from infolab.runs import Run
from infolab.signals import GracefulStop, stops_raise
from infolab.storage import load_latest, save_checkpoint

# ----------
# The training loop: optimiser, EMA, checkpoints, exact resume, signals, TensorBoard, evaluation at set steps.

CHECK_EVERY = 50
"""Steps between looks at the losses (each look waits for the device)."""
CHECKPOINT_SHARE = 0.02
"""Most of the time that goes into checkpoints: a large one is written less often than --checkpoint-seconds asks."""


Row: TypeAlias = Any
"""A row of an evaluation: a dataclass (of a table), or a dict of plain values."""


@dataclass
class Training:
    """What is trained and how; one optimiser step is `objective(step)`, summed, differentiated, applied.

    All randomness of a step must be a function of (seed, step), so that a resumed run draws what an unbroken one would.
    Started by torchrun, each process's objective is the mean over its own share of the batch (`infolab.distributed`).

    Attributes:
        model: the network, or a batch of networks trained as one (`infolab.nn.mlp`).
        optimizer: an optimiser over its parameters.
        objective: maps the step number to the loss, a scalar or one loss per network (k,). With `parts` above 1 it is
            called as objective(step, part), and the sum over parts is the step's loss.
        steps: optimiser steps in all.
        ema_decay: decay of the exponential moving average of the parameters; 0: none is kept.
        max_grad_norm: gradients are scaled to this norm at most; 0: never.
        parts: backward passes of one step (gradient accumulation).
        evaluate: called after the steps in `evaluate_after` (a step count) and returns rows, the same ones in every
            process.
        row_type: the table's row that `train` returns them as; None: dicts, as checkpoints hold them.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Callable[..., Tensor]
    steps: int
    ema_decay: float = 0.0
    max_grad_norm: float = 0.0
    parts: int = 1
    evaluate: Callable[[int], Iterable[Row]] = lambda step: ()
    evaluate_after: Iterable[int] = ()
    row_type: type | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    ema: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ema_decay and not self.ema:
            self.ema = {name: item.detach().clone() for name, item in self.model.named_parameters()}

    def averaged(self) -> dict[str, Tensor]:
        """The parameters to evaluate with: the moving average, or the parameters themselves where none is kept."""
        return self.ema or {name: item.detach() for name, item in self.model.named_parameters()}


def train(run: Run, training: Training) -> list[Any]:
    """Train to the end, from the last checkpoint of `run` where there is one; returns all rows, of `row_type`.

    A stop that comes during a step ends the loop after it; one that comes during an evaluation ends that at once, and
    the same command begins with it, on the same weights (`infolab.storage` keeps what it had measured).

    Raises:
        RunFailedError: a loss or an evaluated number is not finite; names the step. The last whole checkpoint stays.
        InterruptedRunError: a signal or the time limit came; a checkpoint was written.
    """
    with distributed.first_goes_ahead():  # a damaged checkpoint is set aside once
        step, evaluation_due = _resume(run, training)
    begin = evaluation_due  # each start gets something done, however short its time
    evaluate_after = set(training.evaluate_after)
    losses: list[Tensor] = []
    saving = _Saving(run, training)
    board = _Board(run, step) if distributed.is_first() else _NoBoard()
    with (
        contextlib.closing(board),
        GracefulStop() as watch,
        Progress(f"{run.experiment} {run.id}", training.steps, step) as bar,
    ):
        while step < training.steps or evaluation_due:
            if not evaluation_due:
                losses.append(_one_step(training, step))
                step += 1
                evaluation_due = step in evaluate_after
            # Asked once: a signal may come at any line below.
            stopping = distributed.anyone(watch.wanted)
            if losses and (len(losses) == CHECK_EVERY or evaluation_due or step == training.steps or stopping):
                mean = _check(losses, step)
                losses.clear()
                board.scalars(step, mean)
                if distributed.is_first():
                    bar.update(step, f"loss {float(mean.mean()):.4g}")
            evaluated = evaluation_due and (begin or not stopping)
            if evaluated:
                rows = _evaluate(training, step, saving)
                board.rows(step, rows)
                evaluation_due = begin = False
            finished = step == training.steps and not evaluation_due
            if not losses and (finished or stopping or saving.is_due(evaluated)):
                saving.save(step, evaluation_due)
            if stopping and not finished:
                raise watch.stop(f"step {step:,} of {training.steps:,}")
        if distributed.anyone(watch.received is not None):
            # It came while the last checkpoint was written: its sender does not want the sweep's next run to begin.
            raise watch.stop(f"step {step:,} of {training.steps:,}, before its results were written")
    return [training.row_type(**row) for row in training.rows] if training.row_type else training.rows


def _evaluate(training: Training, step: int, saving: "_Saving") -> list[dict[str, Any]]:
    """The rows of the evaluation after `step`; they are finite, and kept in `training`."""
    try:
        with stops_raise(f"in the evaluation after step {step:,}"):
            rows = [
                asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
                for row in training.evaluate(step)
            ]
    except InterruptedRunError:
        saving.save(step, evaluation_due=True)
        raise
    _check_rows(rows, step)
    training.rows.extend(rows)
    return rows


def _plain(row: Row) -> dict[str, Any]:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def _one_step(training: Training, step: int) -> Tensor:
    training.optimizer.zero_grad(set_to_none=True)
    losses = []
    for part in range(training.parts):
        loss = training.objective(step) if training.parts == 1 else training.objective(step, part)
        loss.sum().backward()
        losses.append(loss.detach())
    distributed.average_gradients(training.model.parameters())
    if training.max_grad_norm:
        nn.utils.clip_grad_norm_(training.model.parameters(), training.max_grad_norm)
    training.optimizer.step()
    if training.ema:
        with torch.no_grad():
            torch._foreach_lerp_(list(training.ema.values()), list(training.model.parameters()), 1 - training.ema_decay)
    return torch.stack(losses).sum(0) if training.parts > 1 else losses[0]


def _check(losses: list[Tensor], step: int) -> Tensor:
    """Mean of the losses since the last look; raises at the first step that is not finite."""
    stacked = distributed.average(torch.stack(losses).cpu().double()).cpu()
    finite = torch.isfinite(stacked).reshape(len(losses), -1).all(1)
    if not bool(finite.all()):
        bad = step - len(losses) + 1 + int((~finite).float().argmax())
        raise RunFailedError(
            f"the loss of step {bad:,} is not finite: lower --lr or check the data; the last whole checkpoint is kept"
        )
    return stacked.mean(0)


def _check_rows(rows: list[dict[str, Any]], step: int) -> None:
    """Raise when an evaluation gives a number that no table takes: the last update may break what no loss has seen."""
    bad = sorted({name for row in rows for name, item in row.items() if isinstance(item, float) and item - item != 0})
    if bad:
        raise RunFailedError(
            f"the evaluation after step {step:,} is not finite ({', '.join(bad)}): lower --lr or train longer; "
            "the last whole checkpoint is kept"
        )


class _Saving:
    """Checkpoints of a training, at an interval that their cost sets."""

    def __init__(self, run: Run, training: Training):
        self.run, self.training = run, training
        self.last, self.cost = time.monotonic(), 0.0

    def is_due(self, evaluated: bool) -> bool:
        """True after --checkpoint-seconds or an evaluation, once that keeps the share of saving below its limit."""
        interval = 0.0 if evaluated else self.run.config.checkpoint_seconds
        return time.monotonic() - self.last > max(interval, self.cost / CHECKPOINT_SHARE)

    def save(self, step: int, evaluation_due: bool) -> None:
        """Write the checkpoint of `step`; whether the evaluation after it is still to be done goes along."""
        start = time.monotonic()
        _save(self.run, self.training, step, evaluation_due)
        self.last = time.monotonic()
        self.cost = self.last - start


def _save(run: Run, training: Training, step: int, evaluation_due: bool) -> None:
    if not distributed.is_first():
        return
    tensors = {f"model/{name}": item for name, item in training.model.state_dict().items()}
    tensors |= {f"ema/{name}": item for name, item in training.ema.items()}
    optimizer_state = training.optimizer.state_dict()["state"]
    for index, entries in optimizer_state.items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(item) for name, item in entries.items()}
    state = {
        "rows": training.rows,
        "seconds": run.seconds,
        "evaluation_due": evaluation_due,
        "complete": step == training.steps and not evaluation_due,
    }
    save_checkpoint(run.folder, step, tensors, state)


def _resume(run: Run, training: Training) -> tuple[int, bool]:
    """The step to go on from, and whether the evaluation after it is still to be done."""
    latest = load_latest(run.folder)
    if latest is None:
        return 0, False
    step, tensors, state, damaged = latest
    if damaged:
        run.say(f"checkpoint {', '.join(damaged)} is damaged and was set aside; going on from step {step:,}")
    if not tensors:
        return 0, False
    _restore(training, tensors)
    training.rows = state["rows"]
    run.seconds_before = state["seconds"]
    evaluation_due = bool(state.get("evaluation_due"))
    if step < training.steps or evaluation_due:
        run.say(f"resumed at step {step:,} of {training.steps:,}{', at its evaluation' * evaluation_due}")
    return step, evaluation_due


def _restore(training: Training, tensors: dict[str, Tensor]) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)}

    training.model.load_state_dict(part("model/"))
    for name, item in part("ema/").items():
        training.ema[name].copy_(item)
    parameters = [item for group in training.optimizer.param_groups for item in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, item in part("optimizer/").items():
        index, key = name.split("/")
        entries.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], item)
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _laid_out_as(parameter: Tensor, item: Tensor) -> Tensor:
    """A copy of `item` with the strides of its parameter, which are those it had before it was saved."""
    like = parameter.detach() if item.shape == parameter.shape else item
    return torch.empty_like(like, dtype=item.dtype, device=item.device).copy_(item)


class _Board:
    """TensorBoard events of a run; a resumed run takes over at its step."""

    def __init__(self, run: Run, step: int):
        # Imported here: tensorboard takes a second to load, and finished runs never get this far.
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.folder / "events"), purge_step=step)

    def scalars(self, step: int, losses: Tensor) -> None:
        self.writer.add_scalar("loss/mean", float(losses.mean()), step)
        if losses.numel() > 1:
            self.writer.add_scalar("loss/largest", float(losses.max()), step)

    def rows(self, step: int, rows: list[dict[str, Any]]) -> None:
        for name in rows[0] if rows else ():
            values = [row[name] for row in rows if isinstance(row[name], float)]
            if values:
                self.writer.add_scalar(f"evaluation/{name}", sum(values) / len(values), step)

    def close(self) -> None:
        self.writer.close()


class _NoBoard:
    """What the other processes have for it."""

    def scalars(self, step: int, losses: Tensor) -> None:
        pass

    def rows(self, step: int, rows: list[dict[str, Any]]) -> None:
        pass

    def close(self) -> None:
        pass


# ----------
# Learning rates as a function of the step alone, so that a resumed run goes on with the rate it would have had.

SCHEDULES = ("constant", "cosine")


def learning_rate(kind: str, base: float, step: int, steps: int) -> float:
    """The rate of optimiser step `step` of `steps`: `base`, or base (1 + cos(pi step / steps)) / 2.

    Raises:
        UserError: an unknown kind.

    >>> learning_rate("cosine", 1.0, 50, 100), learning_rate("constant", 1.0, 50, 100)
    (0.5, 1.0)
    """
    if check_choice("learning-rate schedule", kind, SCHEDULES) == "constant":
        return base
    return base * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
