"""The device of a run and its arithmetic: chosen, checked, named; precision of networks; copies between CPU and
device.
"""

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infolab import distributed
from infolab.config import RunConfig
from infolab.errors import UserError, check_choice

# ----------
# The device of a run and its arithmetic: chosen, checked, said in the run's first line and in the provenance.

PRECISIONS = ("fp32", "tf32", "bf16")
"""fp32: IEEE float32 everywhere. tf32: products and convolutions in TF32 on a GPU that has it; on a CPU the same as
fp32. bf16: networks under autocast, products and convolutions in bfloat16; losses, schedules and sums in float32 or
float64. Training and evaluation take the same."""


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is cuda where there is one, else cpu.

    Raises:
        UserError: there is no such device here; or, for `auto`, there is a GPU that torch cannot use.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", distributed.local_rank())
        _check_no_gpu_is_left_out()
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available here: choose cpu, cuda, mps or auto") from error
    return device


def set_up(config: RunConfig) -> None:
    """Set threads, precision and determinism of this process as `config` says.

    Raises:
        UserError: a number of threads below 0, or an unknown precision.
    """
    if config.threads < 0:
        raise UserError(f"--threads must be 0 (torch's own choice) or more, not {config.threads}")
    if config.threads:
        torch.set_num_threads(config.threads)
    precision = check_choice("precision", precision_of(config), PRECISIONS)
    # By default torch takes TF32 for convolutions: an fp32 run would have 10 bits of mantissa, unsaid.
    for backend in _tf32_backends():
        backend.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(config.deterministic)


def precision_of(config: RunConfig) -> str:
    """The precision of a config; of those without the setting fp32."""
    return str(getattr(config, "precision", "fp32"))


