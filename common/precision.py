"""Float64 where it is to be had: every CPU and CUDA device has it, MPS has none."""

import torch
from torch import Tensor


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
