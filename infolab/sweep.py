"""A sweep is a list of configs under one preset name: parse it, estimate its cost, take a share, run what is not
finished.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from infolab import distributed
from infolab.config import RunConfig, describe, identity, parse, run_id, settings_id
from infolab.device import pick_device, precision_of, set_up
from infolab.errors import RunTakenError, UserError, check_choice, report_once
from infolab.results import ids_by_settings, is_written
from infolab.runs import progress_watched
from infolab.signals import stops_raise, time_limit
from infolab.storage import KEEP

# ----------
# `--dry-run`: the resolved settings of a sweep and what each run will take in memory, disk, evaluations and time.

GPUS = {
    "h200": (67, 495, 989), "h100": (67, 495, 989), "a100": (19.5, 156, 312), "l40s": (92, 183, 362),
    "l4": (30, 60, 121), "a40": (37, 75, 150), "a10": (31, 62, 125), "v100": (15.7, 15.7, 15.7), "t4": (8.1, 8.1, 8.1),
    "rtx4090": (83, 83, 165), "rtx3090": (36, 36, 71),
}  # fmt: skip
"""Products in 10^12 operations a second in fp32, tf32, bf16, without sparsity, from the makers' data sheets; fp32's
where there are no instructions for the others."""
SHARE = 1 / 3
"""Share of a matrix product's rate that small networks reach, as a rule of thumb."""


@dataclass(frozen=True)
class Cost:
    """What one run is expected to take: parameters, memory in bytes, network evaluations, floating-point operations."""

    parameters: int
    memory_bytes: float
    evaluations: float
    flops: float


def check_gpu(name: str) -> None:
    """Refuse a GPU whose rate is not known.

    Raises:
        UserError: with the list of those that are.
    """
    if name:
        check_choice("GPU", name, tuple(GPUS))


def estimate(configs: Sequence[RunConfig], costs: Sequence[Cost], finished: Sequence[bool]) -> str:
    """The first config in full, of the others what differs; each with its id and cost, then the sums.

    Args:
        configs: the runs.
        costs: of each.
        finished: whether its results are there.
    """
    if not configs:
        return "no runs in this share of the sweep\n"
    rate, where = _rate(configs[0])
    base, lines = identity(configs[0]), [describe(configs[0]), ""]
    for config, cost, done in zip(configs, costs, finished, strict=True):
        changed = ", ".join(f"{name} = {value}" for name, value in identity(config).items() if value != base[name])
        lines.append(
            f"run {run_id(config)} ({'finished' if done else 'to do'}): {changed or 'as above'}; "
            f"{cost.parameters:,} parameters, {cost.memory_bytes / 2**20:,.0f} MiB, {cost.evaluations:.2g} network "
            f"evaluations, about {_duration(cost.flops / rate / 60)}"
        )
    to_do = [(config, cost) for config, cost, done in zip(configs, costs, finished, strict=True) if not done]
    flops = sum(cost.flops for _, cost in to_do)
    lines.append(f"{len(configs)} runs, about {_duration(flops / rate / 60)} to do on {where}")
    disk = [_checkpoint_bytes(config, cost) for config, cost in to_do]
    if disk:
        lines.append(
            f"disk: checkpoints of {_size(sum(disk))} when all runs have ended, {_size((KEEP - 1) * max(disk))} more "
            "for each that is under way"
        )
    if configs[0].gpu:
        rate = _data_sheet(configs[0])
        lines.append(
            f"on a {configs[0].gpu} at least {_duration(flops / rate / 60)} (estimated from its data sheet: a third of "
            f"{rate / SHARE / 1e12:.0f} TFLOP/s; small networks wait for kernels to start and take several times that)"
        )
    return "\n".join(lines) + "\n"


def _rate(config: RunConfig) -> tuple[float, str]:
    """Operations a second that are expected of the run's device, and what it is."""
    device = pick_device(config.device)
    size = 512 if device.type == "cpu" else 4096
    rate = SHARE * _product_rate(device, size, precision_of(config))
    if device.type == "cpu":
        what, faster = "this machine's CPU", "; a GPU is faster"
    else:
        what, faster = f"{device}", ""
    return rate, f"{what} at {rate / 1e9:,.0f} GFLOP/s (a third of a matrix product measured now{faster})"


