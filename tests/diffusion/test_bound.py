"""Every term of the bound against closed forms, plain loops and quadrature."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from infolab.bound import Bound, ScoreNorm, kl_to_prior, score_losses, term2, term3
from infolab.denoise import Denoiser
from infolab.empirical import empirical_score, mutual_information_batch
from infolab.errors import UserError
from infolab.sample import StepNoise, reverse_sde
from infolab.schedules import VP

DOUBLE = torch.float64
SCHEDULE = VP()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.parametrize("alpha", [0.999999, 0.9, 0.5, 0.1, 0.01])
def test_kl_to_the_prior_is_torchs(alpha):
    x0 = normal(6, 5)
    sigma = math.sqrt(1 - alpha**2)
    noised = Independent(Normal(alpha * x0, torch.full_like(x0, sigma)), 1)
    prior = Independent(Normal(torch.zeros_like(x0), torch.ones_like(x0)), 1)
    truth = kl_divergence(noised, prior)
    torch.testing.assert_close(kl_to_prior(x0, alpha), truth, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(kl_to_prior(x0, torch.full((6,), alpha, dtype=DOUBLE)), truth, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("alpha", ["1e-3", "1e-5", "1e-9"])
def test_kl_to_the_prior_keeps_its_digits_at_small_alpha(alpha):
    x0 = [0.5, -1.25, 3.0]
    with localcontext() as context:
        context.prec = 60
        a2 = Decimal(float(alpha)) ** 2
        square = sum(Decimal(x) ** 2 for x in x0)
        truth = (a2 * square + 3 * (-(1 - a2).ln() - a2)) / 2
        assert float(kl_to_prior(torch.tensor(x0), float(alpha))) == pytest.approx(float(truth), rel=1e-13)


def test_term2_against_a_plain_loop():
    x0, alphas = normal(3, 7, 2), torch.tensor([0.9, 0.3, 1e-3], dtype=DOUBLE)
    found = term2(x0, alphas)
    for member in range(3):
        a = float(alphas[member])
        total = 0.0
        for x in x0[member].tolist():
            kl = 0.5 * (a * a * sum(v * v for v in x) + 2 * (1 - a * a) - 2 - 2 * math.log(1 - a * a))
            total += math.sqrt(kl) / 7
        assert float(found[member]) == pytest.approx(total, rel=1e-7)
        assert float(term2(x0[member], a)) == pytest.approx(total, rel=1e-7)


@pytest.mark.parametrize(("T", "m", "N", "L"), [(1.0, 10, 200, 3.0), (0.4, 1000, 7, 0.5), (2.0, 2, 1, 40.0)])
def test_term3_against_a_plain_loop(T, m, N, L):
    total = 0.0
    for k in range(N):
        total += 0.1 + 19.9 * (k * T / N)
    assert term3(L, T, m, N, SCHEDULE) == pytest.approx(math.sqrt(T * L**2 / (2 * m * N) * total), rel=1e-12)


def test_the_bound_is_the_sum_of_its_terms():
    bound = Bound(term1=-2.0, term1_se=0.3, term2=0.25, term3=0.5, score_loss_nats=1.5, score_loss_se=0.4, R=5.0)
    assert bound.nats == pytest.approx(-2.0 + 1.4142135623730951 * 5 * (0.25 + 0.5) + 1.5, rel=1e-15)
    assert bound.se == pytest.approx(0.5)
    columns = bound.columns()
    assert (columns["bound_nats"], columns["bound_se"]) == (bound.nats, bound.se)
    assert columns["term1"] == -2.0


def test_term1_of_far_points_is_minus_log_m():
    data = torch.arange(6.0)[None, :, None].expand(1, 6, 2) * 1e3
    value, error = mutual_information_batch(
        data, torch.tensor([0.5]), torch.tensor([0.5]), draws=2, seeds=[0], stream="t"
    )
    assert float(value) == pytest.approx(math.log(6), abs=1e-12)
    assert float(error) < 1e-12


def test_score_norms_along_the_path():
    norm = ScoreNorm(2)
    first = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 2.0], [2.0, 0.0]], [[6.0, 8.0], [0.0, 0.0]]])
    norm.observe(first, torch.ones(2, 2))
    norm.observe(second, torch.ones(2, 2))
    assert norm.published.tolist() == [2.5, 5.0]  # largest mean over samples
    assert norm.exact.tolist() == [5.0, 10.0]  # largest of all
    images = ScoreNorm(1)
    images.observe(torch.ones(1, 4, 3, 2, 2), torch.ones(1, 4))  # over channels and pixels
    assert images.exact.tolist() == images.published.tolist() == pytest.approx([math.sqrt(12)])


def test_a_score_that_is_not_finite_is_not_hidden_by_the_maximum():
    norm = ScoreNorm(1)
    for value in (1.0, math.nan, 2.0):
        norm.observe(torch.full((1, 2, 2), value), torch.ones(1, 2))
    assert norm.exact.isnan().all()
    assert norm.published.isnan().all()


def test_norms_of_a_linear_score_follow_the_sampler():
    seen = []

    def score(x, t):
        return -x

    norm = ScoreNorm(1)

    def observe(s, t):
        seen.append(s.norm(dim=-1))
        norm.observe(s, t)

    x_T = normal(1, 40, 2, seed=3)
    reverse_sde(
        Denoiser.of_score(score, SCHEDULE), SCHEDULE, x_T, 1.0, 12, StepNoise([0], "n", (40, 2)), observe=observe
    )
    norms = torch.stack(seen)
    assert norms.shape == (12, 1, 40)
    assert float(norm.exact) == pytest.approx(float(norms.max()), rel=1e-6)
    assert float(norm.published) == pytest.approx(float(norms.mean(-1).max()), rel=1e-6)


# Score losses of a linear score s(x, t) = -c (x - b) on a training set of m points.
C, B = 0.8, torch.tensor([0.3, -0.2], dtype=DOUBLE)
T_EPS = 1e-2


def linear_score(x, t):
    return -C * (x - B.to(x))


LINEAR = Denoiser.of_score(linear_score, SCHEDULE)


def training_sets(m=5):
    return normal(2, m, 2, seed=9)


TIMES = torch.tensor([0.5, 1.4], dtype=DOUBLE)


def published_truth(points, T):
    """(1/T) Int 1/2 E|sigma s + eps|^2 dt, whose integrand is a polynomial in alpha and sigma.

    sigma s + eps = -c sigma (alpha x - b) + (1 - c sigma^2) eps.
    """
    t, weights = np.polynomial.legendre.leggauss(200)
    t, weights = torch.from_numpy(T / 2 * (t + 1)), torch.from_numpy(weights / 2)
    level = SCHEDULE.at(t)
    offsets = level.alpha[:, None, None] * points - B
    squares = (C * level.sigma) ** 2 * offsets.square().sum(-1).mean(1) + 2 * (1 - C * level.sigma**2) ** 2
    return float((weights * squares / 2).sum())


def exact_truth(points, T):
    """1/2 Int E|sigma (s - grad log p_hat)|^2 dlogsnr by Gauss-Legendre in log-SNR and Gauss-Hermite in the noise."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    ends = SCHEDULE.t_to_logsnr(torch.tensor([T, T_EPS], dtype=DOUBLE)).tolist()
    logsnr = torch.from_numpy((ends[1] - ends[0]) / 2 * (nodes + 1) + ends[0])
    z, w = np.polynomial.hermite_e.hermegauss(32)
    eps = torch.cartesian_prod(torch.from_numpy(z), torch.from_numpy(z))
    w2 = torch.from_numpy(np.outer(w, w).ravel() / w.sum() ** 2)
    total = 0.0
    for a, weight in zip(logsnr, weights, strict=True):
        alpha, sigma = torch.sigmoid(a).sqrt(), torch.sigmoid(-a).sqrt()
        x_t = (alpha * points[:, None] + sigma * eps).reshape(-1, 2)
        truth = empirical_score(x_t, points, alpha.expand(len(x_t)), sigma.expand(len(x_t)))
        square = (sigma * (linear_score(x_t, None) - truth)).square().sum(-1).view(len(points), -1)
        total += weight * float((square * w2).sum(1).mean()) * (ends[1] - ends[0]) / 2
    return total / 2


