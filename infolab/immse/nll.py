"""Negative log likelihoods from measured curves: continuous, dequantised, discrete, of the best of several models, and
of single points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.denoise import Denoiser, check_model
from infolab.errors import UserError, check_choice
from infolab.estimate import Estimate, nats_to_bpd
from infolab.immse.curve import Curve, log_mass_tail, tail_from_ends
from infolab.immse.grid import LogsnrGrid
from infolab.immse.measure import ELEMENTS
from infolab.immse.reference import GaussianReference
from infolab.noise import derive, sobol
from infolab.schedules import logsnr_to_alpha_sigma

# ----------
# Negative log likelihoods from measured curves: continuous, dequantised, discrete, and the best of several models.

ROUNDINGS = ("best", "raw", "hard", "soft")
SIGNIFICANT = 3.0
"""Standard errors by which a member must be better at a log-SNR to be taken there."""
ESTIMATORS = ("continuous", "dequantized", "discrete")


@dataclass(frozen=True)
class NllEstimate(Estimate):
    """An estimate of E[-log p(x)] (a density) or E[-log P(x)] (a mass), in nats per example, and how it was made.

    With the optimal denoiser it is unbiased up to `tail_nats`; with any other, an upper bound in expectation over x.

    Attributes:
        tail_nats: what may lie outside the log-SNR range, beside `se_data` and `se_quadrature`.
        gaussian_nats: -log N(x; mu, Sigma) of the same examples; where the estimand is a mass, -log P of that Gaussian
            on the grid (`GaussianReference.log_mass_of_projected`), or where it is dequantised, minus d log D.
        optimistic_nats: where denoisers are chosen at each log-SNR, the value with the choice made on the very examples
            that are averaged; None where nothing is chosen.
        bin_width: D of a mass, 0 for a density.
        rounding: what is done to x_hat: none, raw (clamped to the range of the data), hard, soft, best.
        integrator, points, loc, scale, clip: how and where the curve was integrated.
    """

    tail_nats: float = 0.0
    gaussian_nats: float | None = None
    optimistic_nats: float | None = None
    bin_width: float = 0.0
    rounding: str = "none"
    integrator: str = ""
    points: int = 0
    loc: float = 0.0
    scale: float = 1.0
    clip: float = 4.0

    @property
    def bpd(self) -> float:
        """Bits per dimension, value / (d log 2)."""
        return nats_to_bpd(self.value, self.d)


@dataclass(frozen=True)
class _Total:
    """What an NLL is made of.

    Attributes:
        kind: the kind of errors.
        sums: the NLL's sums over the examples of each group (G,).
        integrand: twice what is integrated (G, J).
        errors: the errors that enter it, of the members that were chosen (G, J).
        tail_nats: what may lie outside the range.
        apart: see `_Choice`; None where nothing is chosen.
        optimistic: the value with the choice as published; None where nothing is chosen.
        density: the estimand is a density's, of which a dequantised one becomes a mass.
        rounding: of a mass.
    """

    kind: str
    sums: Tensor
    integrand: Tensor
    errors: Tensor
    tail_nats: float
    apart: Tensor | None = None
    optimistic: float | None = None
    density: bool = False
    rounding: str = "none"


def continuous_nll(curve: Curve, *, control_variate: bool = True, gaussian_member: bool = False) -> NllEstimate:
    """E[-log p(x)] = E[-log N(x)] - 1/2 Int E[|eps - eps_G|^2 - |eps - eps_hat|^2] da, both on the same x and eps.

    The same identity holds for the Gaussian itself, so this is unbiased, needs no further call of the network, has no
    noise when p is that Gaussian and far less than the published form otherwise, h_G - 1/2 Int (mmse_G(a) -
    E|eps - eps_hat|^2) da (Kong et al. 2023, eq. 9), which `control_variate=False` computes.

    Args:
        curve: of data with a density.
        control_variate: see above.
        gaussian_member: use the Gaussian's denoiser at log-SNRs where the network's error is larger, seen on the other
            half of the examples.

    Raises:
        UserError: the data has no density, or lies on a grid (its clamped errors belong to the discrete NLL).
    """
    _refuse_bins(curve)
    if not control_variate:
        return _plain(curve)
    return _estimate([curve], _density([curve], "raw", gaussian_member))


def dequantized_nll(curve: Curve, *, gaussian_member: bool = False) -> NllEstimate:
    """Upper bound of E[-log P(x)]: the continuous NLL of x + D (u - 1/2), u uniform, minus d log D.

    Raises:
        UserError: the curve was measured without `dequantized`.
    """
    return _estimate([curve], _density([curve], "dequantized", gaussian_member))


def discrete_nll(curve: Curve, rounding: str = "best", *, gaussian_member: bool = False) -> NllEstimate:
    """E[-log P(x)] = 1/2 Int E|eps - eps_hat|^2 da of data on a grid, tails included (Kong et al. 2023, sec. 3).

    Below the range the linear denoiser stands in, 1/2 sum log(1 + e^low l_i); above it hard rounding of z.

    Args:
        curve: measured with bins.
        rounding: raw, hard or soft; best takes the smallest of them at each log-SNR, chosen on one half of the examples
            and evaluated on the other, both ways.
        gaussian_member: choose the Gaussian's denoiser too, in the same way.

    Raises:
        UserError: the curve was measured without bins.
    """
    check_choice("rounding", rounding, ROUNDINGS)
    return _estimate([curve], _mass([curve], rounding, gaussian_member))


def ensemble_nll(curves: Sequence[Curve], estimator: str = "continuous") -> NllEstimate:
    """The NLL of an ensemble that uses, at each log-SNR, the denoiser with the smallest error (Kong et al. 2023).

    The choice is made on one half of the examples and evaluated on the other, both ways. The Gaussian is a member where
    the estimand is a density; all roundings are where it is a mass.

    Args:
        curves: of the members, on the same data, grid and seed.
        estimator: one of `ESTIMATORS`.

    Raises:
        UserError: curves that do not belong together.
    """
    check_choice("estimator", estimator, ESTIMATORS)
    first = curves[0]
    _check_same(curves)
    if estimator == "discrete":
        return _estimate(curves, _mass(curves, "best"))
    if estimator == "continuous":
        _refuse_bins(first)
    kind = "raw" if estimator == "continuous" else "dequantized"
    return _estimate(curves, _density(curves, kind, gaussian_member=True))


def nll_by_example(curve: Curve) -> Tensor:
    """-log p(x), or -log P(x) of data on a grid, of each example, (n,) float64 nats; their mean is the NLL.

    Each has the noise of one draw of eps along the curve; the mean over many examples is what is known well.

    Args:
        curve: measured with a group for every example (`empty_curve`).

    Raises:
        UserError: examples share groups.
    """
    if curve.n != int((curve.counts > 0).sum()):
        raise UserError("the curve holds sums over groups of examples: measure it with a group for each example")
    return _own(curve).sums[: curve.n]


def paired_difference(first: Curve, second: Curve) -> Estimate:
    """NLL of the first denoiser minus that of the second on the same examples and noise, with the paired error.

    Args:
        first, second: measured on the same examples, grid, noise and seed.

    Raises:
        UserError: curves that do not belong together.
    """
    _check_same([first, second])
    a, b = (_own(curve) for curve in (first, second))
    grid = first.grid
    # -log N(x) is in both, the Gaussian's errors too: what is left is half the integral of the errors' difference.
    value, se = first.spread(a.sums - b.sums)
    apart = a.errors - b.errors
    return Estimate(
        value=float(value),
        se_data=float(se),
        se_quadrature=grid.error(apart.sum(0) / first.n, first.spread(grid.coarse_rule_differences(apart))[1]) / 2,
        bias="either",
        estimand="NLL of the first denoiser minus NLL of the second",
        n=first.n,
        d=first.d,
        evaluations=first.evaluations + second.evaluations,
    )


def _own(curve: Curve) -> _Total:
    """The denoiser's own NLL, of a density or of a mass."""
    return _density([curve], "raw", False) if curve.bins is None else _mass([curve], "best")


