"""Empirical measure: mutual information against known values, the exact score, score matching identities."""

import math
import subprocess
import sys

import numpy
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

import infolab.empirical as empirical
from infolab.empirical import empirical_posterior_mean, empirical_score, mutual_information, mutual_information_batch
from infolab.errors import UserError

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def log_density(x_t: Tensor, data: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Log density of the noised empirical measure, written plainly."""
    squares = ((x_t[..., :, None, :] - alpha[..., None, None] * data[..., None, :, :]) ** 2).sum(-1)
    d, n = data.shape[-1], data.shape[-2]
    normaliser = d * torch.log(sigma) + d / 2 * math.log(2 * math.pi) + math.log(n)
    return torch.logsumexp(-squares / (2 * sigma[..., None] ** 2), -1) - normaliser


def two_points_mi(snr: float) -> float:
    """I of x = +-1 at signal-to-noise ratio snr: snr - E log cosh(snr + sqrt(snr) z) (Guo, Shamai, Verdu 2005)."""

    def integrand(z: float) -> float:
        y = abs(snr + math.sqrt(snr) * z)
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (y + math.log1p(math.exp(-2 * y)) - math.log(2))

    return snr - quad(integrand, -12, 12, epsabs=1e-12)[0]


@pytest.mark.parametrize("snr", [0.1, 1.0, 4.0])
def test_two_points_against_quadrature(snr):
    x = torch.tensor([[-1.0], [1.0]], dtype=DOUBLE)
    sigma = 0.7
    estimate = mutual_information(x, sigma * math.sqrt(snr), sigma, draws=20_000, seed_or_generator=1)
    assert estimate.se < 0.01
    assert abs(estimate.value - two_points_mi(snr)) < 4 * estimate.se


def test_limits_of_the_signal_to_noise_ratio():
    x = normal(50, 4)
    high = mutual_information(x, 1.0, 1e-4)
    assert high.value == pytest.approx(math.log(50), abs=1e-10)
    assert high.se < 1e-10
    assert mutual_information(x, 1e-9, 1.0).value == pytest.approx(0, abs=1e-7)
    assert mutual_information(x + 1e6, 1.0, 1e-2).value == pytest.approx(math.log(50), abs=1e-9)


def test_repeated_points_count_once():
    x = normal(8, 3).repeat(4, 1)
    assert mutual_information(x, 1.0, 1e-3).value == pytest.approx(math.log(8), abs=1e-10)


def test_against_i_mmse():
    """I(a) = 1/2 int mmse dsnr, the optimal denoiser being the softmax over the points."""
    x, snr_end, draws = normal(12, 2, seed=3), 6.0, 800
    estimate = mutual_information(x, math.sqrt(snr_end), 1.0, draws=2000, seed_or_generator=5)
    eps = normal(draws * 12, 2, seed=4)
    x0 = x.repeat(draws, 1)
    # Gauss-Legendre nodes in r = sqrt(snr), where 1/2 dsnr = r dr.
    nodes, weights = (torch.from_numpy(v) for v in numpy.polynomial.legendre.leggauss(24))
    nodes, weights = (nodes + 1) / 2 * math.sqrt(snr_end), weights / 2 * math.sqrt(snr_end)
    total = torch.zeros(draws * 12, dtype=DOUBLE)
    for r, weight in zip(nodes, weights, strict=True):
        ones = torch.ones(draws * 12, dtype=DOUBLE)
        x_hat = empirical_posterior_mean(r * x0 + eps, x, r * ones, ones)
        total += weight * r * ((x0 - x_hat) ** 2).sum(-1)
    by_draw = total.view(draws, 12).mean(1)
    se = math.hypot(estimate.se, float(by_draw.std()) / math.sqrt(draws))
    assert se < 0.02
    assert abs(estimate.value - float(by_draw.mean())) < 4 * se


def test_plain_formula_block_size_and_precision(monkeypatch):
    """The value does not depend on blocks or tiles, nor on centring; float32 data are computed in float64."""
    x = normal(37, 3, 2) + 5
    reference = mutual_information(x, 0.8, 0.6, draws=3, seed_or_generator=2, block=1000)
    flat = x.flatten(1)
    eps = empirical._noise(torch.arange(37), 6, 3, False, 2)
    difference = flat[:, None] - flat
    exponent = 0.64 * (difference**2).sum(-1)[:, None] + 0.96 * torch.einsum("ikd,ijd->ikj", eps, difference)
    plain = (math.log(37) - torch.logsumexp(-exponent / 0.72, -1)).mean()
    assert reference.value == pytest.approx(float(plain), abs=1e-11)
    monkeypatch.setattr(empirical, "ROWS", 7)
    for block in (1, 5, 36):
        other = mutual_information(x, 0.8, 0.6, draws=3, seed_or_generator=2, block=block)
        assert other.value == pytest.approx(reference.value, abs=1e-11)
        assert other.se == pytest.approx(reference.se, abs=1e-11)
    single = mutual_information(x.float(), 0.8, 0.6, draws=3, seed_or_generator=2)
    assert single.value == pytest.approx(reference.value, abs=1e-6)


@pytest.mark.bits
def test_noise_is_a_function_of_seed_point_and_draw():
    few = empirical._noise(torch.tensor([3, 5]), 2, 4, False, 1)
    many = empirical._noise(torch.arange(6), 2, 30, False, 1)
    assert torch.equal(few, many[[3, 5], :4])
    pairs = empirical._noise(torch.tensor([3]), 2, 4, True, 1)
    assert torch.equal(pairs[0], torch.stack([few[0, 0], -few[0, 0], few[0, 1], -few[0, 1]]))
    assert not torch.equal(few, empirical._noise(torch.tensor([3, 5]), 2, 4, False, 2))


def test_integer_images_and_a_generator():
    x = torch.randint(0, 256, (30, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
    one = mutual_information(x, 1.0, 60.0, seed_or_generator=torch.Generator().manual_seed(3))
    two = mutual_information(x.double(), 1.0, 60.0, seed_or_generator=torch.Generator().manual_seed(3))
    assert one == two
    assert 0 < one.value < math.log(30)
    assert (one.n, one.d) == (30, 16)


@pytest.mark.parametrize(
    ("outer", "draws", "antithetic"), [(None, 4, False), (20, 4, False), (20, 4, True), (60, 1, False)]
)
def test_standard_error_is_the_spread_over_seeds(outer, draws, antithetic):
    x = normal(80, 2, seed=7) * torch.linspace(0.2, 2, 80, dtype=DOUBLE)[:, None]
    runs = [
        mutual_information(x, 1.0, 0.5, outer=outer, draws=draws, antithetic=antithetic, seed_or_generator=s)
        for s in range(150)
    ]
    spread = float(torch.tensor([r.value for r in runs], dtype=DOUBLE).std())
    claimed = math.sqrt(sum(r.se**2 for r in runs) / len(runs))
    if draws == 1:
        assert claimed > 0.95 * spread  # documented: too large rather than too small
    else:
        # The spread of 150 values has a relative standard error of 6 %.
        assert claimed == pytest.approx(spread, rel=0.24)


def test_subsample_agrees_with_all_points():
    x = normal(600, 3, seed=9)
    whole = mutual_information(x, 1.0, 0.3, draws=4)
    part = mutual_information(x, 1.0, 0.3, outer=100, draws=4, seed_or_generator=8)
    assert abs(whole.value - part.value) < 4 * math.hypot(whole.se, part.se)


def test_wrong_settings_are_refused():
    x = normal(5, 2)
    for wrong in ({"sigma": 0.0}, {"outer": 1}, {"draws": 3, "antithetic": True}, {"draws": 0}, {"block": 0}):
        with pytest.raises(UserError, match="expected"):
            mutual_information(**{"x": x, "alpha": 1.0, "sigma": 1.0, **wrong})
    with pytest.raises(UserError, match="two points"):
        mutual_information(x[:1], 1.0, 1.0)
    with pytest.raises(UserError, match="seeds"):
        mutual_information_batch(x[None], torch.ones(1), torch.ones(1), 1, [1, 2], "a")


def test_batch_members_are_independent_of_each_other_and_agree_with_one(monkeypatch):
    x = normal(3, 40, 2)
    alpha, sigma = torch.tensor([1.0, 0.8, 0.3], dtype=DOUBLE), torch.tensor([0.3, 0.6, 1.0], dtype=DOUBLE)
    values, ses = mutual_information_batch(x, alpha, sigma, 50, [5, 6, 7], "epoch 3")
    monkeypatch.setattr(empirical, "ELEMENTS", 100)
    for k in range(3):
        value, se = mutual_information_batch(x[k : k + 1], alpha[k : k + 1], sigma[k : k + 1], 50, [5 + k], "epoch 3")
        assert float(value[0]) == pytest.approx(float(values[k]), abs=1e-11)
        assert float(se[0]) == pytest.approx(float(ses[k]), abs=1e-11)
        single = mutual_information(x[k], float(alpha[k]), float(sigma[k]), draws=50)
        assert abs(single.value - float(values[k])) < 4 * math.hypot(single.se, float(ses[k]))
        assert single.se == pytest.approx(float(ses[k]), rel=0.3)


def test_batch_gradient_in_the_signal_against_differences():
    x, sigma = normal(2, 20, 2), torch.tensor([0.5, 0.9], dtype=DOUBLE)
    alpha = torch.tensor([1.0, 0.7], dtype=DOUBLE, requires_grad=True)

    def value(a: Tensor, s: Tensor) -> Tensor:
        return mutual_information_batch(x, a, s, 2, [0, 1], 0)[0]

    assert torch.autograd.gradcheck(value, (alpha, sigma.requires_grad_(True)))


@pytest.mark.parametrize("lead", [(), (3,)])
def test_score_against_autograd_of_the_log_density(lead, monkeypatch):
    data = normal(*lead, 23, 4) + 2
    x_t = normal(*lead, 11, 4, seed=1).requires_grad_(True)
    alpha, sigma = torch.rand(*lead, 11, dtype=DOUBLE) + 0.1, torch.rand(*lead, 11, dtype=DOUBLE) + 0.05
    (expected,) = torch.autograd.grad(log_density(x_t, data, alpha, sigma).sum(), x_t)
    for block, elements in ((4096, 1 << 23), (5, 40)):
        monkeypatch.setattr(empirical, "ELEMENTS", elements)
        score = empirical_score(x_t.detach(), data, alpha, sigma, block=block)
        torch.testing.assert_close(score, expected, rtol=1e-9, atol=1e-9)
    single = empirical_score(x_t.detach().float(), data.float(), alpha.float(), sigma.float())
    assert single.dtype == torch.float32
    # sigma^2 down to 0.0025 amplifies the rounding of float32 inputs (about 1e-7 of x near 3) by 1/sigma^2.
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-2)


def test_denoising_minus_explicit_score_matching_does_not_depend_on_the_model():
    """E|s + eps/sigma|^2 - E|s - s*|^2 is the same for every s: the cross terms with eps average to s*'s."""
    data, b = normal(10, 2, seed=2), 200_000
    index = torch.randint(10, (b,), generator=torch.Generator().manual_seed(0))
    eps, sigma = normal(b, 2, seed=3), 0.2 + 0.8 * torch.rand(b, generator=torch.Generator().manual_seed(1)).double()
    alpha = torch.sqrt(1 - sigma**2)
    x_t = alpha[:, None] * data[index] + sigma[:, None] * eps
    exact = empirical_score(x_t, data, alpha, sigma)

    def difference(score: Tensor) -> Tensor:
        """DSM - ESM of each sample, weighted by sigma^2."""
        dsm = ((score + eps / sigma[:, None]) ** 2).sum(1)
        esm = ((score - exact) ** 2).sum(1)
        return sigma**2 * (dsm - esm)

    one, two = difference(-x_t), difference(torch.tanh(3 * x_t.flip(1)) / sigma[:, None])
    paired = one - two
    se = float(paired.std()) / math.sqrt(b)
    assert se < 0.02 * abs(float(one.mean()))  # the test can tell a constant from its absence
    assert abs(float(paired.mean())) < 4 * se
    # Conditional identity: E[-eps/sigma | x_t] = s*, so their difference is orthogonal to any function of x_t.
    for test_function in (x_t, torch.sin(2 * x_t), x_t.flip(1) ** 2):
        product = ((-eps / sigma[:, None] - exact) * sigma[:, None] * test_function).sum(1)
        assert abs(float(product.mean())) < 4 * float(product.std()) / math.sqrt(b)


def test_real_size_in_bounded_memory():
    """60,000 points of 784 dimensions: the peak beyond torch's import stays under 2 GB."""
    code = """
import resource, torch
import infolab.empirical as e
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
x = torch.rand(60_000, 784, generator=torch.Generator().manual_seed(0))
r = e.mutual_information(x, 0.9, 1.5, outer=1000)
print(peak() - before, r.value, r.se)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kilobytes, value, se = map(float, done.stdout.split())
    assert kilobytes < 2e6
    assert 0 < value < math.log(60_000)
    assert 0 < se < 0.2


def plainly(x: Tensor, alpha: float, sigma: float, draws: int) -> float:
    """The same information from differences of all pairs, on the same noise."""
    flat, n = x.flatten(1), len(x)
    eps = empirical._noise(torch.arange(n), flat.shape[1], draws, False, 0)
    apart = (alpha / sigma) * (flat[:, None] - flat)
    exponent = apart.square().sum(-1)[:, None] / 2 + torch.einsum("ikd,ijd->ikj", eps, apart)
    return float((math.log(n) - torch.logsumexp(-exponent, -1)).mean())


def test_points_where_products_cancel_are_compared_by_differences(monkeypatch):
    """Clusters far apart whose points are near: one product of norms would leave no digit of what is within them."""
    x = normal(30, 3)
    far = torch.cat([x, x + 1e9, x[:5] - 1e12, x[:3] + 1e9])
    for block in (2048, 7):
        monkeypatch.setattr(empirical, "ROWS", 11)
        found = mutual_information(far, 0.8, 0.6, draws=2, block=block)
        assert found.value == pytest.approx(plainly(far, 0.8, 0.6, 2), abs=1e-9)
    alpha, sigma = torch.tensor([0.8, 0.8], dtype=DOUBLE), torch.tensor([0.6, 0.6], dtype=DOUBLE, requires_grad=True)
    near = torch.cat([x, x, x[:8]])
    sets = torch.stack([far, near])
    values, _ = mutual_information_batch(sets, alpha, sigma, 40, [0, 1], "far")
    assert abs(float(values[0].detach()) - mutual_information(far, 0.8, 0.6, draws=40).value) < 0.1
    alone, _ = mutual_information_batch(sets[1:], alpha[1:], sigma[1:], 40, [1], "far")
    assert float(values[1].detach()) == float(alone[0].detach())  # a set is not touched by how far another one is out
    wild = torch.cat([x, torch.full((1, 3), 1e20, dtype=DOUBLE)])
    found, se = mutual_information_batch(wild[None], alpha[:1], sigma[:1].detach(), 40, [0], "far")
    expected = mutual_information(wild, 0.8, 0.6, draws=40)
    assert abs(float(found[0]) - expected.value) < 4 * math.hypot(float(se[0]), expected.se)
    (slope,) = torch.autograd.grad(values.sum(), sigma)
    assert bool((slope < 0).all())


def test_one_wild_point_is_a_point_of_its_own():
    """399 points and one far out: I = 399/400 I(the others) + the entropy of which of the two it is."""
    x = normal(399, 3)
    others = mutual_information(x, 0.7, 0.7, draws=2)
    p = 1 / 400
    entropy = -p * math.log(p) - (1 - p) * math.log1p(-p)
    found = mutual_information(torch.cat([x, torch.full((1, 3), 1e20, dtype=DOUBLE)]), 0.7, 0.7, draws=2)
    assert found.value == pytest.approx((1 - p) * others.value + entropy, abs=1e-9)
    with pytest.raises(UserError, match="overflow"):
        mutual_information(torch.cat([x, torch.full((1, 3), 1e200, dtype=DOUBLE)]), 0.7, 0.7)


def test_the_denoiser_of_points_far_out_tells_near_ones_apart():
    data = torch.cat([normal(6, 2), torch.full((1, 2), 1e20, dtype=DOUBLE), normal(6, 2, seed=2) + 1e9])
    alpha, sigma = torch.full((3,), 0.9, dtype=DOUBLE), torch.full((3,), 0.3, dtype=DOUBLE)
    x_t = 0.9 * data[[0, 3, 8]] + 0.3 * normal(3, 2, seed=1)
    found = empirical_posterior_mean(x_t, data, alpha, sigma)
    squares = (x_t[:, None] - 0.9 * data).square().sum(-1)
    share = torch.softmax(-squares / (2 * 0.3**2), 1)
    # The shift of 1e9 rounds the points to 1e-7.
    torch.testing.assert_close(found, share @ data, rtol=1e-12, atol=1e-6)
