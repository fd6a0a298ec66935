"""The bound as a regulariser: its score-norm term, estimated on a training batch, added to the training loss."""

import math

import torch
from torch import Tensor

from diffusion.toy import denoising_loss
from infolab.bound import term3_per_norm
from infolab.device import on_cpu
from infolab.epochs import NoisedEpochs
from infolab.errors import UserError
from infolab.nn.mlp import EnsembleMLP
from infolab.schedules import VP


def largest_mean_norm(s: Tensor, t: Tensor, strata: int) -> Tensor:
    """L_hat, the largest over time strata of the mean score norm of a training batch; differentiable in s.

    The batch is sorted by t and cut into `strata` groups of (nearly) equal size: strata of equal probability under the
    law of t in training. Noised training points have the law of the sampler's states where the score is exact (that of
    the noised training set), so L_hat stands for the bound's L, the largest over steps of the mean norm on the
    sampler's path, at the resolution of the strata.

    Args:
        s: scores at the noised training points (k, b, event...).
        t: their times (k, b).
        strata: number of groups; b where the batch is smaller.

    Returns:
        (k,), in the unit of s.
    """
    members, b = t.shape
    strata = min(strata, b)
    by_time = s.flatten(2).norm(dim=-1).gather(1, t.argsort(dim=1))
    group = torch.arange(b, device=t.device) * strata // b
    totals = by_time.new_zeros(members, strata).index_add(1, group, by_time)
    sizes = by_time.new_zeros(strata).index_add(0, group, by_time.new_ones(b))  # bincount would wait for the device
    return (totals / sizes).amax(1)


class BoundPenalty:
    """w sqrt(2) R T3(L_hat) of k networks: the term of the bound in which the score norm enters, times a weight.

    With w = 1 the training loss plus this penalty is the part of the bound that depends on the network.

    Args:
        weights: w of each network (k,).
        T: diffusion time of each network (k,).
        m: training examples.
        steps: N, sampler steps of T3.
        R: sub-Gaussian constant of the bound.
        schedule: the forward process.
        strata: time strata of L_hat.
    """

    def __init__(self, weights: Tensor, T: Tensor, m: int, steps: int, R: float, schedule: VP, strata: int):
        self.strata = strata
        per_norm = term3_per_norm(on_cpu(T), m, steps, schedule)
        self.per_norm = (math.sqrt(2) * R * per_norm * on_cpu(weights)).to(T)

    def __call__(self, s: Tensor, t: Tensor) -> Tensor:
        """The penalty (k,) in nats, of scores s (k, b, event...) at noised training points of times t (k, b)."""
        return self.per_norm * largest_mean_norm(s, t, self.strata)


class PenalisedLoss:
    """Denoising score matching plus `BoundPenalty` for networks trained side by side, from one network call.

    Args:
        penalty: the penalty, weights included.
        schedule: the forward process.
    """

    def __init__(self, penalty: BoundPenalty, schedule: VP):
        self.penalty, self.schedule = penalty, schedule

    def __call__(self, model: EnsembleMLP, batches: NoisedEpochs, step: int) -> Tensor:
        """Losses (k,) of the batch of optimiser step `step`."""
        batch = batches(step)
        drift = model(batch.x_t, batch.t)
        score = drift / self.schedule.beta(batch.t).sqrt()[..., None]
        return denoising_loss(drift, batch) + self.penalty(score, batch.t)


def check_weights(weights: tuple[float, ...]) -> None:
    """Refuse penalty weights that are missing, negative, not finite or named twice.

    Raises:
        UserError: in one sentence.
    """
    if not weights or len(set(weights)) < len(weights) or not all(0 <= weight < math.inf for weight in weights):
        raise UserError(f"penalty weights must be 0 or more, finite, and named once each, not {weights}")
