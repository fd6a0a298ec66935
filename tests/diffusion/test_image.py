"""The image study: objective, evaluation, resume, and one smoke run from config to table."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from diffusion.digits import SWEEPS
from diffusion.image import ImageEvaluation, cost, run_image
from diffusion.image_model import SIGMA_FLOOR, ImageConfig, ImageObjective, ImageScore, time_law
from infolab.config import run_id
from infolab.data import load
from infolab.data.images import LogitTransform
from infolab.denoise import Denoiser
from infolab.errors import InterruptedRunError, UserError
from infolab.nn.unet import UNet
from infolab.results import read, read_arrays
from infolab.schedules import VP, append_dims

SMOKE = SWEEPS["smoke"][0]


def parts(config):
    images = load("digits", "train").subset(config.m or 64, config.seed)
    score = ImageScore(UNet(config.unet(), config.seed), VP(), config.parametrization)
    return score, images, LogitTransform(images.levels)


class LinearScore(torch.nn.Module):
    """s = -x: the score of N(0, I) at every time, so the loss has a closed form."""

    def __init__(self):
        super().__init__()
        self.schedule = VP()

    def forward(self, x, t):
        return -x

    def denoiser(self):
        return Denoiser.of_score(self, self.schedule)


@pytest.mark.parametrize("sampler", ["uniform", "debiased", "importance"])
def test_objective_is_unbiased_for_its_integral(sampler):
    # E 1/2 |sigma s + eps|^2 with s = -x_t = -(alpha x0 + sigma eps) is 1/2 [sigma^2 alpha^2 |x0|^2 + d (1-sigma^2)^2].
    config = dataclasses.replace(SMOKE, T=1.0, batch=64, m=64, time_sampler=sampler)
    _, images, transform = parts(config)
    objective = ImageObjective(config, LinearScore(), images, transform)
    losses = torch.stack([objective(step) for step in range(300)]).double()
    # importance estimates the integral over uniform t; debiased has its own law of t in the integral.
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    t = time_law(config, VP()).sample(grid)[0] if sampler == "debiased" else grid
    level = VP().at(t)
    u = torch.rand(64, 200, 64, generator=torch.Generator().manual_seed(0))
    x = transform.forward((images.images.reshape(64, 1, 64) + u) / 17)[0].double()
    squared = float(x.square().sum(-1).mean())
    truth = float((0.5 * (level.sigma**2 * level.alpha**2 * squared + 64 * level.alpha**4)).mean())
    assert abs(float(losses.mean()) - truth) < 4 * float(losses.std()) / math.sqrt(len(losses))


def test_log_snr_uniform_times_have_less_variance_where_the_weighted_loss_is_large():
    # The likelihood weighting g^2/sigma^2 of the loss is flat under the debiased law and diverges under the uniform.
    config = dataclasses.replace(SMOKE, T=1.0)
    schedule = VP()
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    spread = {}
    for sampler in ("uniform", "debiased"):
        t, density = time_law(dataclasses.replace(config, time_sampler=sampler), schedule).sample(u)
        level = schedule.at(t.clamp(min=1e-3))
        spread[sampler] = float((level.g2 / level.sigma**2 / density).std())
    assert spread["debiased"] < 0.1 * spread["uniform"]


def test_objective_is_a_function_of_seed_and_step():
    score, images, transform = parts(SMOKE)
    values = [float(ImageObjective(SMOKE, score, images, transform)(3).detach()) for _ in range(2)]
    other = ImageObjective(dataclasses.replace(SMOKE, seed=1), score, images, transform)
    assert values[0] == values[1] != float(other(3).detach())


def test_parametrizations():
    config = dataclasses.replace(SMOKE, parametrization="drift")
    score, _, _ = parts(config)
    torch.nn.init.normal_(score.network.out[2].weight, std=0.1)
    x, t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.7])
    out = score.network(x, t)
    level = VP().at(t)
    torch.testing.assert_close(score(x, t) * append_dims(level.g2.sqrt(), x), out)
    noise = ImageScore(score.network, VP(), "noise")
    scale = append_dims((level.sigma**2 + SIGMA_FLOOR**2).sqrt(), x)
    torch.testing.assert_close(noise(x, t), -out / scale)
    velocity = ImageScore(score.network, VP(), "velocity")
    torch.testing.assert_close(
        velocity(x, t), -(append_dims(level.sigma, x) * x + append_dims(level.alpha, x) * out) / scale
    )
    late = torch.full((2,), 2.0)  # only noise is left: the score of N(0, I), whatever the network says
    torch.testing.assert_close(velocity(x, late), -x, atol=1e-3, rtol=1e-3)


def test_autocast_step_is_close_to_full_precision():
    score, images, transform = parts(SMOKE)
    torch.nn.init.normal_(score.network.out[2].weight, std=0.05)
    full = ImageObjective(SMOKE, score, images, transform)(0)
    half = ImageObjective(dataclasses.replace(SMOKE, precision="bf16"), score, images, transform)(0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.02, atol=0)


def test_bits_per_dimension_of_the_prior_agree_between_ode_elbo_and_closed_form():
    # With s = -x the flow stands still: log p(y) = log N(y; 0, I), whatever T.
    config = dataclasses.replace(SMOKE, T=1.0, test_images=60, eval_batch=25, elbo_draws=64, ode_tolerance=1e-6)
    _, images, transform = parts(config)
    evaluation = ImageEvaluation(config, images, load("digits", "test"), transform)
    y, logdet = evaluation._logits(evaluation.test, "test")
    truth = transform.bpd(-0.5 * y.flatten(1).square().sum(1) - 32 * math.log(2 * math.pi), logdet, 64)
    score = LinearScore()
    ode = transform.bpd(evaluation.ode(score, y)[0], logdet, 64)
    torch.testing.assert_close(ode.float(), truth, atol=1e-4, rtol=0)
    gap = transform.bpd(evaluation.elbo(score, y), logdet.double(), 64) - truth
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(len(gap))


@pytest.mark.bits
def test_smoke_run_writes_whole_tables_and_is_resumed_to_the_last_bit(tmp_path):
    config = dataclasses.replace(SMOKE, runs_dir=tmp_path / "runs", results_dir=tmp_path / "whole")
    run_image("smoke", config)
    rows = read(tmp_path / "whole", "diffusion/image_bound")
    assert len(rows) == 4
    assert set(rows.variant) == {"published", "exact"}
    assert set(rows.step_rule) == {"fixed_number", "fixed_size"}
    (_, arrays), *_ = read_arrays(tmp_path / "whole", "diffusion", "digits")
    assert arrays["samples"].shape == (4, 8, 8)
    assert arrays["samples"].dtype == np.uint8
    assert arrays["samples"].max() <= 16

    broken = dataclasses.replace(config, runs_dir=tmp_path / "again", results_dir=tmp_path / "broken")
    with pytest.raises(InterruptedRunError):
        run_image("smoke", dataclasses.replace(broken, max_minutes=1e-9))
    assert not list((tmp_path / "broken").rglob("*.csv"))
    run_image("smoke", broken)
    name = f"diffusion/image_bound/{run_id(config)}.csv"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


@pytest.mark.parametrize("changes", [{"m": 1}, {"T": 0.0005}, {"probe": "uniform"}, {"network": "big"}, {"lr": 0.0}])
def test_bad_settings_are_refused(changes):
    with pytest.raises(UserError):
        dataclasses.replace(SMOKE, **changes).check()


def test_every_setting_but_where_it_runs_enters_the_id():
    base = ImageConfig()
    for item in dataclasses.fields(ImageConfig):
        value = getattr(base, item.name)
        other = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 0.5, str: lambda v: v + "x"}
        if type(value) not in other:
            continue
        changed = dataclasses.replace(base, **{item.name: other[type(value)](value)})
        assert (run_id(changed) == run_id(base)) == (not item.metadata.get("in_id", True))


def test_paper_sweep_is_the_published_one():
    configs = SWEEPS["paper"]
    assert {config.T for config in configs} == {round(0.2 * k, 1) for k in range(1, 11)}
    assert {config.seed for config in configs} == {0, 1, 2}
    assert {config.m for config in configs} == {0, 16}
    assert all(c.iterations == 10_000 and c.lr == 1e-4 and c.R == 4000 and c.sde_steps == 1000 for c in configs)
    assert cost(configs[0]).parameters > 100_000
