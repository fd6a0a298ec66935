"""Measuring a curve: one network call for all roundings, whatever the batches, in memory that does not grow."""

import numpy as np
import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import RunFailedError, UserError
from infolab.exact import mixture_denoiser
from infolab.immse import Bins, GaussianReference, LogsnrRange, make_grid, measure_curve, merge
from infolab.immse.curve import GROUPS
from infolab.mixture import GaussianMixture
from infolab.noise import generator
from infolab.schedules import append_dims, logsnr_to_alpha_sigma

GRID = make_grid(LogsnrRange(0.0, 1.5), 7)
LAW = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor([[-2.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), 0.2)


@pytest.fixture(scope="module")
def x():
    return LAW.sample(600, generator(0, "x"))


@pytest.fixture(scope="module")
def reference(x):
    return GaussianReference.fit(x)


class Counting:
    """A denoiser that counts its calls and rows."""

    def __init__(self, inner=LAW.eps_hat):
        self.inner, self.calls, self.rows, self.largest = inner, 0, 0, 0

    def __call__(self, z, logsnr):
        assert logsnr.shape == z.shape[:1]
        self.calls += 1
        self.rows += len(z)
        self.largest = max(self.largest, len(z))
        return self.inner(z, logsnr)


def test_the_mean_error_is_that_of_direct_simulation(x, reference):
    curve = measure_curve(mixture_denoiser(LAW), x, GRID, reference, noise="independent")
    points = LAW.sample(40_000, generator(1))
    for j, a in enumerate(GRID.logsnr):
        eps = torch.randn(points.shape, generator=generator(2, j), dtype=torch.float64)
        alpha, sigma = logsnr_to_alpha_sigma(a)
        errors = (eps - LAW.eps_hat(alpha * points + sigma * eps, a.expand(len(points)))).square().sum(1)
        for control in ("none", "unit", "fitted"):
            assert abs(curve.mean("raw", control)[j] - errors.mean()) < 5 * curve.se("raw", control)[j]
    assert (curve.se("raw") <= 1.02 * curve.se("raw", "none")).all()


@pytest.mark.parametrize("noise", ["quasi", "independent", "shared"])
def test_batches_do_not_change_the_result(x, reference, noise):
    whole = measure_curve(mixture_denoiser(LAW), x, GRID, reference, noise=noise, seed=3)
    small = Counting()
    again = measure_curve(Denoiser.of_eps(small), x, GRID, reference, noise=noise, seed=3, batch=50)
    assert small.largest <= 50
    assert small.rows == again.evaluations == 600 * 7
    torch.testing.assert_close(again.sums["raw"], whole.sums["raw"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(again.mean("raw"), whole.mean("raw"), rtol=1e-10, atol=1e-10)


def test_shards_merge_to_the_whole(x, reference):
    whole = measure_curve(mixture_denoiser(LAW), x, GRID, reference, seed=3)
    cuts = [(0, 130), (130, 400), (400, 600)]
    parts = [measure_curve(mixture_denoiser(LAW), x[a:b], GRID, reference, seed=3, first=a) for a, b in cuts]
    joined = merge(parts)
    assert (joined.n, joined.evaluations) == (whole.n, whole.evaluations)
    torch.testing.assert_close(joined.mean("raw"), whole.mean("raw"), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(joined.se("raw"), whole.se("raw"), rtol=1e-10, atol=1e-12)
    other = measure_curve(mixture_denoiser(LAW), x, make_grid(LogsnrRange(0.0, 2.0), 7), reference)
    with pytest.raises(UserError, match="one grid"):
        merge([whole, other])


def test_one_call_serves_raw_hard_and_soft_and_one_more_the_dequantised():
    bins = Bins.of_levels(5)
    source = generator(4)
    data = bins.low + bins.step * torch.randint(0, 5, (90, 1, 2, 2), generator=source).float()
    reference = GaussianReference.fit(data)
    denoiser = Counting(reference.eps_hat)
    curve = measure_curve(Denoiser.of_eps(denoiser), data, GRID, reference, bins=bins)
    assert denoiser.rows == curve.evaluations == 90 * 7
    assert curve.kinds == ("raw", "hard", "soft")
    both = measure_curve(Denoiser.of_eps(denoiser), data, GRID, reference, bins=bins, dequantized=True)
    assert denoiser.rows == 3 * 90 * 7
    assert both.evaluations == 2 * 90 * 7
    for kind in curve.kinds:
        assert torch.equal(both.sums[kind], curve.sums[kind])
    # By hand, from the definition, on the noise of the module.
    from infolab.noise import curve_noise

    eps = curve_noise("quasi", (90, 4), 0, torch.arange(7), 7, seed=0)
    for j, a in enumerate(GRID.logsnr.float()):
        alpha, sigma = logsnr_to_alpha_sigma(a)
        noise = eps[:, j].reshape(data.shape)
        z, logsnr = alpha * data + sigma * noise, a.expand(90)
        x_hat = (z - sigma * reference.eps_hat(z, logsnr)) / alpha
        for kind, hat in (
            ("raw", x_hat.clamp(-1, 1)), ("hard", bins.hard(x_hat)), ("soft", bins.soft(x_hat, logsnr))
        ):  # fmt: skip
            error = torch.exp(a) * (data - hat).square().flatten(1).sum(1)
            assert float(curve.mean(kind, "none")[j]) == pytest.approx(float(error.mean()), rel=1e-4)


def test_memory_does_not_grow_with_the_examples(x, reference):
    few = measure_curve(mixture_denoiser(LAW), x[:40], GRID, reference)
    many = measure_curve(mixture_denoiser(LAW), x, GRID, reference)

    def numbers(curve):
        parts = [curve.counts, *curve.sums.values(), *curve.log_normal.values(), *curve.products.values()]
        return sum(part.numel() for part in parts)

    assert numbers(few) == numbers(many)
    assert many.sums["raw"].shape == (GROUPS, 7)


def test_curves_of_single_examples_are_stored_on_request(x, reference, tmp_path):
    path = tmp_path / "sub" / "curves.npy"
    curve = measure_curve(mixture_denoiser(LAW), x, GRID, reference, store=path, batch=64)
    stored = np.load(path)
    assert stored.shape == (600, 1, 7)
    torch.testing.assert_close(
        torch.from_numpy(stored).double().mean(0)[0], curve.mean("raw", "none"), rtol=1e-5, atol=0
    )
    assert [file.name for file in path.parent.iterdir()] == ["curves.npy"]

    def broken(z, logsnr):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        measure_curve(Denoiser.of_eps(broken), x, GRID, reference, store=tmp_path / "other.npy")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sub"]


def test_antithetic_noise_evaluates_both_signs(x, reference):
    twice = Counting()
    curve = measure_curve(Denoiser.of_eps(twice), x[:100], GRID, reference, antithetic=True)
    assert twice.rows == curve.evaluations == 2 * 700
    # The odd part of the control cancels, so only the even one is left: no product of eps with x.
    assert curve.n == 100


def test_grey_levels_are_transformed_block_by_block():
    images = torch.randint(0, 256, (70, 3, 4, 4), generator=generator(5), dtype=torch.uint8)

    def transform(part):
        return part.float() / 127.5 - 1

    reference = GaussianReference.fit(transform(images))
    direct = measure_curve(Denoiser.of_eps(reference.eps_hat), transform(images), GRID, reference)
    lazy = measure_curve(Denoiser.of_eps(reference.eps_hat), images, GRID, reference, transform=transform)
    torch.testing.assert_close(lazy.mean("raw"), direct.mean("raw"))


def test_what_does_not_fit_is_refused(x, reference):
    with pytest.raises(UserError, match=r"expected a tensor of shape \(4200, 3\)"):
        measure_curve(Denoiser.of_eps(lambda z, a: z[:, :1]), x, GRID, reference)
    with pytest.raises(UserError, match="of 2 dimensions and a Gaussian reference of 3"):
        measure_curve(mixture_denoiser(LAW), x[:, :2], GRID, reference)
    with pytest.raises(UserError, match="give bins"):
        measure_curve(mixture_denoiser(LAW), x, GRID, reference, dequantized=True)
    with pytest.raises(RunFailedError, match="not finite at log-SNR"):
        measure_curve(Denoiser.of_eps(lambda z, a: z / append_dims((a > 1).to(z) - 1, z)), x, GRID, reference)
    single = measure_curve(mixture_denoiser(LAW), x[:1], GRID, reference)
    with pytest.raises(UserError, match="at least two examples"):
        single.se("raw")