@pytest.fixture(scope="module")
def losses():
    return score_losses(
        LINEAR,
        training_sets(),
        SCHEDULE,
        TIMES,
        [1, 2],
        t_eps=T_EPS,
        draws=20_000,
        replicates=32,
    )


def test_published_loss_of_a_linear_score_against_quadrature(losses):
    for member, points in enumerate(training_sets()):
        truth = published_truth(points, float(TIMES[member]))
        assert float(losses.published_se[member]) < 0.003 * truth
        assert abs(float(losses.published[member]) - truth) < 4 * float(losses.published_se[member])


def test_exact_loss_of_a_linear_score_against_quadrature(losses):
    for member, points in enumerate(training_sets()):
        truth = exact_truth(points, float(TIMES[member]))
        assert float(losses.exact_se[member]) < 0.005 * truth
        assert abs(float(losses.exact[member]) - truth) < 4 * float(losses.exact_se[member])


def test_the_exact_score_has_no_exact_loss_and_less_published_loss_than_any_other():
    data = training_sets()

    def truth(x, t):
        level = SCHEDULE.at(t)
        return empirical_score(x, data, level.alpha, level.sigma)

    best = score_losses(Denoiser.of_score(truth, SCHEDULE), data, SCHEDULE, TIMES, [1, 2], t_eps=T_EPS)
    assert float(best.exact.abs().max()) < 1e-20
    other = score_losses(
        Denoiser.of_score(lambda x, t: truth(x, t) + 0.3, SCHEDULE), data, SCHEDULE, TIMES, [1, 2], t_eps=T_EPS
    )
    assert bool((other.published > best.published).all())


