"""The law of log-SNR: stratified draws follow its density, and the density follows the corrections."""

import torch

from infolab.mi.denoiser import BINS, UNIFORM, Levels, strata
from infolab.noise import generator


def focused():
    levels = Levels(-6.0, 18.0)
    a = torch.linspace(-6, 18, 24_001)[None]
    levels.look(a, torch.exp(-((a - 3) ** 2) / 8)[..., None])
    levels.freeze()
    return levels


def test_density_integrates_to_one_and_is_highest_where_the_correction_is():
    levels = focused()
    a = torch.linspace(-5.9995, 17.9995, 24_000)
    density = levels.density(a)
    assert torch.isclose(density.sum() * 1e-3, torch.tensor(1.0), atol=1e-3)
    assert abs(float(a[density.argmax()]) - 3) < 1.01
    assert float(density.min()) >= 0.99 * UNIFORM / 24


def test_draws_follow_the_density():
    levels = focused()
    a = levels.quantile(strata(4, 5000, generator(0, "levels")))
    assert bool((a.diff(dim=1) >= 0).all())
    counts = torch.zeros(BINS).index_add_(0, levels.bin(a).flatten(), torch.ones(a.numel()))
    # Stratified: each member's count of a bin is off by at most one at either end.
    assert bool(((counts - 4 * 5000 * levels.masses).abs() <= 8).all())


def test_weights_make_integrals():
    levels = focused()
    a = levels.quantile(strata(1, 4000, generator(1, "levels")))
    found = (torch.exp(-((a - 5) ** 2) / 2) / levels.density(a)).mean()
    assert torch.isclose(found, torch.tensor(2 * torch.pi).sqrt(), rtol=2e-3)


def test_without_corrections_it_stays_uniform():
    levels = Levels(0.0, 1.0)
    levels.look(torch.rand(2, 10, generator=generator(0, "a")), torch.zeros(2, 10, 3))
    levels.freeze()
    assert bool((levels.masses == 1 / BINS).all())
