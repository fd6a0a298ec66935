"""The Gaussian and the categorical-mixture baselines: masses that sum to one, by enumeration over three pixels."""

import itertools
import math

import pytest
import torch
from scipy import stats

from infolab.baselines import fit_categorical_mixture, fit_gaussian_levels, log_normal_mass
from infolab.errors import UserError

LEVELS = 5


def correlated_images(n: int, seed: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    base = torch.randint(0, LEVELS, (n, 1, 1, 1), generator=source)
    return (base + torch.randint(-1, 2, (n, 1, 1, 3), generator=source)).clamp(0, LEVELS - 1).to(torch.uint8)


def all_images() -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(LEVELS), repeat=3)), dtype=torch.uint8).view(-1, 1, 1, 3)


@pytest.mark.parametrize("floor", [1 / 12, 1e-3, 2.0])
def test_gaussian_masses_sum_to_one(floor):
    model = fit_gaussian_levels(correlated_images(60, 0), LEVELS, floor)
    assert float(model.log_mass(all_images()).exp().sum()) == pytest.approx(1, rel=1e-10)


def test_gaussian_is_the_product_of_conditional_bin_masses():
    train = correlated_images(60, 0)
    pixels = train.flatten(1).double()
    mean, covariance = pixels.mean(0), torch.cov(pixels.T, correction=0)
    covariance = covariance + torch.eye(3, dtype=torch.float64) / 12
    image = torch.tensor([0, 2, 4], dtype=torch.uint8)
    log_mass = 0.0
    for i in range(3):
        weights = torch.linalg.solve(covariance[:i, :i], covariance[:i, i]) if i else torch.zeros(0)
        centre = float(mean[i] + weights.double() @ (image[:i].double() - mean[:i]))
        law = stats.norm(centre, math.sqrt(float(covariance[i, i] - weights.double() @ covariance[:i, i])))
        low = -math.inf if image[i] == 0 else float(image[i]) - 0.5
        high = math.inf if image[i] == LEVELS - 1 else float(image[i]) + 0.5
        log_mass += math.log(law.cdf(high) - law.cdf(low))
    model = fit_gaussian_levels(train, LEVELS)
    assert float(model.log_mass(image.view(1, 1, 1, 3))) == pytest.approx(log_mass, rel=1e-10)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (30.0, 31.0), (-31.0, -30.0), (-math.inf, math.inf)])
def test_log_normal_mass_in_both_tails(low, high):
    got = float(log_normal_mass(torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)))
    if math.isinf(low):
        assert got == 0.0
        return
    side = (stats.norm.logsf, low, high) if low > 0 else (stats.norm.logcdf, high, low)
    big, small = side[0](side[1]), side[0](side[2])
    assert got == pytest.approx(big + math.log1p(-math.exp(small - big)), rel=1e-10)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_mixture_masses_sum_to_one(smoothing):
    model = fit_categorical_mixture(correlated_images(60, 0), LEVELS, 4, smoothing=smoothing)
    assert float(model.log_mass(all_images()).exp().sum()) == pytest.approx(1, rel=1e-10)


def test_em_never_lowers_its_objective():
    trace = fit_categorical_mixture(correlated_images(80, 1), LEVELS, 6, smoothing=0.3, tolerance=0.0).trace
    assert len(trace) > 3
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(trace))


def test_one_component_is_the_smoothed_histogram():
    from infolab.baselines import per_pixel_histogram_bpd

    train, test = correlated_images(50, 2), correlated_images(20, 3)
    assert fit_categorical_mixture(train, LEVELS, 1).bpd(test) == pytest.approx(
        per_pixel_histogram_bpd(train, test, LEVELS), rel=1e-10
    )


def test_mixture_of_two_far_clusters_is_recovered():
    source = torch.Generator().manual_seed(0)
    half = torch.randint(0, 2, (400, 1, 1, 6), generator=source)
    images = torch.cat([half, half + 3]).to(torch.uint8)
    model = fit_categorical_mixture(images, LEVELS, 2, smoothing=0.01)
    torch.testing.assert_close(model.log_weight.exp(), torch.tensor([0.5, 0.5], dtype=torch.float64), atol=0.01, rtol=0)
    # One bit says which cluster, one bit each of the six pixels.
    assert model.bpd(images)[0] == pytest.approx(7 / 6, abs=0.01)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda train: fit_gaussian_levels(train, LEVELS, 0.0), "floor"),
        (lambda train: fit_gaussian_levels(train, 3), "level"),
        (lambda train: fit_gaussian_levels(train, LEVELS).bpd(train[..., :2]), "shape"),
        (lambda train: fit_categorical_mixture(train, LEVELS, 4, smoothing=0.0), "smoothing"),
        (lambda train: fit_categorical_mixture(train, LEVELS, 1000), "components"),
    ],
)
def test_bad_settings_are_refused(work, words):
    with pytest.raises(UserError, match=words):
        work(correlated_images(60, 0))
