"""The score-norm penalty: its L against a plain loop, its gradient, and the losses that it enters."""

import math

import pytest
import torch

from diffusion.image_model import ImageObjective
from diffusion.penalty import BoundPenalty, PenalisedLoss, check_weights, largest_mean_norm
from diffusion.penalty_digits import SWEEPS, PenalisedObjective
from diffusion.toy import dsm_loss
from infolab.bound import term3
from infolab.data import load
from infolab.data.images import LogitTransform
from infolab.epochs import NoisedEpochs
from infolab.errors import UserError
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.schedules import VP

DOUBLE = torch.float64
SCHEDULE = VP()


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed, "test"), dtype=DOUBLE)


@pytest.mark.parametrize(("b", "strata"), [(12, 4), (13, 4), (7, 7), (3, 16), (10, 1)])
def test_L_is_the_largest_mean_norm_over_groups_in_order_of_time(b, strata):
    s, t = drawn(2, b, 1, 2, 2), torch.rand(2, b, generator=generator(1, "t"), dtype=DOUBLE)
    found = largest_mean_norm(s, t, strata)
    for member in range(2):
        order = sorted(range(b), key=lambda i: float(t[member, i]))
        groups: dict[int, list[float]] = {}
        for rank, i in enumerate(order):
            norm = math.sqrt(sum(float(v) ** 2 for v in s[member, i].flatten()))
            groups.setdefault(rank * min(strata, b) // b, []).append(norm)
        sizes = [len(group) for group in groups.values()]
        assert len(groups) == min(strata, b)
        assert max(sizes) - min(sizes) <= 1
        assert float(found[member]) == pytest.approx(max(sum(group) / len(group) for group in groups.values()))


def test_gradient_of_the_penalty():
    T, weights = torch.tensor([0.5, 1.2], dtype=DOUBLE), torch.tensor([0.1, 2.0], dtype=DOUBLE)
    penalty = BoundPenalty(weights, T, m=50, steps=20, R=5.0, schedule=SCHEDULE, strata=3)
    t = torch.rand(2, 9, generator=generator(1, "t"), dtype=DOUBLE)
    assert torch.autograd.gradcheck(lambda s: penalty(s, t), drawn(2, 9, 2).requires_grad_())


def test_the_penalty_is_the_weighted_term_of_the_bound():
    T, weights = torch.tensor([0.5, 1.2], dtype=DOUBLE), torch.tensor([0.1, 2.0], dtype=DOUBLE)
    s, t = drawn(2, 9, 2), torch.rand(2, 9, generator=generator(1, "t"), dtype=DOUBLE)
    found = BoundPenalty(weights, T, m=50, steps=20, R=5.0, schedule=SCHEDULE, strata=3)(s, t)
    norms = largest_mean_norm(s, t, 3)
    for i in range(2):
        third = term3(float(norms[i]), float(T[i]), 50, 20, SCHEDULE)
        assert float(found[i]) == pytest.approx(float(weights[i]) * math.sqrt(2) * 5.0 * third, rel=1e-12)


def test_the_toy_loss_is_score_matching_plus_the_penalty():
    data, times, seeds = drawn(3, 20, 2).float(), torch.tensor([0.5, 1.0, 1.0]), [0, 1, 1]
    batches = NoisedEpochs(data, SCHEDULE, times, seeds, batch=20)
    model = EnsembleMLP((3, 8, 2), seeds)
    weights = torch.tensor([0.5, 0.0, 1.0])
    penalty = BoundPenalty(weights, times, m=20, steps=10, R=5.0, schedule=SCHEDULE, strata=4)
    found, plain, batch = PenalisedLoss(penalty, SCHEDULE)(model, batches, 7), dsm_loss(model, batches, 7), batches(7)
    assert torch.equal(found[1], plain[1])  # weight 0 is plain score matching to the last bit
    scores = model(batch.x_t, batch.t) / SCHEDULE.beta(batch.t).sqrt()[..., None]
    torch.testing.assert_close(found - plain, penalty(scores, batch.t))
    assert (found[[0, 2]] > plain[[0, 2]]).all()


def test_the_image_loss_is_score_matching_plus_the_penalty():
    plain, penalised = SWEEPS["smoke"]
    assert (plain.penalty_weight, penalised.penalty_weight) == (0.0, 1e-5)
    images = load("digits", "train").subset(plain.m, plain.seed)
    transform = LogitTransform(images.levels)

    class LinearScore(torch.nn.Module):
        schedule = SCHEDULE

        def forward(self, x, t):
            return -x

    base = ImageObjective(plain, LinearScore(), images, transform)
    assert torch.equal(PenalisedObjective(plain, LinearScore(), images, transform)(3), base(3))
    found = PenalisedObjective(penalised, LinearScore(), images, transform)(3)
    batch = base.denoise(3)
    norm = float(largest_mean_norm(batch.s[None], batch.t[None], penalised.strata))
    third = term3(norm, penalised.T, 16, penalised.sde_steps, SCHEDULE)
    assert float(found - base(3)) == pytest.approx(1e-5 * math.sqrt(2) * 4000 * third, rel=1e-3)


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (-1.0,), (math.inf,), (math.nan,)])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(UserError, match="penalty weights must be 0 or more"):
        check_weights(weights)
    check_weights((0.0, 1.0))