def _check_same(curves: Sequence[Curve]) -> None:
    first = curves[0]
    if any(
        curve.n != first.n or not torch.equal(curve.grid.logsnr, first.grid.logsnr) or curve.bins != first.bins
        for curve in curves
    ):
        raise UserError("the members of an ensemble were measured on different examples, bins or log-SNR points")


def _refuse_bins(curve: Curve) -> None:
    if curve.bins is not None:
        raise UserError("the curve is of data on a grid: take discrete_nll or dequantized_nll, or measure without bins")


def _plain(curve: Curve) -> NllEstimate:
    reference, grid = curve.reference, curve.grid
    gap = reference.mmse_eps(grid.logsnr) * curve.counts[:, None] - curve.errors("raw", "none")
    sums = reference.entropy_nats * curve.counts - grid.integrate(gap) / 2
    # The tails are known better from the gap of the control variate, whose noise vanishes at both ends.
    tail = tail_from_ends(*curve.spread(curve.gaussian() - curve.errors("raw")))
    return _estimate([curve], _Total("raw", sums, gap, curve.errors("raw", "none"), tail, density=True))


def _density(curves: Sequence[Curve], kind: str, gaussian_member: bool) -> _Total:
    first = curves[0]
    if kind not in first.kinds:
        raise UserError("this curve has no dequantised errors: measure it with dequantized=True")
    if kind == "raw":
        first.reference.require_density()
    gaussian = first.gaussian(kind)
    members = torch.stack([curve.errors(kind) for curve in curves] + [gaussian] * gaussian_member)
    choice = _smallest(first, members)
    chosen = choice.errors
    normal = first.log_normal[kind]

    def total(errors: Tensor) -> Tensor:
        return -normal - first.grid.integrate(gaussian - errors) / 2

    gap = gaussian - chosen
    tail = tail_from_ends(*first.spread(gap))
    optimistic = float(total(choice.optimistic).sum()) / first.n if len(members) > 1 else None
    return _Total(kind, total(chosen), gap, chosen, tail, choice.apart, optimistic, density=True)


