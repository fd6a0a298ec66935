"""Sinusoidal embeddings of a scalar: how a network is told the time or the log-SNR."""

import math

import torch

from common.errors import UserError


def sinusoidal_embedding(t: torch.Tensor, dim: int, max_period: float = 10_000.0) -> torch.Tensor:
    """Return e(t) = [cos(w_0 t), ..., cos(w_{h-1} t), sin(w_0 t), ..., sin(w_{h-1} t)], h = dim // 2.

    The frequencies are w_k = max_period^(-k/h): the first turns once in 2 pi units of t, the last once in almost
    2 pi max_period. For t in [0, 1] only a handful of them move at all, so continuous times are multiplied by 1,000
    first (`UNetConfig.time_scale`). An odd `dim` ends with one zero.

    Source: Vaswani et al. 2017, section 3.5; cosines first as in Nichol and Dhariwal 2021 (IDDPM).

    Args:
        t: any shape (...), in the units of the embedding (steps of 1,000 for IDDPM); float64 stays float64, every
            other type is computed in float32.
        dim: length of the embedding, at least 2.
        max_period: dimensionless ratio of the slowest to the fastest period.

    Returns:
        Shape (..., dim), float32 or float64.

    Raises:
        UserError: `dim` is below 2 or `max_period` is not above 0.

    >>> sinusoidal_embedding(torch.tensor([0.0]), 4)
    tensor([[1., 1., 0., 0.]])
    """
    if dim < 2 or not max_period > 0:
        raise UserError(
            f"an embedding needs dim >= 2 and max_period > 0, not {dim} and {max_period}: choose larger ones"
        )
    half = dim // 2
    dtype = torch.float64 if t.dtype == torch.float64 else torch.float32
    k = torch.arange(half, dtype=dtype, device=t.device)
    angle = t.to(dtype)[..., None] * torch.exp(-math.log(max_period) * k / half)
    parts = [torch.cos(angle), torch.sin(angle)]
    if dim % 2:
        parts.append(torch.zeros_like(angle[..., :1]))
    return torch.cat(parts, dim=-1)
