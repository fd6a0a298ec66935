"""A sweep is a list of configs under one preset name: parse it, take one's share, run what is not finished."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from common import distributed
from common.config import RunConfig, parse, run_id, settings_id
from common.device import pick_device, set_up
from common.dry_run import Cost as Cost
from common.dry_run import check_gpu, estimate
from common.errors import RunTakenError, UserError, told_once
from common.results import ids_by_settings, is_written
from common.signals import stops_raise, time_limit
from common.stalled import progress_watched


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
    with told_once():
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