def _mass(curves: Sequence[Curve], rounding: str, gaussian_member: bool = False) -> _Total:
    first = curves[0]
    if first.bins is None:
        raise UserError("a discrete NLL of data without a grid: measure the curve with bins")
    kinds = ["raw", "hard", "soft"] if rounding == "best" else [rounding]
    own = [curve.errors(kind) for curve in curves for kind in kinds]
    members = torch.stack(own + [first.gaussian()] * gaussian_member)
    choice = _smallest(first, members)
    chosen = choice.errors
    grid = first.grid
    low, high = float(grid.logsnr[0]), float(grid.logsnr[-1])
    if grid.integrator != "deterministic":
        low, high = grid.range.low, grid.range.high
    left = float(torch.log1p(math.exp(low) * first.reference.eigenvalues).sum()) / 2
    right = log_mass_tail(first.bins, first.d, high)
    gap, se = first.spread(first.gaussian() - chosen)
    # The linear denoiser is used on the left: what the network would gain there is unknown, but falls like its gap.
    unknown = min(left, max(0.0, float(gap[0] + se[0])) / 2) + right
    sums = grid.integrate(chosen) / 2 + (left + right) * first.counts
    optimistic = (
        float(grid.integrate(choice.optimistic).sum()) / 2 / first.n + left + right if len(members) > 1 else None
    )
    return _Total("raw", sums, chosen, chosen, unknown, choice.apart, optimistic, rounding=rounding)


@dataclass(frozen=True)
class _Choice:
    """Errors (G, J) of the members chosen on the other half of the examples, and on all of them as published.

    `apart` (G, J) is the difference, on all examples, between what the two halves would choose.
    """

    errors: Tensor
    optimistic: Tensor
    apart: Tensor


def _smallest(curve: Curve, members: Tensor) -> _Choice:
    """Choose among members (M, G, J) at each log-SNR.

    Each half takes the member with the least integral there, replaced at a log-SNR by the one with the least error if
    that is less by `SIGNIFICANT` standard errors (choosing among equals by their noise would cost on the other half
    what it gains on this one). The published choice takes the least mean error at each log-SNR over all examples.
    """
    if len(members) == 1:
        return _Choice(members[0], members[0], torch.zeros_like(members[0]))
    by_half = []
    for half in (0, 1):
        here = curve.half() == half
        best = int(curve.grid.integrate(members[:, here].sum(1)).argmin())
        mean, se = curve.spread((members[best] - members)[:, here].movedim(0, 1), here)
        gain = torch.where(mean > SIGNIFICANT * se, mean, 0.0)
        gain[best] = 1e-300  # stays where nothing is significantly better
        by_half.append(members.gather(0, gain.argmax(0).expand(1, members.shape[1], -1))[0])
    errors = torch.where((curve.half() == 0)[:, None], by_half[1], by_half[0])
    everywhere = members.sum(1).argmin(0).expand(1, members.shape[1], -1)
    return _Choice(errors, members.gather(0, everywhere)[0], by_half[0] - by_half[1])


