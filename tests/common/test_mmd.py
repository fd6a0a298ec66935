import math

import pytest
import torch

from common.errors import UserError
from common.mmd import gaussian_kernel, median_bandwidth, mmd2
from common.seeds import generator

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


@pytest.mark.parametrize(("x", "y"), [((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5,), (5,))])
def test_bad_samples_are_refused(x, y):
    with pytest.raises(UserError, match="expected"):
        mmd2(torch.zeros(x), torch.zeros(y), gaussian_kernel(1.0))


def test_bad_bandwidth_is_refused():
    with pytest.raises(UserError, match="bandwidth"):
        gaussian_kernel(0.0)
