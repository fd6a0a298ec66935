"""A sweep is a list of configs under one preset name: parse it, take one's share, run what is not finished."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence

import torch

from common.config import Config, parse, run_id
from common.errors import UserError
from common.runs import pick_device, set_threads


def run_sweep(
    presets: dict[str, list[Config]],
    command: str,
    run_one: Callable[[str, Config], None],
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse `[preset] [--flags]` and call `run_one(preset, config)` for each config of the sweep, in order.

    A flag replaces its field in every config; configs that then coincide run once. `--task i/n` takes every n-th
    config from the i-th on, so that a SLURM array (or n shells) shares a sweep: two tasks never get the same config.
    The first run that fails stops the sweep.

    Raises:
        UserError: a bad preset, flag or value, before anything is written.
    """
    preset, parsed = parse({name: configs[0] for name, configs in presets.items()}, command, arguments)
    words = list(sys.argv[1:] if arguments is None else arguments)
    configs = _apply(presets[preset], parsed, words)
    first, of = _share(parsed.task)
    set_threads(parsed)
    pick_device(parsed.device)
    for config in configs[first::of]:
        run_one(preset, config)


def expand_sweep(configs: Sequence[Config]) -> list[Config]:
    """The configs without repetitions, first come first."""
    return list({run_id(config): config for config in reversed(configs)}.values())[::-1]


def estimated_cost(flops: float, parameters: int, memory_bytes: float, evaluations: float) -> str:
    """One line for `--dry-run`: parameters, memory, network evaluations, and time at this machine's own rate.

    The rate is a third of a matrix product measured now on the CPU, which is what small networks reach.
    """
    a = torch.ones(512, 512)
    best = min(_seconds(lambda: a @ a) for _ in range(5))
    rate = 2 * 512**3 / best / 3
    return (
        f"  estimated: {parameters:,} parameters, {memory_bytes / 2**20:,.0f} MiB, {evaluations:.3g} network "
        f"evaluations, about {flops / rate / 60:.1f} min on this machine's CPU ({rate / 1e9:.0f} GFLOP/s)"
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _apply(configs: Sequence[Config], parsed: Config, words: Sequence[str]) -> list[Config]:
    given = {word.split("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")}
    names = [item.name for item in dataclasses.fields(parsed) if {item.name, f"no_{item.name}"} & given]
    changed = {name: getattr(parsed, name) for name in names}
    return expand_sweep([dataclasses.replace(config, **changed) for config in configs])


def _share(task: str) -> tuple[int, int]:
    if not task:
        return 0, 1
    try:
        index, count = (int(part) for part in task.split("/"))
        if not 0 <= index < count:
            raise ValueError
    except ValueError:
        raise UserError(f"--task must be i/n with 0 <= i < n, as in 0/2, not '{task}'") from None
    return index, count
