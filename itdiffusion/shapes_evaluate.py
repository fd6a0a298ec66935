"""What is measured of the 2-D denoisers: NLL beside the exact one, MSE curves, ODE likelihood, MMD, densities."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from infolab.denoise import Denoiser
from infolab.estimate import Estimate, mean_and_se, nats_to_bpd
from infolab.immse import (
    Curve,
    GaussianReference,
    LogsnrGrid,
    LogsnrRange,
    continuous_nll,
    make_grid,
    measure_curve_in_pieces,
)
from infolab.likelihood import ode_log_likelihood
from infolab.mmd import gaussian_kernel, median_bandwidth, mmd2
from infolab.noise import curve_noise, generator
from infolab.sample import StepNoise, reverse_sde, walk_in_pieces
from infolab.schedules import LogsnrLine, logsnr_to_alpha_sigma
from infolab.storage import Keep, under, unkept
from infolab.toy import Toy
from itdiffusion.shapes_model import Gaussians, ShapesConfig, ShapesModel
from itdiffusion.tables import MseCurve, Nll, ShapeSamples

# ----------
# The density of each 2-D denoiser on a product grid: pointwise NLL, noise shared by all points, control variate.

HALF_WIDTH = 3.0
"""The grid covers [-3, 3] on both axes, as published."""


def grid_axis(points: int) -> Tensor:
    """The grid's coordinates on either axis, (points,) float32."""
    return torch.linspace(-HALF_WIDTH, HALF_WIDTH, points)


@torch.no_grad()
def density_grid(model: ShapesModel, axis: Tensor, grid: LogsnrGrid, pairs: int, seed: int) -> Tensor:
    """-log p(x) in nats at every point of axis x axis and its standard error, (2, k, r, r) float64.

    -log p(x) = -log N(x; mu, Sigma) - 1/2 Int E_eps[mse_G(x, eps, a) - mse(x, eps, a)] da, the same eps at all points x
    and for all members. At one (a, eps) the noisy points are a product grid too, whose first layer costs a row for each
    axis value (`FourierMLPs.on_grid`).

    The error is over the pairs; since noise is shared, that of neighbouring points is one and the same.

    Args:
        model: k denoisers.
        axis: coordinates (r,) of both axes; the first index of the result is the first coordinate.
        grid: log-SNR points and weights.
        pairs: antithetic pairs eps, -eps at each log-SNR point, at least 2.
        seed: of the noise.
    """
    axis = axis.to(model.gaussians.mean)
    points = torch.cartesian_prod(axis, axis)
    gap = torch.zeros(pairs, len(model), len(points), dtype=torch.float64)
    drawn = curve_noise("quasi", (pairs, 2), 0, torch.arange(len(grid)), len(grid), seed)
    noise = drawn.transpose(0, 1).to(axis)  # spread evenly along the curve, pair by pair
    for logsnr, weight, at_point in zip(grid.logsnr.to(axis), grid.weights.tolist(), noise, strict=True):
        alpha, sigma = logsnr_to_alpha_sigma(logsnr)
        for pair, half in enumerate(at_point):
            for eps in (half, -half):
                network = model.on_grid([alpha * axis + sigma * one for one in eps], logsnr)
                gaussian = model.gaussians.eps_hat(alpha * points + sigma * eps, logsnr[None, None])
                difference = (eps - gaussian).square().sum(-1) - (eps - network).square().sum(-1)
                gap[pair] += weight / 2 * difference.cpu().double()
    nll = -log_gaussian(model.gaussians, points) - gap / 2
    both = torch.stack([nll.mean(0), nll.std(0) / pairs**0.5])
    return both.view(2, len(model), len(axis), len(axis))


def log_gaussian(gaussians: Gaussians, x: Tensor) -> Tensor:
    """log N(x; mu, Sigma) of points x (n, d) under each of k Gaussians, (k, n) float64."""
    mean, eigenvalues, vectors = (item.cpu().double() for item in gaussians.buffers())
    along = (x.cpu().double() - mean[:, None]) @ vectors
    constant = eigenvalues.log().sum(-1, keepdim=True) + x.shape[-1] * math.log(2 * math.pi)
    return -0.5 * ((along**2 / eigenvalues[:, None]).sum(-1) + constant)


