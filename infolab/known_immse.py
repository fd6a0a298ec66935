"""Cases of the I-MMSE likelihoods with exact denoisers: Gaussians of any spectrum, mixtures, points on a grid."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from infolab.calibrate import Case, Outcome
from infolab.denoise import Denoiser
from infolab.exact import mixture_denoiser
from infolab.immse import (
    Bins,
    Curve,
    GaussianReference,
    NllEstimate,
    continuous_nll,
    discrete_nll,
    ensemble_nll,
    estimate_nll,
    make_grid,
    measure_curve,
    nll_loss,
    nll_offset,
    pointwise_nll,
    widen_range,
)
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.toy import make


@dataclass(frozen=True)
class Law:
    """A distribution with its optimal denoiser and its entropy (of a mass, where it lies on bins).

    Attributes:
        sample: (n, generator) -> (n, d) float64.
        denoiser: the optimal one.
        entropy_nats: E[-log p] or E[-log P].
        d: dimensions.
        bins: the grid of a discrete distribution.
        log_prob: log density, where it has one.
    """

    sample: Callable[[int, torch.Generator], Tensor]
    denoiser: Denoiser
    entropy_nats: float
    d: int
    bins: Bins | None = None
    log_prob: Callable[[Tensor], Tensor] | None = None

    def reference(self) -> GaussianReference:
        """The Gaussian fitted to 2,000 examples of their own, as one would to a training set."""
        fit = self.sample(2000, generator(0, "reference"))
        return GaussianReference.fit(fit, floor=self.bins.step**2 / 12 if self.bins else 0.0)


def gaussian(d: int, decades: float) -> Law:
    """N(0, Sigma) with eigenvalues spread evenly over so many decades about 1, randomly turned."""
    logs = torch.linspace(-decades / 2, decades / 2, d, dtype=torch.float64) * math.log(10)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator(d, "turn"), dtype=torch.float64))[0]
    reference = GaussianReference(torch.zeros(d, dtype=torch.float64), logs.exp(), turn)

    def sample(n: int, source: torch.Generator) -> Tensor:
        return (torch.randn(n, d, generator=source, dtype=torch.float64) * (logs / 2).exp()) @ turn.T

    return Law(sample, Denoiser.of_eps(reference.eps_hat), reference.entropy_nats, d, None, reference.log_prob)


def mixture(law: GaussianMixture, entropy_nats: float | None = None) -> Law:
    """A mixture; its entropy by quadrature unless given."""
    entropy = law.entropy_quadrature().value if entropy_nats is None else entropy_nats
    return Law(law.sample, mixture_denoiser(law), entropy, law.d, None, law.log_prob)


def far_modes(d: int) -> Law:
    """Two modes at +-3 in every coordinate with standard deviation 0.1: the spectrum sees one Gaussian of size 3.

    The modes are 60 standard deviations apart, so the entropy is log 2 and one mode's, up to e^-450.
    """
    means = torch.stack([torch.full((d,), -3.0), torch.full((d,), 3.0)])
    entropy = math.log(2) + d / 2 * math.log(2 * math.pi * math.e * 0.01)
    return mixture(GaussianMixture(torch.ones(2), means, 0.01), entropy)


def three_modes(d: int) -> Law:
    """Three modes of unequal weights and widths in two or three dimensions, where they touch.

    In three dimensions the distribution is that of two, times N(0, 0.04) in the third coordinate, turned.
    """
    flat = GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2]),
        torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.5, -1.0]]),
        torch.tensor([0.25, 0.04, 0.1]),
    )
    if d == 2:
        return mixture(flat)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator(3, "turn"), dtype=torch.float64))[0]
    means = torch.cat([flat.means, torch.zeros(3, 1, dtype=torch.float64)], 1) @ turn.T
    variances = torch.tensor([[v, v, 0.04] for v in (0.25, 0.04, 0.1)], dtype=torch.float64)
    covariances = torch.einsum("de,ke,fe->kdf", turn, variances, turn)
    entropy = flat.entropy_quadrature().value + 0.5 * math.log(2 * math.pi * math.e * 0.04)
    return mixture(GaussianMixture(flat.weights, means, covariances), entropy)


def points(n: int, d: int, levels: int) -> Law:
    """n equally likely distinct points on a grid of step 1; their optimal denoiser is the softmax over them."""
    codes = torch.randperm(levels**d, generator=generator(n, "points", d))[:n]
    where = torch.stack([codes // levels**i % levels for i in range(d)], 1).double()
    law = GaussianMixture(torch.ones(n), where, 0.0)
    return Law(law.sample, mixture_denoiser(law), math.log(n), d, Bins(0.0, 1.0, levels))


def two_points() -> Law:
    """x = +-1: log 2."""
    law = GaussianMixture(torch.ones(2), torch.tensor([[-1.0], [1.0]]), 0.0)
    return Law(law.sample, mixture_denoiser(law), math.log(2), 1, Bins(-1.0, 2.0, 2))


LAWS: dict[str, Callable[[], Law]] = {
    "Gaussian, 2 decades": partial(gaussian, 8, 2),
    "Gaussian, 8 decades": partial(gaussian, 8, 8),
    "Gaussian in 64 dimensions, 6 decades": partial(gaussian, 64, 6),
    "modes at +-3 of sd 0.1": partial(far_modes, 1),
    "modes at +-3 of sd 0.1 in the plane": partial(far_modes, 2),
    "three modes in 2-D": partial(three_modes, 2),
    "three modes in 3-D": partial(three_modes, 3),
    "x = +-1": two_points,
    "16 points in 2-D": partial(points, 16, 2, 8),
    "60 points in 4-D": partial(points, 60, 4, 5),
}


def estimate(
    law: Law, n: int, seed: int, *, count: int = 100, integrator: str = "deterministic"
) -> tuple[NllEstimate, Curve]:
    """The NLL of n draws of a distribution under its optimal denoiser, and the curve."""
    x = law.sample(n, generator(seed, "known", n))
    found = estimate_nll(
        law.denoiser, x, law.reference(), bins=law.bins, points=count, integrator=integrator, seed=seed
    )
    return found["continuous" if law.bins is None else "discrete"], found.curve


def _outcome(truth: float, found: NllEstimate) -> Outcome:
    return Outcome(truth, found.value, found.se, found.n, found.points, found.tail_nats)


def _nll(law: Callable[[], Law], integrator: str, size: int, seed: int) -> Outcome:
    exact = law()
    found, _ = estimate(exact, 128 * size, seed, integrator=integrator)
    return _outcome(exact.entropy_nats, found)


def _plain(law: Callable[[], Law], size: int, seed: int) -> Outcome:
    exact = law()
    _, curve = estimate(exact, 128 * size, seed)
    return _outcome(exact.entropy_nats, continuous_nll(curve, control_variate=False))


def _rounded(rounding: str, size: int, seed: int) -> Outcome:
    exact = two_points()
    _, curve = estimate(exact, 256 * size, seed)
    return _outcome(exact.entropy_nats, discrete_nll(curve, rounding))


def _ensemble(size: int, seed: int) -> Outcome:
    """Two members that are each right on one side of log-SNR 3 only."""
    law = three_modes(2)
    x, reference = law.sample(256 * size, generator(seed, "ensemble")), law.reference()
    grid = make_grid(widen_range(law.denoiser, x, reference), 60)

    def member(sign: int, z: Tensor, logsnr: Tensor) -> Tensor:
        return torch.where(sign * (logsnr[:, None] - 3) > 0, 1.0, 0.5) * law.denoiser.eps(z, logsnr)

    curves = [measure_curve(Denoiser.of_eps(partial(member, sign)), x, grid, reference, seed=seed) for sign in (1, -1)]
    return _outcome(law.entropy_nats, ensemble_nll(curves))


def _pointwise(size: int, seed: int) -> Outcome:
    """Mean over 32 points of the swiss roll of -log p(x), beside the exact one of the same points."""
    law = make("swiss_roll").mixture  # type: ignore[attr-defined]
    x = law.sample(32, generator(seed, "pointwise"))
    reference = GaussianReference.fit(law.sample(2000, generator(0, "reference")))
    exact = mixture_denoiser(law)
    logsnr_range = widen_range(exact, law.sample(256, generator(1, "reference")), reference)
    found = pointwise_nll(exact, x, reference, make_grid(logsnr_range, 64), draws=4 * size, seed=seed)
    # All points share the noise, so their errors add up rather than average.
    se = float(found.se_nats.mean())
    return Outcome(
        -float(law.log_prob(x).mean()), float(found.nll_nats.mean()), se, 32, 256 * size, logsnr_range.tail_nats + 1e-3
    )  # fmt: skip


def _loss(size: int, seed: int) -> Outcome:
    """The training loss of the optimal denoiser, with its offset, is the entropy."""
    law = three_modes(2)
    reference = law.reference()
    x = law.sample(4000 * size, generator(seed, "loss"))
    logsnr_range = widen_range(law.denoiser, x, reference)
    losses = nll_loss(law.denoiser, x, generator(seed, "loss noise"), logsnr_range, stratified=False)
    value = float(losses.mean()) + nll_offset(reference, logsnr_range)
    # The reference's spectrum is that of 2,000 other draws; beyond the range it stands in with its own error.
    return Outcome(
        law.entropy_nats, value, float(losses.std()) / math.sqrt(len(x)), len(x), 1, logsnr_range.tail_nats + 1e-3
    )


CASES = [
    *(Case("NLL by I-MMSE", name, law().d, partial(_nll, law, "deterministic")) for name, law in LAWS.items()),
    *(
        Case(f"NLL by I-MMSE, {integrator}", name, LAWS[name]().d, partial(_nll, LAWS[name], integrator))
        for integrator in ("rqmc", "random")
        for name in ("three modes in 2-D", "x = +-1")
    ),
    Case("NLL by I-MMSE, published form", "three modes in 2-D", 2, partial(_plain, LAWS["three modes in 2-D"])),
    Case("NLL by I-MMSE, raw", "x = +-1", 1, partial(_rounded, "raw")),
    Case("NLL of an ensemble", "three modes in 2-D, halves of the range", 2, _ensemble),
    Case("pointwise NLL", "swiss roll, exact density", 2, _pointwise),
    Case("NLL training loss", "three modes in 2-D", 2, _loss),
]
