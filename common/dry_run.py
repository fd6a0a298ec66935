"""`--dry-run`: the resolved settings of a sweep and what each run will take in memory, disk, evaluations and time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from common.checkpoints import KEEP
from common.config import RunConfig, describe, identity, run_id
from common.device import pick_device, precision_of
from common.errors import choose

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
        choose("GPU", name, tuple(GPUS))


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
