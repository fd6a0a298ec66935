"""I-MMSE: likelihoods as integrals of denoising errors (Guo, Shamai, Verdu 2005; Kong et al. 2023)."""

from common.immse.curve import Curve, merge
from common.immse.estimate import estimate_nll
from common.immse.grid import INTEGRATORS, LogsnrGrid, LogsnrRange, make_grid
from common.immse.kept import measure_curve_in_pieces, widen_range_in_a_piece
from common.immse.measure import Denoiser, measure_curve
from common.immse.nll import (
    NllEstimate,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    ensemble_nll,
    nll_by_example,
    paired_difference,
)
from common.immse.objective import nll_loss, nll_offset
from common.immse.pointwise import PointwiseNll, pointwise_nll
from common.immse.ranges import widen_range
from common.immse.reference import GaussianReference
from common.immse.rounding import Bins

__all__ = [
    "INTEGRATORS",
    "Bins",
    "Curve",
    "Denoiser",
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
