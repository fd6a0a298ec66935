"""The paper in one file and our own path give the same numbers from the same weights and the same noise."""

import math

import pytest
import torch

from benchmarks import diffusion as rows
from diffusion import plain
from diffusion.toy import dsm_loss
from diffusion.toy_evaluate import plug_in
from infolab.bound import ScoreNorm, term3
from infolab.empirical import mutual_information_batch
from infolab.epochs import NoisedEpochs
from infolab.likelihood import ode_log_likelihood
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.sample import reverse_sde
from infolab.schedules import VP, append_dims
from infolab.toy import make

SCHEDULE = VP()


def test_the_schedules_are_one():
    t = torch.linspace(0.01, 2.0, 50, dtype=torch.float64)
    level = SCHEDULE.at(t)
    alpha, sigma = plain.marginal(t)
    torch.testing.assert_close(alpha, level.alpha)
    torch.testing.assert_close(sigma, level.sigma)
    torch.testing.assert_close(plain.beta(t), level.g2)


@pytest.mark.parametrize("m", [10, 40])
def test_training_gives_the_same_weights_and_losses(m):
    # Three networks of different T, eight steps of Adam in float64: equal up to rounding.
    members = [(0.4, 0), (1.0, 1), (2.0, 1)]
    seeds = [seed for _, seed in members]
    data = torch.randn(3, m, 2, generator=generator(0, "data"), dtype=torch.float64)
    model = EnsembleMLP(rows.SIZES, seeds).double()
    alone = [rows.as_plain_network(model, i).double() for i in range(3)]
    batches = NoisedEpochs(data, SCHEDULE, torch.tensor([T for T, _ in members]), seeds, rows.BATCH)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    steps, losses, injected = 8, [], [[], [], []]
    for step in range(steps):
        optimizer.zero_grad()
        loss = dsm_loss(model, batches, step)
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
        batch = batches(step)
        for i in range(3):
            injected[i].append((data[i], batch.t[i].double(), batch.eps[i].double()))
    for i, network in enumerate(alone):
        theirs = plain.train(network, injected[i])
        torch.testing.assert_close(
            torch.tensor(theirs, dtype=torch.float64), torch.stack(losses)[:, i], rtol=1e-9, atol=0
        )
        ours = rows.as_plain_network(model, i).double()
        for a, b in zip(ours.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)  # the fused Adam rounds its step size to float32


def test_epochs_visit_every_point_once_at_times_below_T():
    x0 = torch.arange(14.0).reshape(7, 2)
    parts = list(plain.epochs(x0, 0.5, 2, 3, generator(0, "epochs")))
    assert [len(t) for _, t, _ in parts] == [3, 3, 1] * 2
    for epoch in (parts[:3], parts[3:]):
        assert torch.equal(torch.cat([points for points, *_ in epoch]).sort(dim=0).values, x0)
    assert all(float(t.min()) >= 0 and float(t.max()) < 0.5 for _, t, _ in parts)


@pytest.fixture
def trained():
    torch.manual_seed(0)
    sweep = rows.Sweep([(0.5, 0)], 60)
    sweep.run(20)
    return sweep


def test_the_bound_agrees_term_by_term(trained, monkeypatch):
    monkeypatch.setattr(plain, "STEPS", 50)
    T = 0.5
    ours, ours_se = rows.our_bound(trained.model, trained.data, T, seed=3, steps=50)
    network = rows.as_plain_network(trained.model)
    theirs, _, _ = rows.plain_bound(network, trained.data[0], T, seed=4, draws=200)
    assert abs(ours.term2 - theirs.term2) < 1e-9
    assert theirs.term1 < -0.1
    assert abs(ours.term1 - theirs.term1) < 4 * math.hypot(ours.term1_se, theirs.se)
    assert theirs.term3 == plain.term3(theirs.score_norm, T, 60, 50)
    assert theirs.term3 == pytest.approx(term3(theirs.score_norm, T, 60, 50, SCHEDULE), rel=1e-5)
    assert abs(ours.score_loss_nats - theirs.score_loss_nats) < 4 * math.hypot(ours.score_loss_se, theirs.se)
    assert abs(ours.nats - theirs.nats) < 4 * math.hypot(ours_se, theirs.se)


@pytest.mark.parametrize("T", [0.05, 0.2, 0.5])
def test_term1_agrees_at_short_times_too(trained, T):
    # The error of T1 alone: at T = 0.05 sigma is 0.17, and a bandwidth of sigma^2 is seen.
    level = SCHEDULE.at(torch.tensor([T], dtype=torch.float64))
    mi, mi_se = mutual_information_batch(trained.data, level.alpha, level.sigma, 2000, [0], "term1")
    theirs, theirs_se = plain.term1(trained.data[0], T, 300, generator(1))
    assert abs(theirs + float(mi)) < 4 * math.hypot(float(mi_se), theirs_se) + 1e-6  # rounding, where T1 is -log m