def _estimate(curves: Sequence[Curve], total: _Total) -> NllEstimate:
    """The record of a total; a dequantised density becomes a mass."""
    first, integrand = curves[0], total.integrand
    grid, width = first.grid, first.bins.step if first.bins is not None else 0.0
    shift = -first.d * math.log(width) if total.density and width else 0.0
    mean, se = first.spread(total.sums)
    # What is chosen differs from half to half: the spread of the groups within a half does not see that.
    choice_se = 0.0 if total.apart is None else abs(float(grid.integrate(total.apart).sum())) / first.n / 4
    quadrature = grid.error(integrand.sum(0) / first.n, first.spread(grid.coarse_rule_differences(integrand))[1]) / 2
    normal = first.log_normal.get(total.kind)
    estimand = "E[-log p(x)], a density" if not width else f"E[-log P(x)], a mass on bins of width {width:g}"
    if total.kind == "dequantized":
        estimand += ", bounded by uniform dequantisation"
    return NllEstimate(
        value=float(mean) + shift,
        se_data=math.hypot(float(se), choice_se),
        se_quadrature=quadrature,
        bias="upper",
        estimand=estimand,
        n=first.n,
        d=first.d,
        evaluations=sum(curve.evaluations for curve in curves),
        tail_nats=total.tail_nats,
        gaussian_nats=None if normal is None else -float(normal.sum()) / first.n + shift,
        optimistic_nats=None if total.optimistic is None else total.optimistic + shift,
        bin_width=width,
        rounding=total.rounding,
        integrator=grid.integrator,
        points=len(grid),
        loc=grid.range.loc,
        scale=grid.range.scale,
        clip=grid.range.clip,
    )


# ----------
# -log p(x) of single points, for densities on a grid or scores of single examples.


@dataclass(frozen=True)
class PointwiseNll:
    """-log p(x) of each of n points under the denoiser.

    Attributes:
        nll_nats: (n,) float64.
        se_nats: (n,) float64, over the draws of the noise; common to all points is the noise itself.
        evaluations: network evaluations.
    """

    nll_nats: Tensor
    se_nats: Tensor
    evaluations: int


@torch.no_grad()
def pointwise_nll(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    grid: LogsnrGrid,
    *,
    draws: int = 4,
    seed: int = 0,
    batch: int = 0,
) -> PointwiseNll:
    """-log p(x) = -log N(x) - 1/2 Int E_eps[|eps - eps_G|^2 - |eps - eps_hat|^2] da for each x.

    The noise along the curve is a Sobol sequence in d dimensions (log-SNR and noise are spread evenly together),
    scrambled anew for each draw, and the same for all x: the estimate is then smooth in x. Exact when p is the
    Gaussian. In expectation over x it is an upper bound for any denoiser; for one x it can be off either way.

    Args:
        denoiser: see `measure_curve`.
        x: points (n, ...).
        reference: Gaussian of the same data scale.
        grid: log-SNR points.
        draws: independent scramblings, >= 2; the cost is n J draws evaluations.
        seed: of the noise.
        batch: rows per network call; 0: about half a million numbers.

    Raises:
        UserError: fewer than two draws, or a reference without a density.
    """
    check_model(denoiser)
    if draws < 2:
        raise UserError(f"{draws} draws: expected at least 2, so that the error is known")
    normal = reference.log_prob(x)
    d, J = reference.d, len(grid)
    rows = batch or max(64, min(1 << 14, ELEMENTS // d))
    alpha, sigma = (v.to(x)[:, None] for v in logsnr_to_alpha_sigma(grid.logsnr))
    values = torch.zeros(draws, len(x), dtype=torch.float64)
    for draw in range(draws):
        eps = _noise(d, J, seed, draw).to(x)
        for start in range(0, len(x), max(1, rows // J)):
            block = slice(start, start + max(1, rows // J))
            part = x[block].flatten(1)
            z = (alpha * part[:, None] + sigma * eps).reshape(-1, *x.shape[1:])
            logsnr = grid.logsnr.to(x).repeat(len(part))
            pieces = zip(z.split(rows), logsnr.split(rows), strict=True)
            eps_hat = torch.cat([denoiser.eps(*piece) for piece in pieces]).reshape(len(part), J, d)
            own = (eps - eps_hat).square().sum(-1).cpu().double()
            mean, deviation = reference.errors(
                reference.project(part), eps.cpu()[None].expand(len(part), -1, -1), grid.logsnr
            )
            values[draw, block] = -normal[block] - grid.integrate(mean + deviation - own) / 2
    return PointwiseNll(values.mean(0), values.std(0) / draws**0.5, draws * len(x) * J)


def _noise(d: int, J: int, seed: int, draw: int) -> Tensor:
    """One scrambling of J points of the Sobol sequence as standard normal noise, (J, d) float64."""
    scramble = derive(seed, "immse", "pointwise", draw) % 2**31
    u = sobol(d, J, scramble, torch.float64)
    return torch.special.ndtri(u.clamp(2.0**-31, 1 - 2.0**-31))