def _product_rate(device: torch.device, size: int, precision: str) -> float:
    on_gpu_in_half = precision == "bf16" and device.type != "cpu"
    a = torch.ones(size, size, device=device, dtype=torch.bfloat16 if on_gpu_in_half else torch.float32)

    def product() -> None:
        float((a @ a)[0, 0])  # waits for the device

    return 2 * size**3 / min(_seconds(product) for _ in range(5))


def _data_sheet(config: RunConfig) -> float:
    rates = dict(zip(("fp32", "tf32", "bf16"), GPUS[config.gpu], strict=True))
    return SHARE * rates[precision_of(config)] * 1e12


def _checkpoint_bytes(config: RunConfig, cost: Cost) -> float:
    """Weights, two moments of Adam and, where one is kept, the moving average, in float32."""
    return 4.0 * cost.parameters * (4 if getattr(config, "ema_decay", 0) else 3)


def _size(count: float) -> str:
    """Bytes in a unit that is read at a glance.

    >>> _size(3e6), _size(5.1e10)
    ('3 MB', '51.0 GB')
    """
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def _duration(minutes: float) -> str:
    """Minutes in a unit that is read at a glance.

    >>> [_duration(minutes) for minutes in (0.04, 119.4, 121, 60 * 24 * 80)]
    ['0.0 min', '119.4 min', '2.0 h', '80 days']
    """
    if minutes < 120:
        return f"{minutes:.1f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ----------
# A sweep is a list of configs under one preset name: parse it, take one's share, run what is not finished.


@dataclass(frozen=True)
class Experiment:
    """A script's sweeps.

    Attributes:
        command: how the user starts it, for messages.
        presets: the configs of each preset, in the order in which they run.
        row_type: the table whose CSV marks a run as finished.
        check: refuses settings that cannot run (UserError), before anything is written.
        run: does one run, `run(preset, config)`.
        cost: estimates one run.
        kind: which of the sweep's kinds a config is of (few-shot or full, say), where each has settings of its own.
        expand: the runs that one config stands for, after the flags are applied (the folds and repeats of a grid).
        several_processes: whether torchrun may share one run between processes.
        family: what no flag turns into another of the sweep (family of data sets, say), whatever the kind.
    """

    command: str
    presets: dict[str, list[Any]]
    row_type: type
    check: Callable[[Any], None]
    run: Callable[[str, Any], None]
    cost: Callable[[Any], Cost]
    kind: Callable[[Any], object] = lambda config: None
    expand: Callable[[Any], list[Any]] = lambda config: [config]
    family: Callable[[Any], object] = lambda config: None
    several_processes: bool = False