def test_the_samplers_take_the_same_path_from_the_same_noise(trained):
    # One generator feeds the reference; its draws, recorded, feed ours.
    T, steps, shape = 0.5, 40, (60, 2)
    network = rows.as_plain_network(trained.model)
    theirs, theirs_se = plain.sampler_score_norm(network, shape[0], T, steps, generator(5, "path"))
    source = generator(5, "path")
    start = torch.randn(shape, generator=source)[None]
    noise = [torch.randn(shape, generator=source)[None] for _ in range(steps)]
    norm, spread = ScoreNorm(1), rows.NormSpread()

    def observe(s, t):
        norm.observe(s, t)
        spread.observe(s)

    score = plug_in(trained.model, SCHEDULE)
    reverse_sde(
        score,
        SCHEDULE,
        start,
        torch.tensor([[T]]),
        steps,
        noise.__getitem__,
        observe=observe,
    )
    assert float(norm.published) == pytest.approx(theirs, rel=1e-3)
    assert spread.error == pytest.approx(theirs_se, rel=1e-2)


def test_scores_and_losses_are_the_same_function(trained):
    network = rows.as_plain_network(trained.model)
    x0, t, eps = trained.data[0], torch.linspace(0.01, 0.5, 60), torch.randn(60, 2, generator=generator(6))
    level = SCHEDULE.at(t)
    x_t = append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * eps
    ours = plug_in(trained.model, SCHEDULE).score(x_t[None], t[None], SCHEDULE)[0]
    torch.testing.assert_close(ours, plain.score(network, x_t, t), rtol=1e-4, atol=1e-5)
    residual = level.sigma[:, None] * ours + eps
    torch.testing.assert_close(
        plain.denoising_losses(network, x0, t, eps), 0.5 * residual.square().sum(1), rtol=1e-4, atol=1e-5
    )


def test_the_bound_ends_with_the_score_loss_at_uniform_times_below_T(trained, monkeypatch):
    # Its draws, from our own score: equal to the rounding of float32 (as above).
    monkeypatch.setattr(plain, "sampler_score_norm", lambda *settings: (3.0, 0.0))
    T, x0 = 0.5, trained.data[0]
    found = plain.bound(rows.as_plain_network(trained.model), x0, T, (-1.0, 0.0), generator(8))
    source = generator(8)
    eps, t = torch.randn(x0.shape, generator=source), T * torch.rand(len(x0), generator=source)
    level = SCHEDULE.at(t)
    x_t = append_dims(level.alpha, x0) * x0 + append_dims(level.sigma, x0) * eps
    s = plug_in(trained.model, SCHEDULE).score(x_t[None], t[None], SCHEDULE)
    losses = 0.5 * (level.sigma[:, None] * s[0].detach() + eps).square().sum(1)
    assert found.score_loss_nats == pytest.approx(float(losses.mean()), rel=1e-4)
    assert found.se == pytest.approx(float(losses.std()) / math.sqrt(len(x0)), rel=1e-4)


def test_the_stated_standard_errors_are_those_of_repetition(trained, monkeypatch):
    monkeypatch.setattr(plain, "STEPS", 10)
    # 20 repetitions know a standard deviation to 16%.
    network = rows.as_plain_network(trained.model)
    theirs = [rows.plain_bound(network, trained.data[0], 0.5, seed, draws=20)[0] for seed in range(20)]
    ours = [rows.our_bound(trained.model, trained.data, 0.5, seed, steps=10) for seed in range(20)]
    for values, stated in (
        ([b.nats for b in theirs], [b.se for b in theirs]),
        ([b.nats for b, _ in ours], [se for _, se in ours]),
    ):
        spread = float(torch.tensor(values).std())
        typical = float(torch.tensor(stated).square().mean().sqrt())
        assert 0.6 < spread / typical < 1.5


def test_the_densities_are_those_of_the_lab(trained):
    # Both quadratures of the swiss roll are exact to rounding: the sums of squares of float32 points, about 1e-5.
    x = plain.swiss_roll(200, generator(7))
    torch.testing.assert_close(plain.log_p0(x), make("swiss_roll").log_prob(x), rtol=0, atol=1e-4)
    # Heun in 200 steps against the adaptive solver at a tolerance of 1e-6; the flow's error falls as steps^-2.
    network = rows.as_plain_network(trained.model)
    expected = ode_log_likelihood(
        plug_in(trained.model, SCHEDULE), SCHEDULE, x[None], torch.full((1, 200), 0.5), tolerance=1e-6
    ).log_p[0]
    errors = [(plain.log_likelihood(network, x, 0.5, steps) - expected).abs().max() for steps in (20, 200)]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0]


def test_main_prints_the_bound_and_the_exact_kl(monkeypatch, capsys):
    settings = {"TIMES": (0.2, 1.0), "EPOCHS": 150, "STEPS": 50, "DRAWS": 20, "TEST": 200, "ODE_STEPS": 20}
    for name, value in settings.items():
        monkeypatch.setattr(plain, name, value)
    short, long = plain.main()
    printed = capsys.readouterr().out.splitlines()
    for (T, b, kl, se), line in zip((short, long), printed[2:], strict=False):
        assert line.split()[0] == f"{T:.1f}"
        assert f"{kl:.3f} +- {se:.3f}" in line
        assert -math.log(plain.M) <= b.term1 <= 4 * b.se  # minus a mutual information of m points
        # The KL of a density is positive, and that of a briefly trained network far from 0 here.
        assert kl > 4 * se
        assert b.nats == pytest.approx(b.term1 + math.sqrt(2) * plain.R * (b.term2 + b.term3) + b.score_loss_nats)
    # At T = 1 the data are forgotten: alpha_T^2 = exp(-10.05), of which T1 and T2 are functions.
    assert abs(long[1].term1) < 1e-2
    assert long[1].term2 < 0.02 < short[1].term2
