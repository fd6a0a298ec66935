"""The bound as a function of the diffusion time T, for one network that serves every T: differentiable, or measured."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from infolab.bound import Bound, ScoreNorm, published_loss, spread_noise, term2, term3_per_norm
from infolab.denoise import Denoiser
from infolab.empirical import mutual_information_batch
from infolab.noise import generator
from infolab.sample import StepNoise, reverse_sde
from infolab.schedules import VP


@dataclass(frozen=True)
class TermsInT:
    """The terms of the published bound of k networks at their T, each (k,) float64 on the CPU; errors where known."""

    term1: Tensor
    term1_se: Tensor
    term2: Tensor
    term3: Tensor
    score_norm: Tensor
    score_loss: Tensor
    score_loss_se: Tensor
    R: float

    @property
    def nats(self) -> Tensor:
        """The bound (k,): term1 + sqrt(2) R (term2 + term3) + score loss."""
        return self.term1 + math.sqrt(2) * self.R * (self.term2 + self.term3) + self.score_loss

    def member(self, index: int) -> Bound:
        """The terms of one network."""
        return Bound(
            term1=float(self.term1[index]),
            term1_se=float(self.term1_se[index]),
            term2=float(self.term2[index]),
            term3=float(self.term3[index]),
            score_loss_nats=float(self.score_loss[index]),
            score_loss_se=float(self.score_loss_se[index]),
            R=self.R,
        )


@dataclass(frozen=True)
class NormInT:
    """The score norm on the sampler's path as measured near T: log L is linear in log T between two measurements."""

    log_T: Tensor
    log_norm: Tensor
    slope: Tensor

    def at(self, T: Tensor) -> Tensor:
        """L at T (k,)."""
        return torch.exp(self.log_norm + self.slope * (T.log() - self.log_T))


class BoundInT:
    """Measures the published bound of k networks as a function of T; the sampler takes N steps at every T.

    Args:
        data: training sets (k, m, d).
        seeds: one per network (k).
        schedule: the forward process.
        R: sub-Gaussian constant.
        steps: N.
        paths: sampler paths on which L is measured.
    """

    def __init__(self, data: Tensor, seeds: list[int], schedule: VP, *, R: float, steps: int, paths: int):
        self.data, self.seeds, self.schedule = data, seeds, schedule
        self.R, self.steps, self.paths = R, steps, paths
        self.m, self.d = data.shape[1:]

    def norm(self, model: Denoiser, T: Tensor) -> Tensor:
        """L (k,), the largest over steps of the mean score norm on paths from N(0, I); the same noise at every T."""
        shape = (self.paths, self.d)
        x_T = torch.stack([torch.randn(shape, generator=generator(seed, "prior")) for seed in self.seeds])
        noise = StepNoise(self.seeds, "sampler", shape, self.data.device)
        norm = ScoreNorm(len(self.seeds))
        times = T.detach().to(self.data)[:, None]
        reverse_sde(model, self.schedule, x_T.to(self.data), times, self.steps, noise, observe=norm.observe)
        return norm.published.double()

    def norm_near(self, model: Denoiser, T: Tensor, T_max: float, step: float = 0.1) -> NormInT:
        """L at T (k,), on the CPU, and its slope d log L / d log T, from T e^-step and T e^step (T_max at most)."""
        low, high = T * math.exp(-step), (T * math.exp(step)).clamp(max=T_max)
        at_low, at_high = self.norm(model, low).log(), self.norm(model, high).log()
        slope = (at_high - at_low) / (high / low).log()
        return NormInT(low.log(), at_low, slope)

    def terms(
        self, model: Denoiser, T: Tensor, norm: Tensor, *stream: str | int, draws: int, points: int, replicates: int = 1
    ) -> TermsInT:
        """All terms at T (k,), with L = `norm` (k,); differentiable in both.

        The noise is a function of the seeds and `stream` alone, so that two T can be compared without its error.

        Args:
            model: the networks, whose score is asked for at x (k, b, d), t (k, b).
            T: diffusion times (k,) float64, on the CPU.
            norm: L.
            stream: name of the noise.
            draws: noise draws per training point in T1.
            points: noised points per replicate of the score loss, at least.
            replicates: repetitions of the score loss; two at least for a standard error (else 0).
        """
        level = self.schedule.at(T)
        name = "/".join(map(str, stream))
        information, se = mutual_information_batch(self.data, level.alpha, level.sigma, draws, self.seeds, name)
        losses = []
        for replicate in range(replicates):
            x0, u, eps = spread_noise(self.data, self.seeds, points, *stream, replicate)
            losses.append(published_loss(model, self.schedule, x0, u * T[:, None].to(u), eps))
        stacked = torch.stack(losses)
        spread = stacked.detach().std(0) if replicates > 1 else torch.zeros_like(stacked[0]).detach()
        return TermsInT(
            term1=-information.cpu(),
            term1_se=se.detach().cpu(),
            term2=term2(self.data, level.alpha),
            term3=norm * term3_per_norm(T, self.m, self.steps, self.schedule),
            score_norm=norm.detach(),
            score_loss=stacked.mean(0),
            score_loss_se=spread / math.sqrt(replicates),
            R=self.R,
        )
