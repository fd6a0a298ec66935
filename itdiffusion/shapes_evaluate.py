"""What is measured of the 2-D denoisers: NLL beside the exact one, MSE curves, ODE likelihood, MMD of samples."""

from typing import Any

import torch
from torch import Tensor

from common.estimate import Estimate, mean_and_se, nats_to_bpd
from common.immse import (
    Curve,
    GaussianReference,
    LogsnrGrid,
    LogsnrRange,
    continuous_nll,
    make_grid,
    measure_curve,
)
from common.likelihood import ode_log_likelihood
from common.logsnr_schedule import LogsnrLine
from common.mmd import gaussian_kernel, median_bandwidth, mmd2
from common.results.tables.itdiffusion import MseCurve, Nll
from common.results.tables.itdiffusion_samples import ShapeSamples
from common.samplers import StepNoise, reverse_sde
from common.schedules import logsnr_to_alpha_sigma
from common.seeds import generator
from common.toy import Toy
from itdiffusion.shapes_config import ShapesConfig
from itdiffusion.shapes_model import ShapesModel

UNIT_SCALE = "as sampled"
"""The tables' data_scale: networks and estimates see the points as the law gives them."""


class ShapesEvaluation:
    """Measures the k networks of one run.

    Args:
        config: the run's settings.
        members: (data set, seed) of each network.
        laws: the law of each data set, by name.
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

    def curves(self, model: ShapesModel, *, antithetic: bool = False) -> list[Curve]:
        """The MSE curve of each network on its validation points, with eps and -eps where `antithetic`."""
        measured = zip(range(len(self.members)), self.validation, self.references, self.seeds, strict=True)
        return [
            measure_curve(model.denoiser(i), points, self.grid, reference, antithetic=antithetic, seed=seed)
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

    def ode_rows(self, model: ShapesModel, epoch: int) -> list[Nll]:
        """NLL of the same points under the probability-flow ODE of the same denoisers, with the solver's error."""

        def score(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            logsnr = self.line.t_to_logsnr(t)
            eps_hat, divergence = model.value_and_divergence(x, logsnr)
            sigma = logsnr_to_alpha_sigma(logsnr)[1]
            return -eps_hat / sigma[..., None], -divergence / sigma

        one, steps = self.validation.new_ones(1, 1), self.config.ode_steps
        fine, coarse = (
            ode_log_likelihood(score, self.line, self.validation, one, heun_steps=count)
            for count in (steps, max(1, steps // 2))
        )
        evaluations = fine.evaluations * self.validation.shape[1]
        rows = []
        for i, (ours, rough) in enumerate(zip(-fine.log_p.cpu(), -coarse.log_p.cpu(), strict=True)):
            value, error = mean_and_se(ours)
            _, excess_se = mean_and_se(ours - self.exact[i])
            solver = abs(value - float(rough.mean())) / 3  # Heun's rule is of second order
            found = Estimate(value, error, solver, estimand="E[-log p(x)], a density", d=2, evaluations=evaluations)
            rows.append(
                self._nll_row(i, epoch, found, excess_se, estimator="ode", rounding=None, integrator=None, points=steps)
            )
        return rows

    @torch.no_grad()
    def samples(self, model: ShapesModel) -> Tensor:
        """Samples (k, n, 2) of the reverse SDE from N(0, I) at the lowest log-SNR."""
        n = self.config.samples

        def score(x: Tensor, t: Tensor) -> Tensor:
            logsnr = self.line.t_to_logsnr(t)
            return -model(x, logsnr) / logsnr_to_alpha_sigma(logsnr)[1][..., None]

        start = torch.stack([torch.randn(n, 2, generator=generator(seed, "prior")) for seed in self.seeds])
        noise = StepNoise(self.seeds, "sampler", (n, 2), self.validation.device)
        one = self.validation.new_ones(1, 1)
        return reverse_sde(score, self.line, start.to(self.validation), one, self.config.sampler_steps, noise).cpu()

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