# ----------
# What is measured of the 2-D denoisers: NLL beside the exact one, MSE curves, ODE likelihood, MMD of samples.

MEMBERS_AT_ONCE = 5  # networks per piece of the ODE likelihood: some ten seconds on a CPU
UNIT_SCALE = "as sampled"
"""The tables' data_scale: networks and estimates see the points as the distribution gives them."""


class ShapesEvaluation:
    """Measures the k networks of one run.

    Args:
        config: the run's settings.
        members: (data set, seed) of each network.
        laws: the distribution of each data set, by name.
        validation: validation points (k, n, 2).
        references: Gaussian of each training set (k,).
    """

    def __init__(
        self,
        config: ShapesConfig,
        members: list[tuple[str, int]],
        laws: dict[str, Toy],
        validation: Tensor,
        references: list[GaussianReference],
    ):
        self.config, self.members, self.laws = config, members, laws
        self.validation, self.references = validation, references
        self.seeds = [seed for _, seed in members]
        self.range = LogsnrRange(config.logsnr_loc, config.logsnr_scale, config.logsnr_clip)
        self.grid = make_grid(self.range, config.points)
        self.line = LogsnrLine(self.range.high, self.range.low)
        self.exact = torch.stack(
            [-laws[name].log_prob(points) for (name, _), points in zip(members, validation.cpu(), strict=True)]
        )

    def curves(self, model: ShapesModel, *, antithetic: bool = False, keep: Keep = unkept) -> list[Curve]:
        """The MSE curve of each network on its validation points, with eps and -eps where `antithetic`."""
        name = "both-signs" if antithetic else "curve"
        measured = zip(range(len(self.members)), self.validation, self.references, self.seeds, strict=True)
        return [
            measure_curve_in_pieces(
                keep,
                f"{name}-{i:03d}",
                model.denoiser(i),
                points,
                self.grid,
                reference,
                antithetic=antithetic,
                seed=seed,
            )
            for i, points, reference, seed in measured
        ]

    def nll_rows(self, curves: list[Curve], epoch: int) -> list[Nll]:
        """NLL of the validation points from their curves, beside the exact NLL of the same points."""
        rows = []
        for i, curve in enumerate(curves):
            found = continuous_nll(curve)
            # The same points stand in both, so the error of the difference is over points of the difference.
            sums = -curve.log_normal["raw"] - curve.grid.integrate(curve.gaussian() - curve.errors("raw")) / 2
            group = torch.arange(curve.n) % len(curve.counts)
            _, excess_se = curve.spread(sums - torch.zeros_like(sums).index_add(0, group, self.exact[i]))
            rows.append(
                self._nll_row(
                    i, epoch, found, float(excess_se), estimator="continuous", rounding=found.rounding,
                    integrator=found.integrator, points=found.points, tail_nats=found.tail_nats,
                    gaussian_nats=found.gaussian_nats,
                )
            )  # fmt: skip
        return rows

    def curve_rows(self, curves: list[Curve], epoch: int) -> list[MseCurve]:
        """The curves as rows of `itdiffusion/mse_curve`."""
        rows = []
        for i, curve in enumerate(curves):
            shared = {**self.settings(i, epoch), **self._points(), "integrator": curve.grid.integrator}
            columns = (curve.grid.logsnr, curve.mean("raw"), curve.se("raw"), curve.gaussian().sum(0) / curve.n)
            for logsnr, mse, error, gaussian in zip(*(column.tolist() for column in columns), strict=True):
                rows.append(MseCurve(**shared, logsnr=logsnr, mse=mse, mse_se=error, mse_gaussian=gaussian))
        return rows

    def ode_rows(self, model: ShapesModel, epoch: int, keep: Keep = unkept) -> list[Nll]:
        """NLL of the same points under the probability-flow ODE of the same denoisers, with the solver's error."""
        steps = self.config.ode_steps
        fine, coarse = (self._ode(model, count, under(keep, f"ode-{count}")) for count in (steps, max(1, steps // 2)))
        evaluations = 2 * steps * self.validation.shape[1]
        rows = []
        for i, (ours, rough) in enumerate(zip(-fine, -coarse, strict=True)):
            value, error = mean_and_se(ours)
            _, excess_se = mean_and_se(ours - self.exact[i])
            solver = abs(value - float(rough.mean())) / 3  # Heun's rule is of second order
            found = Estimate(value, error, solver, estimand="E[-log p(x)], a density", d=2, evaluations=evaluations)
            rows.append(
                self._nll_row(i, epoch, found, excess_se, estimator="ode", rounding=None, integrator=None, points=steps)
            )
        return rows

    def _ode(self, model: ShapesModel, steps: int, keep: Keep) -> Tensor:
        """log p of the validation points under each network (k, n), a few networks at a time."""

        def measure(members: list[int]) -> dict[str, Tensor]:
            chosen = model.select(members)
            together = Denoiser.of_eps(chosen, chosen.value_and_divergence)
            points = self.validation[members]
            solved = ode_log_likelihood(together, self.line, points, points.new_ones(1, 1), heun_steps=steps)
            return {"log_p": solved.log_p}

        groups = torch.arange(len(self.members)).split(MEMBERS_AT_ONCE)
        parts = [keep(f"{int(group[0]):03d}", functools.partial(measure, group.tolist())) for group in groups]
        return torch.cat([part["log_p"] for part in parts])

    @torch.no_grad()
    def samples(self, model: ShapesModel, keep: Keep = unkept) -> Tensor:
        """Samples (k, n, 2) of the reverse SDE from N(0, I) at the lowest log-SNR."""
        n, steps = self.config.samples, self.config.sampler_steps
        start = torch.stack([torch.randn(n, 2, generator=generator(seed, "prior")) for seed in self.seeds])
        noise = StepNoise(self.seeds, "sampler", (n, 2), self.validation.device)
        together, one = Denoiser.of_eps(model), self.validation.new_ones(1, 1)

        def walk(x: Tensor, part: range) -> dict[str, Tensor]:
            return {"x": reverse_sde(together, self.line, x, one, steps, noise, part=part)}

        x = start
        for kept in walk_in_pieces(keep, "samples", start.to(self.validation), steps, walk):
            x = kept["x"]
        return x

    def sample_rows(self, samples: Tensor, epoch: int) -> list[ShapeSamples]:
        """MMD of the samples to held-out points, and of these to as many others, with one kernel."""
        n, rows = self.config.samples, []
        for i, (name, seed) in enumerate(self.members):
            first, second = self.laws[name].sample(2 * n, generator(seed, "held-out", name)).split(n)
            bandwidth = median_bandwidth(first, second)
            kernel = gaussian_kernel(bandwidth)
            drawn, heldout = mmd2(samples[i], first, kernel), mmd2(second, first, kernel)
            rows.append(
                ShapeSamples(
                    **self.settings(i, epoch), n=n, sampler_steps=self.config.sampler_steps, bandwidth=bandwidth,
                    mmd2=drawn.value, mmd2_se=drawn.se, mmd2_heldout=heldout.value, mmd2_heldout_se=heldout.se,
                )
            )  # fmt: skip
        return rows

    def thin_grid(self, points: int) -> LogsnrGrid:
        """The deterministic rule on the same range with other points, never more than `config.points`."""
        return make_grid(self.range, min(points, self.config.points))

    def settings(self, member: int, epoch: int) -> dict[str, Any]:
        """The settings that rows of all tables share."""
        name, seed = self.members[member]
        return {"dataset": name, "model": self.config.model_name(), "seed": seed, "epoch": epoch}

    def _points(self) -> dict[str, Any]:
        return {"d": 2, "n": self.validation.shape[1], "data_scale": UNIT_SCALE, "bin_width": 0.0}

    def _nll_row(self, member: int, epoch: int, found: Estimate, excess_se: float, **more: Any) -> Nll:
        exact = float(self.exact[member].mean())
        return Nll(
            **self.settings(member, epoch),
            **self._points(),
            **more,
            nll_nats=found.value,
            nll_bpd=nats_to_bpd(found.value, 2),
            se_data_nats=found.se_data,
            se_quadrature_nats=found.se_quadrature,
            se_bpd=nats_to_bpd(found.se, 2),
            reference_nats=exact,
            excess_nats=found.value - exact,
            excess_se_nats=excess_se,
            loc=self.range.loc,
            scale=self.range.scale,
            clip=self.range.clip,
            evaluations=found.evaluations,
        )
