"""Priors and losses of the models with a code, against closed forms and sums written out."""

import dataclasses
import itertools
import math

import pytest
import torch

from infodiffusion.checkpoint import build
from infodiffusion.config import InfoConfig, canonical_config, vanilla_of
from infodiffusion.networks import Code, draw_prior
from infodiffusion.objective import capacity, code_terms, losses, rate, schedule_of
from infodiffusion.run import SWEEPS
from infodiffusion.sampling import denoiser
from infolab.errors import UserError
from infolab.nn.blocks import set_dropout_generator
from infolab.noise import generator

TINY = InfoConfig(
    dataset="digits", a_dim=4, channels=4, mult=(1, 2), blocks=1, dropout=0.0, epochs=10, T=20, steps=10, split_step=5
)


def moved(model, seed=0):
    """Off the initial values, so that no branch that starts at 0 hides what feeds it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(seed, name)))
    return model


def batch(config, n=6):
    source = generator(0, "batch")
    shape = (n, *([1, 8, 8]))
    x, eps = torch.rand(shape, generator=source) * 2 - 1, torch.randn(shape, generator=source)
    step = torch.tensor([0, 0, 3, 7, 19, 12])[:n]
    prior, code_eps = (torch.randn(n, config.a_dim, generator=source) for _ in range(2))
    return x, step, eps, prior, code_eps


def test_regular_prior_is_standard_normal():
    z = draw_prior("regular", 20_000, 3, generator(0)).double()
    assert z.mean(0).abs().max() < 4 / math.sqrt(20_000)
    assert (torch.cov(z.T) - torch.eye(3)).abs().max() < 5 * math.sqrt(2 / 20_000)


def test_ring_of_ten_gaussians_has_its_moments():
    # Radius along: N(1.4, 0.5^2); across: N(0, 0.1^2): E |z|^2 = 1.96 + 0.25 + 0.01, angles at multiples of 36 degrees.
    z = draw_prior("10mix", 20_000, 4, generator(0)).double().view(-1, 2, 2)
    squared = z.square().sum(-1).flatten()
    assert abs(float(squared.mean()) - 2.22) < 4 * float(squared.std()) / math.sqrt(len(squared))
    assert z.mean(0).abs().max() < 4 * math.sqrt(1.11 / 20_000)
    angle = torch.atan2(z[..., 1], z[..., 0])[z.norm(dim=-1) > 1.2] / (2 * math.pi / 10)
    off = (angle - angle.round()).abs()  # in units of 36 degrees: across 0.1 of 1.2 is at most 0.13 a deviation
    assert float((off < 0.35).double().mean()) > 0.95
    # Pairs have angles of their own.
    assert abs(float((z[:, 0, 0] * z[:, 1, 0]).mean())) < 4 * 1.11 / math.sqrt(20_000)


def test_roll_is_the_swiss_roll_and_priors_refuse_other_lengths():
    z = draw_prior("roll", 5_000, 2, generator(0))
    radius = z.norm(dim=1) * 5  # theta in (1.5 pi, 4.5 pi), noise 0.5
    assert 1.5 * math.pi - 2.5 < float(radius.min()) < float(radius.max()) < 4.5 * math.pi + 2.5
    for prior, a_dim in (("roll", 3), ("10mix", 3), ("gauss", 2)):
        with pytest.raises(UserError, match=r"must be|choose one of"):
            draw_prior(prior, 2, a_dim, generator(0))


def test_kl_of_a_code_is_the_closed_form():
    code = Code(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(4.0)]]), a=torch.zeros(1, 2))
    expected = 0.5 * (1 + 1 - 1 - 0) + 0.5 * (4 + 4 - 1 - math.log(4))
    torch.testing.assert_close(code.kl(), torch.tensor([expected]))


@pytest.mark.parametrize(
    ("model", "mmd", "kld", "compared", "sampled"),
    [
        ("diff", 0.1, 0.0, "a", False),
        ("diff", 0.1, 0.01, "mu", True),
        ("diff", 0.0, 0.01, None, True),
        ("diff", 0.0, 0.0, None, False),
        ("vae", 0.1, 0.0, "sample", True),
        ("vae", 0.0, 1.0, None, True),
    ],
)
def test_each_weight_brings_its_term_on_the_right_code(model, mmd, kld, compared, sampled):
    config = dataclasses.replace(TINY, model=model, mmd_weight=mmd, kld_weight=kld)
    assert config.sampled is sampled
    net = moved(build(config)).eval()
    x, step, eps, prior, code_eps = batch(config)
    found = losses(config, net, schedule_of(config), x, step, eps, prior, code_eps, 0)
    code = net.encoder(x)
    used = code.mu + torch.exp(code.log_variance / 2) * code_eps if sampled else code.a
    expected = found.errors.mean() + found.reconstruction
    if compared:
        z = {"a": code.a, "mu": code.mu, "sample": used}[compared]

        def k(u, v):
            return torch.exp(-(u[:, None] - v[None]).square().sum(-1) / 4**2).mean()

        expected = expected + mmd * (k(z, z) + k(prior, prior) - 2 * k(z, prior))
    if kld:
        expected = expected + kld * code.kl().mean()
    torch.testing.assert_close(found.total, expected)
    if model == "vae":
        torch.testing.assert_close(found.errors, (net(used) - x).square().flatten(1).mean(1))


def test_reconstruction_is_that_of_the_first_step():
    # |x0_hat - x|^2 of the images drawn at step 0, written out; a share of 1/T of a batch in expectation.
    net = moved(build(TINY)).eval()
    x, step, eps, prior, code_eps = batch(TINY)
    schedule = schedule_of(TINY)
    found = losses(TINY, net, schedule, x, step, eps, prior, code_eps, 0)
    beta, abar = float(schedule.betas[0]), float(schedule.abar[0])
    x_1 = math.sqrt(abar) * x + math.sqrt(1 - abar) * eps
    eps_hat = net(x_1, torch.zeros(6, dtype=torch.long), net.encoder(x).a)
    x0_hat = (x_1 - beta / math.sqrt(1 - abar) * eps_hat) / math.sqrt(1 - beta)
    at_first = (step == 0)[:, None, None, None]
    expected = ((x0_hat - x).square() * at_first).mean()
    torch.testing.assert_close(found.reconstruction, expected, rtol=1e-3, atol=1e-12)


def test_capacity_grows_over_the_epochs_and_kl_is_held_to_it():
    config = dataclasses.replace(TINY, model="vae", mmd_weight=0.0, kld_weight=2.0, use_c=True, c_max=25.0)
    assert [capacity(config, epoch) for epoch in (0, 4, 10)] == [0.0, 10.0, 25.0]
    code = Code(torch.ones(3, 4), torch.zeros(3, 4), a=torch.zeros(3, 4))  # KL = 2
    _, kl, total = code_terms(config, code, code.mu, code.mu, 4)
    assert float(kl) == pytest.approx(2.0)
    assert float(total) == pytest.approx(2.0 * (10.0 - 2.0))


def test_learning_rate_doubles_after_the_first_epoch_then_falls():
    rates = [rate(TINY, step, 5) for step in range(50)]
    assert rates[:5] == [1e-4] * 5
    assert rates[5:10] == pytest.approx([2e-4] * 5)
    assert all(a >= b for a, b in itertools.pairwise(rates[5:]))
    assert len(set(rates[5:])) == 9


def test_gradients_reach_every_weight_of_diff_and_its_encoder():
    config = dataclasses.replace(TINY, dropout=0.1, kld_weight=0.01)
    net = moved(build(config)).train()
    set_dropout_generator(net, generator(0))
    losses(config, net, schedule_of(config), *batch(config), 0).total.backward()
    # to_a's deterministic code feeds mu and the variance, so with a KL every weight has a gradient.
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_settings_of_other_modes_do_not_change_a_run():
    config = dataclasses.replace(TINY, mode="save_latent", n=7, img_id=3, eta=0.5, latent_epochs=3)
    assert canonical_config(config) == canonical_config(dataclasses.replace(TINY, mode="save_latent"))
    assert canonical_config(dataclasses.replace(TINY, mode="eval", n=7)) != canonical_config(
        dataclasses.replace(TINY, mode="eval", n=8)
    )
    assert canonical_config(config, "train") == dataclasses.replace(canonical_config(TINY), mode="train")
    other = dataclasses.replace(config, a_dim=2, mmd_weight=0.0)
    assert vanilla_of(config) == vanilla_of(other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "vanilla", "mode": "save_latent"}, "is for --model diff or vae"),
        ({"epochs": 0}, "untrained"),
        ({"sampling": "latent", "model": "vae"}, "is for --model diff"),
        ({"steps": 21}, "at most --T"),
        ({"prior": "roll"}, "must be 2"),
        ({"dataset": "faces"}, "unknown data set"),
        ({"beta_1": 0.0}, "beta-1"),
        ({"mmd_weight": float("nan")}, "mmd-weight"),
    ],
)
def test_refuses_what_cannot_run(change, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(TINY, **change).check()


@pytest.mark.parametrize("model", ["diff", "vanilla"])
def test_velocity_gives_eps_and_learns_by_its_own_squared_error(model):
    # At the exact v, sqrt(abar) eps - sqrt(1 - abar) x, eps_hat is eps; the loss is |v - v_hat|^2 written out.
    config = dataclasses.replace(TINY, model=model, parametrization="velocity", mmd_weight=0.0)
    net = moved(build(config)).eval()
    x, step, eps, prior, code_eps = batch(config)
    abar = schedule_of(config).abar.float()[step][:, None, None, None]
    x_t = abar.sqrt() * x + (1 - abar).sqrt() * eps
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x
    torch.testing.assert_close(net.output.eps_hat(v, x_t, step), eps)
    code = (net.encoder(x).a,) if model == "diff" else ()
    v_hat = net.network(x_t, step, *code)
    torch.testing.assert_close(net(x_t, step, *code), (1 - abar).sqrt() * x_t + abar.sqrt() * v_hat)
    found = losses(config, net, schedule_of(config), x, step, eps, prior, code_eps, 0)
    torch.testing.assert_close(found.total - found.reconstruction, (v - v_hat).square().mean())
    torch.testing.assert_close(found.errors.mean(), (eps - net(x_t, step, *code)).square().mean())


@pytest.mark.parametrize("parametrization", ["noise", "velocity"])
def test_the_denoiser_of_samplers_is_the_model(parametrization):
    config = dataclasses.replace(TINY, parametrization=parametrization, patch=2)
    net = moved(build(config)).eval().double()  # in float32 the two are 1e-5 apart, more or less by the processor
    x, step, *_ = batch(config)
    x, same = x.double(), torch.full_like(step, 7)
    code = torch.randn(len(x), config.a_dim, generator=generator(0)).double()
    schedule = schedule_of(config)
    found = denoiser(net, schedule, code).eps_at_step(x, same, schedule)
    torch.testing.assert_close(found, net(x, same, code), rtol=1e-10, atol=1e-12)


def test_one_small_digit_has_a_code_in_the_smoke_preset():
    # At 1 x 1 positions a group norm refuses a single image: the modes that draw start from one.
    config = dataclasses.replace(SWEEPS["smoke"][0], dataset="digits")
    assert build(config).eval().encoder(batch(config, 1)[0]).a.shape == (1, config.a_dim)
