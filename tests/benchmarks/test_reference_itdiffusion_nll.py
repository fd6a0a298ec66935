"""The plain reference of the test NLL and our curve give the same numbers on the same noise."""

import math

import pytest
import torch

from benchmarks import itdiffusion_nll as rows
from benchmarks import reference_itdiffusion_nll as plain
from infolab.data import load
from infolab.data.images import dequantization_noise
from infolab.denoise import Denoiser
from infolab.immse import Bins, GaussianReference, LogsnrRange, discrete_nll, make_grid, measure_curve
from infolab.noise import curve_noise, generator

BINS = Bins.of_levels(256)
GRID = make_grid(LogsnrRange(6.0, 2.0), 5)


@pytest.fixture(scope="module")
def x():
    levels = torch.randint(0, 256, (40, 1, 2, 2), generator=generator(0)).float()
    return levels / 127.5 - 1


def test_all_three_variants_are_the_same_functions(x):
    reference = GaussianReference.fit(x)
    curve = measure_curve(Denoiser.of_eps(reference.eps_hat), x, GRID, reference, bins=BINS, dequantized=True, seed=3)
    eps = curve_noise("quasi", (40, 4), 0, torch.arange(5), 5, seed=3)
    moved = x + BINS.step * (dequantization_noise(tuple(x.shape), 3) - 0.5)
    for j, a in enumerate(GRID.logsnr.float()):
        noise = eps[:, j].reshape(x.shape)
        for variant, kind, data in (("raw", "raw", x), ("rounded", "soft", x), ("dequantized", "dequantized", moved)):
            theirs = plain.errors(reference.eps_hat, data, noise, a, variant).mean()
            assert float(curve.mean(kind, "none")[j]) == pytest.approx(float(theirs), rel=2e-3, abs=1e-4)


def test_soft_rounding_is_the_same(x):
    for a in (-2.0, 4.0, 9.0, 11.0):
        x_hat = 2.2 * torch.rand(3, 4, 4, generator=generator(1)) - 1.1
        found = BINS.soft(x_hat, torch.full((3,), a))
        assert float((found - plain.soft_round(x_hat.clamp(-1, 1), torch.tensor(a))).abs().max()) < 0.01 * BINS.step


def test_both_estimators_have_the_same_expectation(x):
    reference = GaussianReference.fit(x, floor=BINS.step**2 / 12)
    law = LogsnrRange.from_ends(-4.0, 15.0)
    curve = measure_curve(
        Denoiser.of_eps(reference.eps_hat), x, make_grid(law, 80), reference, bins=BINS, dequantized=True
    )
    values = []
    for seed in range(10):
        source = generator(seed, "reference")
        logsnr, weights = plain.sample_logsnr(100, law.loc, law.scale, source)
        found = plain.measure(reference.eps_hat, x, logsnr, weights, source)
        values.append(plain.discrete_nll(found, reference.eigenvalues, law.low))
        assert math.isfinite(plain.dequantized_nll(found, reference.dequantized(BINS.step).spectrum))
    mean, se = sum(values) / 10, float(torch.tensor(values).std()) / math.sqrt(10)
    assert abs(mean - discrete_nll(curve).value) < 4 * math.hypot(se, discrete_nll(curve).se)


def test_the_rows_measure_both_sides(monkeypatch):
    images = load("patches", "test").images[:30].float() / 127.5 - 1
    reference = GaussianReference.fit(images, diagonal=True, floor=BINS.step**2 / 12)
    law = LogsnrRange.from_spectrum(reference.spectrum)
    small = rows.Setting(images[:4], rows.small_denoiser(reference), reference, law, BINS)
    monkeypatch.setattr(rows, "prepare", lambda: small)
    monkeypatch.setattr(rows, "FINE_POINTS", 12)
    pair = rows.same_points(3)
    assert pair.ours(0) > 0
    assert pair.reference(0) > 0
    precise = rows.same_error(points=8, part=1)
    assert precise.ours(0) > 0
    assert precise.reference(0) > 0
    assert "Error of the NLL of the same images: ours" in precise.note()
    assert set(rows.ROWS) == {"itdiffusion.nll_same_points", "itdiffusion.nll_same_error"}