def run_sweep(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """Parse `[preset] [--flags]` and run each config of the sweep that is not finished, in order.

    A flag replaces its field in every config; configs that then coincide run once. A config that a flag turns into
    another kind is dropped where the sweep has configs of that kind, with settings meant for it. `--task i/n` takes
    the i-th of n shares of about equal cost, so that a SLURM array (or n shells) shares a sweep: two tasks never get
    the same config. The first run that fails stops the sweep.

    Raises:
        UserError: a bad preset, flag or value, before anything is written.
    """
    with report_once():
        _check_processes(experiment)
        preset, parsed, configs = _resolve(experiment, list(sys.argv[1:] if arguments is None else arguments))
    configs = _share(configs, experiment.cost, parsed.task)
    check_gpu(parsed.gpu)
    if parsed.count:  # before the device is looked for: a login node has no GPU
        sys.stdout.write(f"{len(configs)}\n")
        return
    set_up(parsed)
    pick_device(parsed.device)
    if parsed.dry_run:
        finished = [is_written(one.results_dir, experiment.row_type, run_id(one)) for one in configs]
        sys.stdout.write(estimate(configs, [experiment.cost(one) for one in configs], finished))
        return
    with time_limit(parsed.max_minutes):
        _run_all(experiment, preset, configs)


def _check_processes(experiment: Experiment) -> None:
    """Refuse torchrun where each of its processes would do the whole run.

    Raises:
        UserError: says how several GPUs are used instead.
    """
    processes = distributed.processes_asked_for()
    if processes > 1 and not experiment.several_processes:
        raise UserError(
            f"{experiment.command}: one run is one process here, not the {processes} that torchrun (or GPUS of a submit"
            f" script) asks for; give each GPU a share of the sweep, as in --task 0/{processes} --device cuda:0"
        )


def _run_all(experiment: Experiment, preset: str, configs: Sequence[RunConfig]) -> None:
    """Run what is not finished, in order; what another process works on is left to it.

    Raises:
        UserError: some runs were another process's: said at the end, so that nobody takes the sweep for finished.
    """
    taken = []
    before = ids_by_settings(configs[0].results_dir, experiment.row_type) if configs else {}
    for config in configs:
        name = run_id(config)
        say = functools.partial(_say, f"{experiment.command} {name}")
        others = [other for other in before.get(settings_id(config), []) if other != name]
        if not config.force and is_written(config.results_dir, experiment.row_type, name, say):
            shown = f"; of it and {', '.join(others)}, of other files, figures show what ended last" if others else ""
            say(f"finished already (--force runs it again){shown}")
            continue
        if others:
            say(f"the files it reads are not those of run {others[-1]}: a new run, which tables and figures then show")
        try:
            with progress_watched(config.runs_dir, name), stops_raise():
                experiment.run(preset, config)
        except RunTakenError as error:
            say(str(error))
            taken.append(name)
    if taken:
        raise UserError(
            f"{len(taken)} of {len(configs)} runs are being done by other processes and were left to them "
            f"({', '.join(taken)}): once these have ended, the same command does what is missing"
        )


def _say(who: str, what: str) -> None:
    sys.stderr.write(f"{who}: {what}\n")


def _resolve(experiment: Experiment, words: list[str]) -> tuple[str, RunConfig, list[Any]]:
    """Preset, the flags as a config, and the sweep's configs, none of them refused."""
    presets = experiment.presets
    preset, parsed = parse({name: configs[0] for name, configs in presets.items()}, experiment.command, words)
    configs = _apply(presets[preset], parsed, words, experiment)
    for config in configs:
        experiment.check(config)
    return preset, parsed, distinct([run for config in configs for run in experiment.expand(config)])


def distinct(configs: Sequence[RunConfig]) -> list[Any]:
    """The configs without repetitions, first come first."""
    first: dict[str, RunConfig] = {}
    for config in configs:
        first.setdefault(run_id(config), config)
    return list(first.values())


def _apply(configs: Sequence[Any], parsed: Any, words: Sequence[str], experiment: Experiment) -> list[Any]:
    kind, family = experiment.kind, experiment.family
    given = {word.split("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")}
    names = [item.name for item in dataclasses.fields(parsed) if {item.name, f"no_{item.name}"} & given]
    changed = {name: getattr(parsed, name) for name in names}
    pairs = [(kind(config), dataclasses.replace(config, **changed)) for config in configs]
    kinds, families = {before for before, _ in pairs}, {family(config) for config in configs}

    def fits(old: Any, before: object, new: Any) -> bool:
        # What flags turn into another kind, or family, that the sweep has too is left out: that has its own settings.
        moved = family(new) != family(old) and family(new) in families
        return kind(new) == before or (kind(new) not in kinds and not moved)

    return distinct([new for old, (before, new) in zip(configs, pairs, strict=True) if fits(old, before, new)])


def _share(configs: list[Any], cost: Callable[[Any], Cost], task: str) -> list[Any]:
    """The configs of task i of n: the costliest first, each goes to the task that has least to do so far."""
    if not task:
        return configs
    try:
        index, count = (int(part) for part in task.split("/"))
        if not 0 <= index < count:
            raise ValueError
    except ValueError:
        raise UserError(f"--task must be i/n with 0 <= i < n, as in 0/2, not '{task}'") from None
    work = [cost(config).flops for config in configs]
    shares: list[list[int]] = [[] for _ in range(count)]
    for place in sorted(range(len(configs)), key=lambda place: -work[place]):
        lightest = min(range(count), key=lambda share: (sum(work[other] for other in shares[share]), share))
        shares[lightest].append(place)
    return [configs[place] for place in sorted(shares[index])]