def test_denoising_minus_explicit_score_matching_does_not_depend_on_the_model():
    # E|sigma s + eps|^2 - E|sigma (s - truth)|^2 = E|eps|^2 - E|sigma truth|^2 at every t.
    data = training_sets()
    level = SCHEDULE.at(torch.full((2, 40_000), 0.5, dtype=DOUBLE))
    index = torch.arange(40_000) % 5
    eps = normal(2, 40_000, 2, seed=4)
    x_t = level.alpha[..., None] * data[:, index] + level.sigma[..., None] * eps
    truth = empirical_score(x_t, data, level.alpha, level.sigma)
    gaps = []
    for score in (linear_score(x_t, None), torch.zeros_like(x_t), torch.sin(3 * x_t)):
        dsm = (level.sigma[..., None] * score + eps).square().sum(-1)
        esm = (level.sigma[..., None] * (score - truth)).square().sum(-1)
        gaps.append(dsm - esm)
    for gap in gaps[1:]:
        difference = gap - gaps[0]
        assert bool((difference.mean(1).abs() < 4 * difference.std(1) / math.sqrt(40_000)).all())


def test_losses_of_a_member_do_not_depend_on_the_others_or_on_the_call_size():
    data = training_sets()
    together = score_losses(LINEAR, data, SCHEDULE, TIMES, [1, 2], t_eps=T_EPS)
    alone = score_losses(LINEAR, data[1:], SCHEDULE, TIMES[1:], [2], t_eps=T_EPS, score_batch=7)
    for name in ("published", "published_se", "exact", "exact_se"):
        assert float(getattr(together, name)[1]) == pytest.approx(float(getattr(alone, name)[0]), rel=1e-10)


def test_more_points_than_draws_are_subsampled_without_bias():
    data = normal(1, 900, 2, seed=5)
    found = score_losses(LINEAR, data, SCHEDULE, TIMES[:1], [3], t_eps=T_EPS, draws=256, replicates=64)
    truth = published_truth(data[0], float(TIMES[0]))
    assert abs(float(found.published[0]) - truth) < 4 * float(found.published_se[0])


def test_an_image_is_its_vector():
    flat = training_sets(4)[:1].reshape(1, 2, 4)
    kwargs = {"t_eps": T_EPS, "draws": 16, "replicates": 4}
    as_vectors = score_losses(Denoiser.of_score(lambda x, t: -x, SCHEDULE), flat, SCHEDULE, TIMES[:1], [0], **kwargs)
    as_images = score_losses(
        Denoiser.of_score(lambda x, t: -x, SCHEDULE), flat.reshape(1, 2, 1, 2, 2), SCHEDULE, TIMES[:1], [0], **kwargs
    )
    assert float(as_images.exact) == pytest.approx(float(as_vectors.exact), rel=1e-10)
    assert float(as_images.published) == pytest.approx(float(as_vectors.published), rel=1e-10)


@pytest.mark.parametrize("t_eps", [0.0, 0.5, 1.0])
def test_a_lower_end_outside_the_times_is_refused(t_eps):
    with pytest.raises(UserError, match="--t-eps must lie in"):
        score_losses(LINEAR, training_sets(), SCHEDULE, TIMES, [1, 2], t_eps=t_eps)
