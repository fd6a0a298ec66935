"""The grid of small diffusion models: the Gaussian part, the loss, one network as many, runs that are stopped."""

import dataclasses

import numpy as np
import pytest
import torch

from infolab.config import run_id
from infolab.errors import InterruptedRunError, UserError
from infolab.immse import GaussianReference, LogsnrRange, make_grid, nll_offset
from infolab.memorization import ScoreSums
from infolab.results import read
from infolab.sweep import run_sweep
from vae.denoiser_grid import (
    EXPERIMENT,
    SWEEPS,
    DenoiserObjective,
    Denoisers,
    Measurement,
    choose_images,
    reference_of,
    run_denoiser_grid,
    scaled,
)
from vae.objective import Batches, fold_of

(SMOKE,) = SWEEPS["smoke"]

pytestmark = pytest.mark.usefixtures("no_tensorboard")


@pytest.fixture(scope="module")
def gaussian():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 5, generator=g, dtype=torch.float64) @ torch.randn(5, 5, generator=g, dtype=torch.float64)
    return x + 1, GaussianReference.fit(x + 1)


def silent(denoisers):
    """The networks' outputs are 0: only the Gaussian's denoiser is left."""
    with torch.no_grad():
        denoisers.mlp.weights[-1].zero_()
        denoisers.mlp.biases[-1].zero_()
    return denoisers


def test_without_the_network_it_is_the_gaussians_denoiser(gaussian):
    x, reference = gaussian
    denoisers = silent(Denoisers((8,), [1, 2], [reference] * 2)).double()
    logsnr = torch.linspace(-8, 8, 50, dtype=torch.float64)
    expected = reference.eps_hat(x[:50], logsnr)
    for found in denoisers(x[:50].expand(2, -1, -1), logsnr.expand(2, -1)):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_member_is_what_it_is_in_the_batch(gaussian):
    x, _ = gaussian
    references = [GaussianReference.fit(part) for part in (x[:50], x[50:120], x[120:])]
    denoisers = Denoisers((8, 8), [1, 2, 3], references)
    logsnr = torch.linspace(-3, 3, 20)
    z = x[:20].float()
    batch = denoisers(z.expand(3, -1, -1), logsnr.expand(3, -1))
    for place in range(3):
        torch.testing.assert_close(denoisers.member(place).eps(z, logsnr), batch[place], rtol=1e-5, atol=1e-6)
    alone = Denoisers((8, 8), [2], references[1:2])
    torch.testing.assert_close(alone(z[None], logsnr[None])[0], batch[1], rtol=1e-5, atol=1e-6)


def test_the_loss_of_the_gaussian_is_its_entropy(gaussian):
    """E loss + offset = h_G over the range, for the denoiser that is optimal."""
    x, reference = gaussian
    denoisers = silent(Denoisers((4,), [1], [reference]))
    logsnr_range = LogsnrRange.from_spectrum(reference.spectrum)
    batches = Batches([torch.arange(len(x))], [7], 500, 5)
    data = x.float()
    objective = DenoiserObjective(
        denoisers, lambda rows, u: data[rows], lambda n, step: torch.zeros(n, 2), batches, logsnr_range, seed=3
    )
    with torch.no_grad():
        losses = torch.cat([objective(step) for step in range(240)]).double()
    found = float(losses.mean()) + nll_offset(reference, logsnr_range)
    se = float(losses.std()) / 240**0.5
    assert found == pytest.approx(reference.entropy_nats, abs=4 * se)
    assert se < 0.2


def test_the_reference_has_the_moments_of_dequantised_images():
    images, _ = choose_images(SMOKE)
    g = torch.Generator().manual_seed(1)
    draws = [scaled(images.images.flatten(1), torch.rand(64, 64, generator=g), 17) for _ in range(800)]
    x = torch.cat(draws).double()
    reference = reference_of(images)
    torch.testing.assert_close(reference.mean, x.mean(0), atol=2e-3, rtol=0)
    assert float(reference.eigenvalues.sum()) == pytest.approx(float(x.var(0, correction=0).sum()), rel=2e-3)
    assert float(reference.eigenvalues.min()) > 0


def test_without_the_networks_the_scores_are_those_of_gaussians_fitted_anew():
    """No member's Gaussian knows what the member never saw: holding an image out costs it likelihood."""
    images, index = choose_images(SMOKE)
    n, levels, K = len(images), images.levels, SMOKE.K
    config = dataclasses.replace(SMOKE, L=1, points=64)
    folds = fold_of(n, K, config.seed, 0)[None]
    references = [reference_of(images.take(torch.nonzero(folds[0] != fold)[:, 0])) for fold in range(K)]
    x = scaled(images.images.flatten(1), torch.full((n, images.d), 0.5), levels)
    grid = make_grid(LogsnrRange.from_spectrum(reference_of(images).spectrum), config.points)
    denoisers = silent(Denoisers((4,), list(range(K)), references))
    rows = Measurement(config, x, references, grid, folds, levels).rows(denoisers, 1, index, images.labels)
    logpx = torch.stack([reference.log_prob(x) for reference in references])
    inside = (torch.arange(K)[:, None] != folds[0]).numpy()
    sums = ScoreSums(n)
    for one, mine in zip(logpx.numpy(), inside, strict=True):
        sums.add(one, mine)
    expected, found = sums.scores().score, np.array([row.score for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.05)
    assert np.abs(found).min() > 1
    assert found.mean() > 1


@pytest.mark.bits
def test_a_run_writes_the_scores_and_is_the_same_when_stopped(tmp_path):
    def at(name, **changes):
        places = {"runs_dir": tmp_path / name / "runs", "results_dir": tmp_path / name / "results"}
        return dataclasses.replace(SMOKE, **places, **changes)

    run_denoiser_grid("smoke", at("whole"))
    for _ in range(20):
        try:
            run_denoiser_grid("smoke", at("broken", max_minutes=1e-9))
            break
        except InterruptedRunError:
            continue
    table, again = (read(tmp_path / name / "results", "vae/memorization") for name in ("whole", "broken"))
    assert table.equals(again)
    assert len(table) == 2 * 64
    assert set(table["epoch"]) == {1, 2}
    assert set(table["runs_in"]) == set(table["runs_out"]) == {2}
    assert set(table["model"]) == {"denoiser-mlp[16]"}
    assert np.isfinite(table["score"]).all()


def test_bad_settings_are_refused():
    for changes in ({"K": 1}, {"draws": 1}, {"lr": -1.0}, {"epochs": 3, "evaluate_every": 2}, {"hidden": ()}):
        with pytest.raises(UserError):
            dataclasses.replace(SMOKE, **changes).check()
    with pytest.raises(UserError, match="--m must lie in"):
        choose_images(dataclasses.replace(SMOKE, m=5000))


def test_every_preset_has_a_plan(capsys, tmp_path):
    for name, configs in SWEEPS.items():
        run_sweep(EXPERIMENT, [name, "--dry-run", "--results-dir", str(tmp_path)])
        assert all(run_id(config) in capsys.readouterr().out for config in configs)
