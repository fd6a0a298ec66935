"""Squared distances by matrix products, |x|^2 - 2 x.y + |y|^2, cancel where points are far out and close together.

How many digits are left is known beforehand: the products are taken where that is enough, differences where it is not.
"""

import math

import torch
from torch import Tensor

CENTRE_POINTS = 1001
"""The middle of a set is read from at most this many of its points."""


def product_rounding(d: int, dtype: torch.dtype = torch.float64) -> float:
    """Relative rounding error of a product of d terms, in units of the product of the norms.

    4 + sqrt(d) roundings: they have random signs and are summed in blocks (the bound without that is d).
    """
    return (4 + math.sqrt(d)) * torch.finfo(dtype).eps


def middle(points: Tensor) -> Tensor:
    """Median of each coordinate of points (..., n, d), (..., 1, d) float64: unlike the mean, no outlier moves it."""
    some = torch.linspace(0, points.shape[-2] - 1, min(points.shape[-2], CENTRE_POINTS), device=points.device).long()
    return points[..., some, :].double().median(-2, keepdim=True).values


def farthest(points: Tensor, centre: Tensor) -> Tensor:
    """An upper bound of |x - centre| over points (..., n, d), (...) float64: the corner of the box that holds them.

    Args:
        points: of any type.
        centre: (..., 1, d) or (d,).
    """
    points = points.detach()
    low, high = (end.double() for end in (points.amin(-2, keepdim=True), points.amax(-2, keepdim=True)))
    return torch.maximum(high - centre, centre - low).norm(dim=-1)[..., 0]
