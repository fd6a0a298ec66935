"""The heads of the image denoisers, their training loss and the checkpoint that gives them back."""

import dataclasses
import math

import pytest
import torch

from infolab import distributed
from infolab.baselines import per_pixel_histogram_bpd, pixel_log_mass
from infolab.data import ImageSet, load
from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.immse import Bins, GaussianReference, LogsnrRange, discrete_nll, make_grid, measure_curve
from itdiffusion.digits import SWEEPS
from itdiffusion.images_model import GaussianHead, LevelsHead, make_head, reference_of, to_unit, training_range
from itdiffusion.images_train import ImagesObjective, Members, make_members

SMOKE = SWEEPS["smoke"][0]
LEVELS = 5


def small_images(n: int = 150, seed: int = 0) -> ImageSet:
    pixels = torch.randint(0, LEVELS, (n, 1, 2, 3), generator=torch.Generator().manual_seed(seed))
    pixels = torch.minimum(pixels, torch.arange(6).view(2, 3) % LEVELS)  # a different histogram in every pixel
    return ImageSet("small", "train", pixels.to(torch.uint8), LEVELS)


def levels_head(images: ImageSet) -> LevelsHead:
    head = make_head("levels", images, GaussianReference(torch.zeros(6), torch.ones(6)))
    assert isinstance(head, LevelsHead)
    return head


def test_levels_head_is_the_posterior_mean_of_each_pixel():
    images = small_images()
    head, source = levels_head(images), torch.Generator().manual_seed(1)
    out = torch.randn(4, LEVELS, 2, 3, generator=source)
    z, logsnr = torch.randn(4, 1, 2, 3, generator=source), torch.tensor([-3.0, 0.0, 2.0, 5.0])
    eps_hat = head(out, z, logsnr).double()
    log_mass = pixel_log_mass(images.images, LEVELS).view(2, 3, LEVELS)
    grid = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
    for i, a in enumerate(logsnr.tolist()):
        alpha, sigma = math.sqrt(1 / (1 + math.exp(-a))), math.sqrt(1 / (1 + math.exp(a)))
        likelihood = -((z[i, 0, :, :, None].double() - alpha * grid) ** 2) / (2 * sigma**2)
        posterior = torch.softmax(likelihood + log_mass + out[i].permute(1, 2, 0).double(), -1)
        expected = (z[i, 0].double() - alpha * (posterior @ grid)) / sigma
        torch.testing.assert_close(eps_hat[i, 0], expected, rtol=1e-4, atol=1e-4)


def test_untrained_levels_head_has_the_histograms_nll():
    images = small_images(400)
    head = levels_head(images)
    x = to_unit(images.images, LEVELS)
    reference = GaussianReference.fit(x, floor=(2 / (LEVELS - 1)) ** 2 / 12)

    def denoiser(z, logsnr):
        return head(torch.zeros(len(z), LEVELS, 2, 3), z, logsnr)

    grid = make_grid(LogsnrRange.from_ends(-9.0, 7.0), 60)
    found = discrete_nll(
        measure_curve(Denoiser.of_eps(denoiser), x, grid, reference, bins=Bins.of_levels(LEVELS)), "raw"
    )
    truth = per_pixel_histogram_bpd(images.images, images.images, LEVELS)[0]
    assert abs(found.bpd - truth) < 3 * found.se / (6 * math.log(2)) + 1e-3


