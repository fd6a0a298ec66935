"""What a training step of the image study draws: mirrored images (never test images), and times by each law."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from scipy.integrate import quad

from diffusion import cifar10, digits, fashion_mnist, image_model, mnist
from diffusion.image import ImageEvaluation
from diffusion.image_model import ImageConfig, ImageObjective, time_law
from infolab.config import run_id
from infolab.data import load
from infolab.data.images import LogitTransform
from infolab.noise import generator
from infolab.schedules import VP, append_dims

REFERENCE = Path(__file__).resolve().parents[2] / "results/reference/diffusion/image_bound"
SMOKE = digits.SWEEPS["smoke"][0]

# ---- mirrored images


class StandardNormalScore(torch.nn.Module):
    """s = -x, at no cost."""

    schedule = VP()

    def forward(self, x, t):
        return -x


def seen_in_training(config, monkeypatch, steps=24):
    """The training set, and the grey levels that reach the loss in each step, (steps, m, c, h, w), in its order."""
    seen = []

    def dequantize(pixels, u, levels):
        seen.append(pixels)
        return (pixels + u) / levels

    monkeypatch.setattr(image_model, "dequantize", dequantize)
    images = load("digits").subset(config.m, config.seed)
    objective = ImageObjective(config, StandardNormalScore(), images, LogitTransform(images.levels))
    losses = torch.stack([objective(step) for step in range(steps)])
    return images.images, torch.stack(seen), losses


@pytest.mark.parametrize("flip", [False, True])
def test_training_mirrors_about_half_of_the_images_when_asked_to(flip, monkeypatch):
    config = dataclasses.replace(SMOKE, m=8, batch=8, flip=flip)
    recorded, seen, losses = seen_in_training(config, monkeypatch)
    mirrored = 0
    for step in seen:
        for image in step:
            as_it_is, turned = ((recorded == one).flatten(1).all(1).any() for one in (image, image.flip(-1)))
            assert as_it_is or (flip and turned)
            mirrored += int(not as_it_is)
    n = seen.shape[0] * seen.shape[1]
    assert abs(mirrored - flip * n / 2) <= flip * 5 * math.sqrt(n) / 2
    # Anew in every step, and a function of (seed, step).
    again = seen_in_training(config, monkeypatch)
    assert torch.equal(again[1], seen)
    assert torch.equal(again[2], losses)


def test_the_flip_changes_no_other_noise(monkeypatch):
    # Of images that are their own mirror image nothing can be told.
    symmetric = load("digits").subset(8, 0)
    half = symmetric.images[..., :4]
    symmetric = dataclasses.replace(symmetric, images=torch.cat([half, half.flip(-1)], -1))
    values = []
    for flip in (False, True):
        config = dataclasses.replace(SMOKE, m=8, flip=flip)
        values.append(ImageObjective(config, StandardNormalScore(), symmetric, LogitTransform(17))(3))
    assert torch.equal(*values)


def test_evaluation_images_are_never_mirrored():
    train, test = load("digits").subset(16, 0), load("digits", "test")
    found = []
    for flip in (False, True):
        evaluation = ImageEvaluation(dataclasses.replace(SMOKE, flip=flip), train, test, LogitTransform(17))
        found.append([evaluation._logits(evaluation.test, "test")[0], evaluation._logits(train, "train")[0]])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    k = LogitTransform(17).to_pixels(found[1][0])
    assert torch.equal(k, test.images[: SMOKE.test_images])


def test_cifar10_is_mirrored_as_published_and_no_other_set():
    for preset in ("paper", "smoke"):
        assert all(config.flip for config in cifar10.SWEEPS[preset])
    for study in (digits, mnist, fashion_mnist):
        assert not any(config.flip for configs in study.SWEEPS.values() for config in configs)
    names = {dataclasses.replace(SMOKE, flip=flip).model_name for flip in (False, True)}
    assert len(names) == 2


def test_without_the_flip_runs_keep_the_ids_of_the_reference():
    sweeps = [config for study in (digits, fashion_mnist) for config in study.SWEEPS["quick"]]
    assert {run_id(config) for config in sweeps} == {path.stem for path in REFERENCE.glob("*.csv")}
    record = json.loads(next(REFERENCE.glob("*.json")).read_text())
    assert run_id(ImageConfig(**record["config"])) == record["run_id"]
    assert run_id(ImageConfig(**record["config"], flip=True)) != record["run_id"]


# ---- times

SD, D, T, T_EPS = 0.3, 64, 1.0, 1e-3
"""Data N(0, SD^2 I) in D dimensions, with its exact score: the loss is D/2 near t = 0, where eps cannot be told."""


def losses_at(t, source):
    """1/2 |sigma s + eps|^2 at times t (n,), one x0 and eps each."""
    level = VP().at(t)
    x0, eps = (torch.randn(len(t), D, generator=source, dtype=torch.float64) for _ in range(2))
    x0 = SD * x0
    alpha, sigma = append_dims(level.alpha, x0), append_dims(level.sigma, x0)
    s = -(alpha * x0 + sigma * eps) / (alpha**2 * SD**2 + sigma**2)
    return 0.5 * (sigma * s + eps).square().sum(1)


def truth(weight):
    """The integral of weight(t) E 1/2 |sigma s + eps|^2 over (0, T), by quadrature."""

    def integrand(t):
        level = VP().at(torch.tensor(t, dtype=torch.float64))
        alpha2, sigma2 = float(level.alpha) ** 2, float(level.sigma) ** 2
        return weight(t) * 0.5 * D * alpha2 * SD**2 / (alpha2 * SD**2 + sigma2)

    return sum(quad(integrand, a, b, epsrel=1e-9)[0] for a, b in ((0, T_EPS), (T_EPS, 0.05), (0.05, T)))


def likelihood_weight(t):
    """g^2 / sigma^2, held below t_eps."""
    level = VP().at(torch.as_tensor(t, dtype=torch.float64).clamp(min=T_EPS))
    return level.g2 / level.sigma**2


@pytest.mark.parametrize(("weighting", "at_most"), [("likelihood", 0.2), ("uniform", 0.8)])
def test_debiased_times_are_unbiased_with_less_variance_than_uniform_ones(weighting, at_most):
    # The same integral from both laws of t, each draw weighted by 1/p(t): at_most is the ratio of the standard errors.
    config = dataclasses.replace(SMOKE, T=T, t_eps=T_EPS)
    expected = truth((lambda t: float(likelihood_weight(t))) if weighting == "likelihood" else lambda t: 1.0)
    errors = {}
    for sampler in ("uniform", "debiased"):
        source = generator(0, sampler)
        u = torch.rand(40_000, generator=source, dtype=torch.float64)
        t, density = time_law(dataclasses.replace(config, time_sampler=sampler), VP()).sample(u)
        values = losses_at(t, source) / density
        if weighting == "likelihood":
            values = values * likelihood_weight(t)
        errors[sampler] = float(values.std()) / math.sqrt(len(values))
        assert abs(float(values.mean()) - expected) < 4 * errors[sampler]
    assert errors["debiased"] < at_most * errors["uniform"]
