import math

import pytest
import torch

from infolab import mmd
from infolab.errors import UserError
from infolab.mmd import (
    gaussian_kernel,
    median_bandwidth,
    mmd2,
    mmd2_loss,
    mmd2_of,
    named_kernel,
    polynomial_gram,
    polynomial_mmd2,
)
from infolab.noise import generator

BANDWIDTH = 1.6


def shifted_pair(seed, shift, n=60, m=40):
    source = generator(seed, "mmd-test")
    return torch.randn(n, 2, generator=source), torch.randn(m, 2, generator=source) + shift


def truth(shift):
    # E k(x, y) of two unit Gaussians a distance D apart is b^2/(b^2+2) exp(-D^2/(2 (b^2+2))) in two dimensions.
    wide = BANDWIDTH**2 + 2
    return 2 * (BANDWIDTH**2 / wide) * (1 - math.exp(-(shift**2) / wide))


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_unbiased_and_its_error_is_the_spread_over_seeds(shift):
    found = [mmd2(*shifted_pair(seed, shift), gaussian_kernel(BANDWIDTH)) for seed in range(200)]
    values = torch.tensor([one.value for one in found])
    spread = float(values.std())
    assert abs(float(values.mean()) - truth(shift)) < 4 * spread / math.sqrt(200)
    reported = math.sqrt(sum(one.se**2 for one in found) / 200)
    # At shift 0 the error is on the large side, by a third or so.
    assert 0.85 * spread < reported < (1.6 if shift == 0 else 1.15) * spread


def test_the_definition_on_four_points():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    k = lambda squared: math.exp(-squared / 2)  # noqa: E731
    cross = (k(0) + k(4) + k(1) + k(1)) / 4
    assert mmd2(x, y, gaussian_kernel(1.0)).value == pytest.approx(k(1) + k(4) - 2 * cross)


def test_symmetric_and_of_a_kernel_of_ones_zero():
    x, y = shifted_pair(3, 0.7)
    one, other = mmd2(x, y), mmd2(y, x)
    assert one.value == pytest.approx(other.value)
    assert one.se == pytest.approx(other.se)
    flat = mmd2(x, y, torch.ones_like)
    assert (flat.value, flat.se) == (pytest.approx(0, abs=1e-14), pytest.approx(0, abs=1e-7))


def test_median_bandwidth_is_the_median_distance():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]])
    assert median_bandwidth(x, y) == pytest.approx(2.0)  # distances 1, 2, 3
    assert median_bandwidth(x.repeat(9, 1), y.repeat(9, 1)) == pytest.approx(2.0)  # copies are no different points


@pytest.mark.parametrize(("x", "y"), [((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5,), (5,))])
def test_bad_samples_are_refused(x, y):
    with pytest.raises(UserError, match="expected"):
        mmd2(torch.zeros(x), torch.zeros(y), gaussian_kernel(1.0))


def test_examples_that_are_mostly_equal_have_no_median_bandwidth():
    x = torch.ones(50, 3)
    with pytest.raises(UserError, match="median distance is 0"):
        mmd2(x, x.clone())
    assert mmd2(x, x.clone(), named_kernel("dimension", 3)).value == pytest.approx(0, abs=1e-12)


def test_bad_bandwidth_is_refused():
    with pytest.raises(UserError, match="bandwidth"):
        gaussian_kernel(0.0)


def whole_matrices(x, y, gram):
    """Value and error from the kernel matrices themselves, without sums that are folded up."""
    n, m = len(x), len(y)
    xx, yy, xy = gram(x, x), gram(y, y), gram(x, y)
    off = lambda k: k[~torch.eye(len(k), dtype=torch.bool)].reshape(len(k), -1)  # noqa: E731
    rows_x, rows_y = off(xx).mean(1), off(yy).mean(1)

    def rest(k, rows):
        return float(off(k - rows[:, None] - rows + rows.mean()).square().mean())

    between = float((xy - xy.mean(1, keepdim=True) - xy.mean(0) + xy.mean()).square().mean())
    linear = 4 * (rows_x - xy.mean(1)).var() / n + 4 * (rows_y - xy.mean(0)).var() / m
    rest_x, rest_y = rest(xx, rows_x), rest(yy, rows_y)
    overlap = 4 * (rest_x / (n - 1) + between / m) / n + 4 * (rest_y / (m - 1) + between / n) / m
    within = 2 * rest_x / (n * (n - 1)) + 2 * rest_y / (m * (m - 1))
    variance = max(float(linear) - overlap, 0) + within + 4 * between / (n * m)
    return float(rows_x.mean() + rows_y.mean() - 2 * xy.mean()), math.sqrt(variance)


