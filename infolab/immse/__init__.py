"""I-MMSE: likelihoods as integrals of denoising errors (Guo, Shamai, Verdu 2005; Kong et al. 2023)."""

from infolab.immse.curve import Bins, Curve, merge
from infolab.immse.estimate import estimate_nll, measure_curve_in_pieces, nll_loss, nll_offset, widen_range_in_a_piece
from infolab.immse.grid import INTEGRATORS, LogsnrGrid, LogsnrRange, make_grid
from infolab.immse.measure import measure_curve, widen_range
from infolab.immse.nll import (
    NllEstimate,
    PointwiseNll,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    ensemble_nll,
    nll_by_example,
    paired_difference,
    pointwise_nll,
)
from infolab.immse.reference import GaussianReference

__all__ = [
    "INTEGRATORS",
    "Bins",
    "Curve",
    "GaussianReference",
    "LogsnrGrid",
    "LogsnrRange",
    "NllEstimate",
    "PointwiseNll",
    "continuous_nll",
    "dequantized_nll",
    "discrete_nll",
    "ensemble_nll",
    "estimate_nll",
    "make_grid",
    "measure_curve",
    "measure_curve_in_pieces",
    "merge",
    "nll_by_example",
    "nll_loss",
    "nll_offset",
    "paired_difference",
    "pointwise_nll",
    "widen_range",
    "widen_range_in_a_piece",
]