def test_gaussian_head_without_a_network_is_the_optimal_linear_denoiser():
    x = torch.randn(300, 1, 2, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(
        3, 3, generator=torch.Generator().manual_seed(1)
    )
    reference = GaussianReference.fit(x)
    z, logsnr = x[:5] + 0.3, torch.tensor([-4.0, -1.0, 0.0, 2.0, 5.0])
    eps_hat = GaussianHead(reference)(torch.zeros_like(z), z, logsnr)
    torch.testing.assert_close(eps_hat, reference.eps_hat(z, logsnr), rtol=1e-4, atol=1e-4)


class Zero(Denoiser):
    """eps_hat = 0: its loss has the mean 1/2 d (high - low)."""

    name = "zero"

    def __init__(self):
        super().__init__(torch.nn.Identity())
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def call(self, z, logsnr):
        return 0 * z + self.weight


def objective_of(config, members=None):
    train = load("digits", "train").subset(64, 0)
    reference = GaussianReference.fit(to_unit(train.images, 17), floor=1e-3)
    law = training_range(config, reference)
    members = members or make_members(config, train, reference, law)
    return ImagesObjective(config, members, train, law, torch.optim.SGD(members.parameters(), lr=1.0))


def test_objective_is_unbiased_for_half_the_integral():
    objective = objective_of(dataclasses.replace(SMOKE, batch=64), Members({"m0": Zero()}))
    losses = torch.stack([objective(step) for step in range(300)]).detach().double()[:, 0]
    truth = 32 * (objective.law.high - objective.law.low)
    assert abs(float(losses.mean()) - truth) < 4 * float(losses.std()) / math.sqrt(300)
    assert float(losses.std()) < 0.05 * truth


@pytest.mark.parametrize("dequantize", [False, True])
def test_parts_and_processes_add_up_to_the_whole_batch(monkeypatch, dequantize):
    config = dataclasses.replace(SMOKE, batch=16, dequantize=dequantize)

    def gradient(config, calls):
        objective = objective_of(config)
        with torch.no_grad():
            for item in objective.members.parameters():
                item.add_(0.01)
        total = torch.stack([call(objective) for call in calls]).sum(0)
        total.sum().backward()
        return total.detach(), torch.cat([item.grad.flatten() for item in objective.members.parameters()])

    whole = gradient(config, [lambda objective: objective(3)])
    split = gradient(dataclasses.replace(config, parts=4), [lambda o, p=p: o(3, p) for p in range(4)])
    torch.testing.assert_close(split, whole, rtol=1e-3, atol=1e-3)

    def of_process(rank):
        def call(objective):
            monkeypatch.setattr(distributed, "rank", lambda: rank)
            monkeypatch.setattr(distributed, "world_size", lambda: 2)
            return objective(3) / 2

        return call

    torch.testing.assert_close(gradient(config, [of_process(0), of_process(1)]), whole, rtol=1e-3, atol=1e-3)


def test_batches_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="parts"):
        objective_of(dataclasses.replace(SMOKE, batch=10, parts=3))


def test_dropout_follows_the_config_and_its_masks_the_step():
    objective = objective_of(dataclasses.replace(SMOKE, batch=16, dropout=0.5))
    with torch.no_grad():
        for item in objective.members.parameters():
            item.add_(0.02)
    objective.members.train()
    torch.testing.assert_close(objective(2), objective(2))
    assert not torch.equal(objective(2), objective.members.eval() and objective(2))


def test_levels_are_refused_for_photographs():
    config = dataclasses.replace(SMOKE, members=("levels",), network="cifar10-tiny")
    photographs = ImageSet("p", "train", torch.zeros(60, 3, 32, 32, dtype=torch.uint8), 256)
    with pytest.raises(UserError, match="256 grey levels"):
        make_members(config, photographs, GaussianReference(torch.zeros(3072), torch.ones(3072)), LogsnrRange(0.0, 1.0))


def test_reference_is_cached_by_its_images(tmp_path):
    images = small_images()
    first = reference_of(images, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    path.touch()
    stamp = path.stat().st_mtime_ns
    again = reference_of(images, tmp_path)
    assert path.stat().st_mtime_ns == stamp
    torch.testing.assert_close(again.spectrum, first.spectrum, rtol=0, atol=0)
    assert first.floor == pytest.approx(0.5**2 / 12)
    assert again.provenance["examples"] == 150
    reference_of(small_images(seed=5), tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
