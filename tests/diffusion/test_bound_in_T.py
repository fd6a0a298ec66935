"""The bound as a function of T: its gradient term by term, and its values beside the estimators of the toy study."""

import math

import pytest
import torch

from diffusion.bound_in_T import BoundInT, NormInT
from infolab import toy
from infolab.bound import ScoreNorm, score_losses, term2, term3
from infolab.denoise import Denoiser
from infolab.empirical import mutual_information_batch
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.sample import StepNoise, reverse_sde
from infolab.schedules import VP, append_dims

DOUBLE = torch.float64
SCHEDULE = VP()
SEEDS = [3, 5]
T = torch.tensor([0.45, 1.1], dtype=DOUBLE)
R, STEPS = 5.0, 12


def make():
    data = torch.stack([torch.randn(9, 2, generator=generator(seed, "data"), dtype=DOUBLE) for seed in SEEDS])
    network = EnsembleMLP((3, 8, 8, 2), SEEDS).double()
    bound = BoundInT(data, SEEDS, SCHEDULE, R=R, steps=STEPS, paths=30)
    return bound, Denoiser.of_score(lambda x, t: network(x, t) / append_dims(SCHEDULE.beta(t).sqrt(), x), SCHEDULE)


def terms(bound, model, T, norm):
    return bound.terms(model, T, norm, "test", draws=3, points=40)


@pytest.mark.parametrize("name", ["term1", "term2", "term3", "score_loss", "nats"])
def test_gradient_in_T_against_finite_differences(name):
    bound, model = make()
    law = NormInT(T.log(), torch.tensor([0.7, 1.9], dtype=DOUBLE), torch.tensor([-0.3, 0.2], dtype=DOUBLE))

    def value(T):
        return getattr(terms(bound, model, T, law.at(T)), name)

    moving = T.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(moving).sum(), moving)
    step = 1e-5
    with torch.no_grad():
        difference = (value(T + step) - value(T - step)) / (2 * step)
    assert gradient.abs().max() > 1e-2  # each term does move
    torch.testing.assert_close(gradient, difference, rtol=1e-6, atol=1e-8)


def test_terms_are_those_of_the_toy_study():
    bound, model = make()
    with torch.no_grad():
        norm = bound.norm(model, T)
        found = bound.terms(model, T, norm, "score_loss", draws=4, points=512, replicates=16)
    level = SCHEDULE.at(T)
    information, se = mutual_information_batch(bound.data, level.alpha, level.sigma, 4, SEEDS, "score_loss")
    losses = score_losses(model, bound.data, SCHEDULE, T, SEEDS, t_eps=1e-3)
    torch.testing.assert_close(found.term1, -information)
    torch.testing.assert_close(found.term1_se, se)
    torch.testing.assert_close(found.term2, term2(bound.data, level.alpha))
    torch.testing.assert_close(found.score_loss, losses.published)
    torch.testing.assert_close(found.score_loss_se, losses.published_se)
    for i in range(2):
        assert float(found.term3[i]) == pytest.approx(term3(float(norm[i]), float(T[i]), 9, STEPS, SCHEDULE), rel=1e-12)
        assert found.member(i).nats == pytest.approx(float(found.nats[i]), rel=1e-12)
        total = found.term1[i] + math.sqrt(2) * R * (found.term2[i] + found.term3[i]) + found.score_loss[i]
        assert float(found.nats[i]) == pytest.approx(float(total), rel=1e-12)


def test_the_norm_is_that_of_the_samplers_path():
    bound, model = make()
    norm = ScoreNorm(2)
    x_T = torch.stack([torch.randn(30, 2, generator=generator(seed, "prior")) for seed in SEEDS]).double()
    noise = StepNoise(SEEDS, "sampler", (30, 2))
    reverse_sde(model, SCHEDULE, x_T, T[:, None], STEPS, noise, observe=norm.observe)
    torch.testing.assert_close(bound.norm(model, T), norm.published.double())
    alone = BoundInT(bound.data[1:], SEEDS[1:], SCHEDULE, R=R, steps=STEPS, paths=30)
    second = lambda x, t: model.score(x.expand(2, -1, -1), t.expand(2, -1), SCHEDULE)[1:]  # noqa: E731
    member = alone.norm(Denoiser.of_score(second, SCHEDULE), T[1:])
    torch.testing.assert_close(member, norm.published[1:].double())


def test_the_slope_of_the_norm_goes_through_both_measurements():
    bound, model = make()
    with torch.no_grad():
        near = bound.norm_near(model, T, T_max=1.15, step=0.1)
        low, high = T * math.exp(-0.1), torch.tensor([0.45 * math.exp(0.1), 1.15], dtype=DOUBLE)  # the second is capped
        torch.testing.assert_close(near.at(low), bound.norm(model, low))
        torch.testing.assert_close(near.at(high), bound.norm(model, high))


@pytest.mark.bits
def test_noise_is_common_to_all_T_and_a_function_of_the_stream():
    bound, model = make()
    with torch.no_grad():
        one, two = (terms(bound, model, T, torch.ones(2)) for _ in range(2))
        other = bound.terms(model, T, torch.ones(2), "other", draws=3, points=40)
    assert torch.equal(one.nats, two.nats)
    assert not torch.equal(one.term1, other.term1)
    assert not torch.equal(one.score_loss, other.score_loss)


def test_without_the_networks_terms_the_bound_falls_in_T():
    """T1 + sqrt(2) R T2 alone has no inner minimum on the swiss roll: the data terms do not choose T."""
    data = torch.stack([toy.make("swiss_roll").sample(60, generator(seed, "train", 60)) for seed in SEEDS])
    grid = torch.linspace(0.1, 2.0, 39, dtype=DOUBLE)
    values = []
    for t in grid:
        level = SCHEDULE.at(t.repeat(2))
        information, _ = mutual_information_batch(data, level.alpha, level.sigma, 20, SEEDS, "t")
        values.append(-information + math.sqrt(2) * R * term2(data, level.alpha))
    assert (torch.stack(values).diff(dim=0) < 1e-3).all()
