"""The published test NLL of images and ours have the same expectation."""

import math

import pytest
import torch

from benchmarks import itdiffusion_nll as rows
from benchmarks import reference_itdiffusion_nll as reference_nll
from infolab.data import load
from infolab.denoise import Denoiser
from infolab.immse import Bins, GaussianReference, LogsnrRange, discrete_nll, make_grid, measure_curve
from infolab.noise import generator
from itdiffusion import plain

BINS = Bins.of_levels(256)


@pytest.fixture(scope="module")
def x():
    levels = torch.randint(0, 256, (40, 1, 2, 2), generator=generator(0)).float()
    return levels / 127.5 - 1


def test_both_estimators_have_the_same_expectation(x):
    reference = GaussianReference.fit(x, floor=BINS.step**2 / 12)
    law = LogsnrRange.from_ends(-4.0, 15.0)
    curve = measure_curve(
        Denoiser.of_eps(reference.eps_hat), x, make_grid(law, 80), reference, bins=BINS, dequantized=True
    )
    values = []
    for seed in range(10):
        source = generator(seed, "reference")
        logsnr = plain.draw_logsnr(100, source, law.loc, law.scale)
        weights = plain.weights_of(logsnr, law.loc, law.scale)
        found = reference_nll.measure(reference.eps_hat, x, logsnr, source)
        values.append(plain.discrete_nll(weights, found["raw"], found["rounded"], reference.eigenvalues, law.low))
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