def test_blocks_give_what_whole_matrices_give(monkeypatch):
    monkeypatch.setattr(mmd, "BLOCK", 7)
    x, y = (part.double() for part in shifted_pair(5, 0.8))
    kernel = gaussian_kernel(BANDWIDTH)
    for gram in (
        lambda a, b: kernel(torch.cdist(a, b).square()),
        polynomial_gram(torch.tensor([0.3, -2.0], dtype=torch.float64)),
    ):
        found = mmd2_of(gram, x, y)
        assert (found.value, found.se) == pytest.approx(whole_matrices(x, y, gram), rel=1e-9)


def test_a_sample_against_itself_is_a_sample_against_its_copy():
    x = shifted_pair(5, 0.8)[0].double()
    for biased in (True, False):
        own, copied = mmd.mmd2(x, x, biased=biased), mmd.mmd2(x, x.clone(), biased=biased)
        assert own == copied
        assert own.bias == ("upper" if biased else "unbiased")
    assert mmd.mmd2(x, x, biased=True).value == pytest.approx(0, abs=1e-12)


def test_the_polynomial_kernel_is_that_of_kid():
    x, y, c = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]), torch.tensor([[0.5, 4.0]])
    assert float(polynomial_gram(torch.zeros(2))(x, y)) == pytest.approx((1 / 2 + 1) ** 3 - 1)
    for degree in (1, 2, 3, 4):
        plain = lambda a, b, power=degree: float((a @ b.T / 2 + 1) ** power)  # noqa: E731
        centred = plain(x, y) - plain(x, c) - plain(c, y) + plain(c, c)
        assert float(polynomial_gram(c[0], degree)(x - c, y - c)) == pytest.approx(centred, rel=1e-5)
    many, others = (part.double() for part in shifted_pair(5, 0.8))
    cubic = lambda a, b: (a @ b.T / 2 + 1) ** 3  # noqa: E731
    for biased in (False, True):
        found, plain = polynomial_mmd2(many, others, biased), mmd2_of(cubic, many, others, biased)
        assert found.value == pytest.approx(plain.value, rel=1e-9)
        assert found.se == pytest.approx(plain.se, rel=0.02)  # what is left out is 1/n of the error


def test_named_kernels():
    squared = torch.tensor([0.0, 5.0])
    torch.testing.assert_close(named_kernel("published", 3)(squared), torch.exp(-squared / 9))
    torch.testing.assert_close(named_kernel("dimension", 3)(squared), torch.exp(-squared / 6))
    with pytest.raises(UserError, match="kernel"):
        named_kernel("other", 3)


def test_losses_are_the_statistics_and_their_gradients():
    x, y = (part.double() for part in shifted_pair(1, 0.4, n=9, m=7))
    kernel = gaussian_kernel(BANDWIDTH)
    assert float(mmd2_loss(x, y, kernel, unbiased=True)) == pytest.approx(mmd2(x, y, kernel).value)
    together = torch.cat([x, y])
    sign = torch.cat([torch.full((9,), 1 / 9), torch.full((7,), -1 / 7)]).double()
    biased = float(sign @ kernel(torch.cdist(together, together).square()) @ sign)
    assert float(mmd2_loss(x, y, kernel)) == pytest.approx(biased)
    assert mmd2(x, y, kernel, biased=True).value == pytest.approx(biased)
    x.requires_grad_()
    for unbiased in (False, True):
        assert torch.autograd.gradcheck(lambda points, how=unbiased: mmd2_loss(points, y, kernel, how), (x,))


def test_the_published_kernel_hardly_sees_a_collapse_where_the_other_does():
    d, n, draws = 32, 64, 50
    prior, right = (torch.randn(draws, n, d, generator=generator(seed, "mmd-collapse")).double() for seed in (0, 1))
    collapsed = torch.zeros(draws, n, d, dtype=torch.float64)
    found = {}
    for name, width in (("published", d**2), ("dimension", 2 * d)):
        # E exp(-|x-y|^2 / width) of two standard normal points, and of one and the origin.
        apart, origin = (1 + 4 / width) ** (-d / 2), (1 + 2 / width) ** (-d / 2)
        truths = {"right": 2 * (1 - apart) / n, "collapsed": 1 + apart - 2 * origin + (1 - apart) / n}
        kernel = named_kernel(name, d)
        for law, codes in (("right", right), ("collapsed", collapsed)):
            values = torch.stack([mmd2_loss(a, b, kernel) for a, b in zip(prior, codes, strict=True)])
            assert abs(float(values.mean()) - truths[law]) < 4 * float(values.std()) / math.sqrt(draws)
            found[name, law] = float(values.mean())
    assert found["published", "collapsed"] < 1.2 * found["published", "right"]
    assert found["dimension", "collapsed"] > 7 * found["dimension", "right"]
