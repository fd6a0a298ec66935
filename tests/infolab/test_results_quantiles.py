import numpy as np
import pytest

from infolab.quantiles import quantile


@pytest.mark.parametrize(
    ("n", "q", "open_below", "open_above"),
    [
        (200, 0.5, False, False),
        (200, 0.9, False, False),
        (400, 0.99, False, False),
        (200, 0.99, False, True),
        (200, 0.01, True, False),
        (5, 0.5, True, True),
    ],
)
def test_it_covers_the_quantile_of_the_law(n, q, open_below, open_above):
    rng, draws = np.random.default_rng(1), 2000
    found = [quantile(rng.uniform(size=n), q) for _ in range(draws)]
    assert {(one.open_below, one.open_above) for one in found} == {(open_below, open_above)}
    covered = [(one.open_below or one.low <= q) and (one.open_above or q <= one.high) for one in found]
    assert np.mean(covered) >= 0.95 - 3 * (0.95 * 0.05 / draws) ** 0.5
    if not (open_below or open_above):
        assert np.mean(covered) <= 0.985  # the order statistics are discrete, so it may be more than 95%


def test_the_value_is_the_order_statistic():
    values = np.random.default_rng(0).gumbel(size=400)
    for q in (0.05, 0.5, 0.95):
        assert quantile(values, q).value == np.sort(values)[int(np.ceil(q * 400)) - 1]


def test_few_values_and_bad_levels():
    one = quantile(np.array([3.0]), 0.999)
    assert (one.value, one.low, one.high, one.open_below, one.open_above) == (3.0, 3.0, 3.0, False, True)
    for q, values in ((0.0, [1.0]), (1.0, [1.0]), (0.5, [])):
        with pytest.raises(ValueError, match="quantile"):
            quantile(np.array(values), q)