def precision_label(precision: str) -> str:
    """What the name of a model says of its precision, in tables: nothing for fp32.

    >>> precision_label("fp32"), precision_label("bf16")
    ('', ',bf16')
    """
    return "" if precision == "fp32" else f",{precision}"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which networks are called: bfloat16 products and convolutions under `bf16`, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def describe(config: RunConfig) -> str:
    """Device, its name, precision and threads in a line.

    >>> describe(RunConfig(device="cpu")).split(" (")[0], "fp32" in describe(RunConfig(device="cpu"))
    ('device: cpu', True)
    """
    device = pick_device(config.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    words = [f"device: {device} ({name})", precision_of(config)]
    words += ["deterministic"] if config.deterministic else []
    words += ["compiled"] if getattr(config, "compile", False) else []
    words += [f"{torch.get_num_threads()} CPU thread{'s' * (torch.get_num_threads() != 1)}"]
    if config.device == "auto" and device.type == "cpu" and torch.backends.mps.is_available():
        words += ["--device mps would use this machine's GPU"]
    return ", ".join(words)


def provenance(config: RunConfig) -> dict[str, Any]:
    """What a result says of the device: arithmetic and threads; of a GPU its name, driver, CUDA, cuDNN, TF32 too."""
    device = pick_device(config.device)
    record: dict[str, Any] = {
        "device": str(device),
        "precision": precision_of(config),
        "deterministic": config.deterministic,
        "compiled": bool(getattr(config, "compile", False)),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        record["gpu"] = {
            "name": torch.cuda.get_device_name(device),
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32": all(backend.fp32_precision == "tf32" for backend in _tf32_backends()),
        }
    return record


def processor() -> str:
    """The CPU's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _tf32_backends() -> list[Any]:
    """Where torch decides whether float32 products and convolutions are taken in TF32."""
    cudnn: Any = torch.backends.cudnn
    return [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]


RESERVED = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")
"""What SLURM sets in a job with GPUs: their numbers, or, where it knows no device files, how many there are."""


def _check_no_gpu_is_left_out() -> None:
    """Refuse to fall back to the CPU in silence where a GPU is there, or was reserved, and torch cannot use it.

    Raises:
        UserError: says why, and what to do.
    """
    none = {"SLURM_GPUS_ON_NODE": "0"}  # a count; "0" among the others is the first GPU
    reserved = next((name for name in RESERVED if os.environ.get(name, "") not in ("", none.get(name))), None)
    if not reserved and _driver() is None:
        return
    there = f"this job has reserved GPUs ({reserved}={os.environ[reserved]})" if reserved else "there is an NVIDIA GPU"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None and torch.version.hip is None:
        why = f"torch {torch.__version__} is a build without CUDA: install a CUDA build (make setup CONSTRAINTS=)"
    elif visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        why = f"CUDA_VISIBLE_DEVICES='{visible}' hides it: unset it, or name a GPU"
    else:
        why = f"torch cannot use it ({_reason()}): update the driver, or install a torch built for it"
    raise UserError(f"{there}, but {why}; --device cpu runs on the CPU all the same")


def _reason() -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split(". ")[0].split())
    return "it finds no device"


def _driver() -> str | None:
    """Version of the NVIDIA driver; None where there is none."""
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text()
        return next((word for word in text.split() if word[0].isdigit() and "." in word), "unknown")
    if shutil.which("nvidia-smi") is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return asked.stdout.splitlines()[0].strip() if asked.returncode == 0 and asked.stdout.strip() else None
    return None


# ----------
# Float64 where it is to be had: every CPU and CUDA device has it, MPS has none.


def has_float64(device: torch.device | str) -> bool:
    """Whether a tensor of `device` may be float64."""
    try:
        torch.empty(0, dtype=torch.float64, device=device)
    except TypeError:
        return False
    return True


def to_double(x: Tensor) -> Tensor:
    """The numbers in float64: on their device where it has that, on the CPU otherwise. Differentiable."""
    return (x if has_float64(x.device) else x.cpu()).double()


def on_cpu(x: Tensor | float) -> Tensor:
    """The numbers in float64 on the CPU, where cheap mathematics is done. Differentiable.

    >>> on_cpu(0.1)
    tensor(0.1000, dtype=torch.float64)
    """
    # Two steps: MPS cannot convert to float64 on the way.
    return x.cpu().double() if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)


# ----------
# What the CPU has drawn goes to the device in few copies: each copy costs more than the numbers in it.


def staged(device: torch.device | str, *parts: Tensor) -> tuple[Tensor, ...]:
    """The CPU tensors `parts` on `device`, packed into one copy for each type; on the CPU they are the same tensors.

    To a CUDA device the copies are from pinned memory and nobody waits for them.

    >>> [part.tolist() for part in staged("cpu", torch.arange(2), torch.ones(1, 2))]
    [[0, 1], [[1.0, 1.0]]]
    """
    device = torch.device(device)
    if device.type == "cpu":
        return parts
    moved: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(part.dtype for part in parts):
        places = [place for place, part in enumerate(parts) if part.dtype == dtype]
        flat = torch.cat([parts[place].reshape(-1) for place in places])
        if device.type == "cuda":
            flat = flat.pin_memory()
        pieces = flat.to(device, non_blocking=True).split([parts[place].numel() for place in places])
        moved |= {place: piece.view(parts[place].shape) for place, piece in zip(places, pieces, strict=True)}
    return tuple(moved[place] for place in range(len(parts)))


# ----------
# The arithmetic of networks: float32, or products and convolutions in bfloat16, interpreted or compiled.


class Network(nn.Module):
    """A network that is called in the precision of its run, in training and in evaluation alike.

    Under bf16 its products and convolutions are taken in bfloat16 by autocast and its output comes back in float32, so
    that schedules, losses and sums around it keep their precision.
    """

    precision: str = "fp32"

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """`forward`, in this network's precision."""
        if self.precision != "bf16":
            found: Tensor = super().__call__(*args, **kwargs)
            return found
        with autocast(next(self.parameters()).device, self.precision):
            found = super().__call__(*args, **kwargs)
        return found.float()


def set_arithmetic(model: nn.Module, config: RunConfig) -> None:
    """Give `model` and all `Network`s in it the precision of `config`; compile them where it says so.

    A deep copy keeps the precision and is to be compiled by a call of its own.
    """
    for part in model.modules():
        if isinstance(part, Network):
            part.precision = precision_of(config)
            if getattr(config, "compile", False):
                part.compile()


def bf16_forward(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """An MLP with ReLU between its layers (weight (in, out), bias (out,)) at x (n, in), as autocast computes it."""
    h = x
    with autocast(x.device, "bf16"):
        for index, (weight, bias) in enumerate(layers):
            h = torch.addmm(bias, h, weight)
            h = h.relu() if index < len(layers) - 1 else h
    return h.float()
