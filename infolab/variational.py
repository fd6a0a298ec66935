"""The discrete-time variational bound of DDPM and IDDPM: L_T + sum L_t + L_0, a bound of -log p(x0)."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.baselines import log_normal_mass
from infolab.denoise import Denoiser, check_model
from infolab.device import to_double
from infolab.errors import UserError, check_choice
from infolab.estimate import Estimate, mean_and_se
from infolab.noise import generator
from infolab.schedules import DDPM
from infolab.storage import Keep, unkept

VARIANCES = ("large", "small", "learned")
PIECE = 4096  # network evaluations of a piece, about (and all images at one step at least)
NOISE_BLOCK = 256  # images whose noise is drawn at once: what an image gets does not depend on the batch


@dataclass(frozen=True)
class BoundTerms:
    """The three parts of the bound for each image, (n,) float64, nats.

    Attributes:
        prior: L_T = KL(q(x_T | x0) || N(0, I)).
        transitions: sum_{t >= 2} L_t, each KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)).
        reconstruction: L_0 = -log p(x0 | x_1).
        se_steps: standard error of the mean over images that comes from evaluating some of the steps only.
        evaluations: examples that went through the network.
    """

    prior: Tensor
    transitions: Tensor
    reconstruction: Tensor
    se_steps: float
    evaluations: int

    @property
    def total(self) -> Tensor:
        """L_T + sum L_t + L_0, (n,)."""
        return self.prior + self.transitions + self.reconstruction


class VariationalBound:
    """The bound of a DDPM (Ho et al. 2020, eq. 5) or IDDPM (Nichol and Dhariwal 2021, eqs. 4 to 8 and 15).

    p(x_{t-1} | x_t) = N(c0 x0_hat + c1 x_t, var), x0_hat = (x_t - sigma_t eps_hat) / alpha_t clamped to [-1, 1], with
    c0, c1 the coefficients of q(x_{t-1} | x_t, x0) = N(c0 x0 + c1 x_t, beta~_t). Steps are counted from 0 here, as
    networks are fed: step i leads from x_{i+1} to x_i of the papers, and step 0 is L_0.

    Args:
        schedule: betas and their products.
        variance: var: `large`, beta (at step 0: beta~ of step 1, as published); `small`, beta~ (the same at step 0);
            `learned`, exp(v' log beta + (1 - v') log beta~), v' = (v + 1)/2.
        levels: Q grey levels at -1, -1 + 2/(Q-1), .., 1: L_0 is the mass that the Gaussian gives a level's bin, the end
            bins taking the tails. None: L_0 is the Gaussian's density, and the bound one of a density.
        clip: clamp x0_hat to [-1, 1].

    Raises:
        UserError: an unknown variance, or fewer than 2 levels.
    """

    def __init__(self, schedule: DDPM, variance: str = "large", levels: int | None = None, clip: bool = True):
        self.schedule, self.clip, self.levels = schedule, clip, levels
        self.variance = check_choice("variance", variance, VARIANCES)
        if levels is not None and levels < 2:
            raise UserError(f"levels = {levels}: expected at least 2 grey levels, or None for a density")
        betas, abar = schedule.betas, schedule.abar
        before = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
        left = -torch.expm1(schedule.log_abar)  # 1 - abar, exact near 0
        left_before = torch.cat([torch.zeros(1, dtype=torch.float64), left[:-1]])
        self.c0 = before.sqrt() * betas / left
        self.c1 = (1 - betas).sqrt() * left_before / left
        beta_tilde = betas * left_before / left
        self.log_small = torch.cat([beta_tilde[1:2], beta_tilde[1:]]).log()
        self.log_beta = betas.log()
        self.log_large = torch.cat([self.log_small[:1], self.log_beta[1:]])

    @torch.no_grad()
    def terms(
        self,
        model: Denoiser,
        x: Tensor,
        *,
        steps: int = 0,
        seed: int = 0,
        batch: int = 512,
        first: int = 0,
        keep: Keep = unkept,
    ) -> BoundTerms:
        """The terms of every image.

        Args:
            model: the model, asked for eps_hat and v at whole steps (`Denoiser.at_step`).
            x: images in [-1, 1] (n, ...), floating point.
            steps: how many of the transitions are evaluated, one in each of so many strata of equal weight in log-SNR;
                0: all of them.
            seed: the noise of image j at the k-th evaluated step is a function of (seed, k, j).
            batch: images per network call.
            first: number of the first image in its data set, a multiple of `NOISE_BLOCK`, where x is a part of it.
            keep: keeps all images' values at a few steps as a piece.
        """
        check_model(model)
        chosen, weight = self._chosen(steps, seed)
        transitions = to_double(torch.zeros(len(x), device=x.device))
        means = torch.zeros(len(chosen), dtype=torch.float64)

        def measure(numbers: list[int]) -> dict[str, Tensor]:
            found = [self._at(model, x, int(chosen[k]), (seed, k, first), batch) for k in numbers]
            return {"values": torch.stack(found)}

        for part in torch.arange(len(chosen)).split(max(1, PIECE // len(x))):
            kept = keep(f"steps-{int(part[0]):04d}", functools.partial(measure, part.tolist()))["values"]
            for k, values in zip(part.tolist(), kept.to(transitions.device), strict=True):
                transitions += weight[k] * values
                means[k] = float(values.mean())
        # Within a stratum the summand moves by about what lies between it and the next: variance (difference)^2 / 12.
        slope = (weight * means).diff().square() / 12 if steps else torch.zeros(1)
        last = keep(
            "reconstruction", lambda: {"values": self.reconstruction(model, x, seed=seed, batch=batch, first=first)}
        )
        return BoundTerms(
            self.prior(x),
            transitions,
            last["values"].to(transitions.device),
            math.sqrt(float(slope.sum())),
            len(x) * (1 + len(chosen)),
        )

    @torch.no_grad()
    def reconstruction(self, model: Denoiser, x: Tensor, *, seed: int = 0, batch: int = 512, first: int = 0) -> Tensor:
        """L_0 of every image alone, (n,); arguments as in `terms`."""
        return self._at(model, x, 0, (seed, -1, first), batch)

    def estimate(self, terms: BoundTerms, d: int) -> Estimate:
        """The bound's mean over images, an upper bound of -log p."""
        value, se = mean_and_se(terms.total)
        kind = "probability mass of the grey levels" if self.levels else "density of the images in [-1, 1]"
        return Estimate(
            value,
            se,
            terms.se_steps,
            bias="upper",
            estimand=f"-log of the {kind}, by the variational bound of {self.schedule.steps} steps",
            n=len(terms.total),
            d=d,
            evaluations=terms.evaluations,
        )

    def prior(self, x: Tensor) -> Tensor:
        """L_T = 1/2 (abar |x0|^2 + d (-abar - log(1 - abar))) at the last step, (n,) float64."""
        abar = self.schedule.abar[-1]
        flat = to_double(x.flatten(1))
        offset = flat.shape[1] * (-abar - torch.log1p(-abar)).to(flat)
        return 0.5 * (abar.to(flat) * flat.square().sum(1) + offset)

    def _chosen(self, steps: int, seed: int) -> tuple[Tensor, Tensor]:
        """Transitions to evaluate and the weight of each, so that the weighted sum is unbiased for the sum over all."""
        last = self.schedule.steps - 1
        if not 0 < steps < last:
            return torch.arange(1, last + 1), torch.ones(last, dtype=torch.float64)
        mass = -self.schedule.logsnr.diff()  # of steps 1 .. N - 1
        mass = mass / mass.sum()
        u = torch.arange(steps) + torch.rand(steps, generator=generator(seed, "variational", "steps"))
        index = torch.searchsorted(mass.cumsum(0), u.double() / steps).clamp(max=last - 1)
        return index + 1, 1 / (steps * mass[index])

    def _at(self, model: Denoiser, x: Tensor, step: int, noise: tuple[int, int, int], batch: int) -> Tensor:
        """L_t (or L_0) of all images at one step, (n,) float64; noise: seed, number of the draw, first image."""
        seed, draw, first = noise
        parts = []
        for start in range(0, len(x), NOISE_BLOCK):
            source = generator(seed, "variational", draw, first + start)
            parts.append(self._one(model, x[start : start + NOISE_BLOCK], step, source, batch))
        return torch.cat(parts)

    def _one(self, model: Denoiser, x: Tensor, step: int, source: torch.Generator, batch: int) -> Tensor:
        """L_t (or L_0) of images x at one step, (n,) float64."""
        eps = torch.randn(x.shape, generator=source).to(x)
        alpha, sigma = math.sqrt(self.schedule.abar[step]), math.sqrt(-math.expm1(self.schedule.log_abar[step]))
        parts = []
        for x0, noise in zip(x.split(batch), eps.split(batch), strict=True):
            x_t = alpha * x0 + sigma * noise
            eps_hat, v = model.at_step(x_t, torch.full((len(x0),), step, device=x.device), self.schedule)
            x0_hat = (x_t - sigma * eps_hat) / alpha
            x0_hat = x0_hat.clamp(-1, 1) if self.clip else x0_hat
            if step == 0:
                exact = to_double(x0)
                log_var = self._log_variance(step, exact, v)
                parts.append(self._reconstruction(exact, to_double(x0_hat), log_var))
            else:
                distance = float(self.c0[step]) * to_double(x0 - x0_hat)
                log_var = self._log_variance(step, distance, v)
                ratio = self.log_small[step].to(distance) - log_var  # log of beta~ / var
                parts.append(0.5 * (ratio.exp() - 1 - ratio + distance.square() * (-log_var).exp()).flatten(1).sum(1))
        return torch.cat(parts)

    def _log_variance(self, step: int, like: Tensor, v: Tensor | None) -> Tensor:
        """log var, float64, of the shape of `like` and where that is."""
        if self.variance != "learned":
            values = self.log_large if self.variance == "large" else self.log_small
            return values[step].to(like.device).expand(like.shape)
        if v is None:
            raise UserError("the network has no variance output: choose --variance large or small")
        share = (to_double(v) + 1) / 2
        return share * self.log_beta[step].to(share) + (1 - share) * self.log_small[step].to(share)

    def _reconstruction(self, x0: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        std = (log_var / 2).exp()
        if self.levels is None:
            log_p = -0.5 * (math.log(2 * math.pi) + log_var + ((x0 - mean) / std).square())
            return -log_p.flatten(1).sum(1)
        half = 1 / (self.levels - 1)
        low = torch.where(x0 < -1 + half, -torch.inf, (x0 - half - mean) / std)
        high = torch.where(x0 > 1 - half, torch.inf, (x0 + half - mean) / std)
        return -log_normal_mass(low, high).flatten(1).sum(1)
