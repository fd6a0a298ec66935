"""Images from a trained model: codes from the prior, in two phases, or from the diffusion over codes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.networks.unet_sampling import PreparedUNet
from common.pieces import Pieces
from common.samplers import EpsModel, SampleNoise, ddim, ddpm, grid, invert, two_phase
from common.schedules import DDPM
from common.seeds import generator
from common.transforms import ScaleTransform
from infodiffusion.checkpoint import load_latent, load_model
from infodiffusion.config import InfoConfig, vanilla_of
from infodiffusion.networks import VAE, Diff, LatentDiffusion, Vanilla
from infodiffusion.objective import schedule_of
from infodiffusion.priors import draw_prior

BATCH = 100

Draw = Callable[[int, int], Tensor]
"""(first, n) -> images (n, c, h, w) in [-1, 1], numbers first .. first + n - 1 of the run's samples."""


def denoiser(
    model: Diff | Vanilla, code: Tensor | None = None, steps: list[int] | None = None, precision: str = "fp32"
) -> EpsModel:
    """eps_hat(x_t, step) of a model in evaluation mode, its code given: without gradients, made for sampling.

    Args:
        model: Diff or Vanilla.
        code: the codes (n, a_dim) of Diff.
        steps: steps that will be visited; others are prepared when they come.
        precision: fp32, or bf16 (features and convolutions in bfloat16).
    """
    dtype = torch.bfloat16 if precision == "bf16" else None
    prepared, patches = PreparedUNet(model.network, code, steps or [], dtype), model.patches
    return lambda x_t, step: model.output.eps_hat(patches.back(prepared(patches(x_t), step)), x_t, step)


def decode(config: InfoConfig, model: nn.Module, code: Tensor | None, x_T: Tensor, noise: SampleNoise) -> Tensor:
    """Images in [-1, 1] from x_T (and codes) by the sampler of `config`; a VAE's from the codes alone."""
    if isinstance(model, VAE):
        assert code is not None
        with torch.no_grad():
            decoded: Tensor = model(code)
        return decoded
    schedule = schedule_of(config)
    eps_model = denoiser(model, code, visited(config, schedule), config.precision)  # type: ignore[arg-type]
    if not config.steps:
        return ddpm(eps_model, schedule, x_T, noise)
    return ddim(eps_model, schedule, x_T, config.steps, config.eta, noise)


def encode_noise(config: InfoConfig, model: nn.Module, code: Tensor | None, x: Tensor) -> Tensor:
    """x_T of images x by inversion with their codes, in the steps of `config` (DDPM: all of them).

    What a VAE has in its place is nothing: zeros.
    """
    if isinstance(model, VAE):
        return torch.zeros_like(x)
    schedule = schedule_of(config)
    return invert(denoiser(model, code, visited(config, schedule)), schedule, x, config.steps or config.T)  # type: ignore[arg-type]


def visited(config: InfoConfig, schedule: DDPM) -> list[int]:
    """The steps that the sampler of `config` asks the network at."""
    return grid(schedule, config.steps or schedule.steps)


def drawer(config: InfoConfig, device: torch.device) -> tuple[Draw, nn.ModuleList]:
    """The function that draws images of the model of `config`, and all models that it has loaded for that.

    Raises:
        UserError: the model, or the second one that its sampling needs, has not been trained.
    """
    model = load_model(config, device)
    schedule = schedule_of(config)
    latent = load_latent(config, device) if config.sampling == "latent" else None
    code_of = _code_source(config, latent, device)
    vanilla = load_model(vanilla_of(config), device) if config.sampling == "two-phase" else None

    def draw(first: int, n: int) -> Tensor:
        channels, side = config.shape
        noise = SampleNoise(config.seed, "samples", n, (channels, side, side), first, device)
        code = None if isinstance(model, Vanilla) else code_of(first, n)
        if vanilla is None:
            return decode(config, model, code, noise.start(), noise)
        steps = config.steps or config.T
        path = grid(schedule, steps)
        models = [denoiser(one, a, path, config.precision) for one, a in ((vanilla, None), (model, code))]  # type: ignore[arg-type]
        return two_phase(models[0], models[1], schedule, noise.start(), config.split_step, steps, config.eta, noise)

    return draw, nn.ModuleList([one for one in (model, latent, vanilla) if one is not None])


def draw_pixels(config: InfoConfig, device: torch.device, n: int, levels: int, folder: Path) -> np.ndarray:
    """n images as grey levels, uint8 (n, c, h, w), in batches that do not change them, each kept in the run's `folder`.

    Raises:
        UserError: as `drawer`.
    """
    draw, models = drawer(config, device)
    keep = Pieces(folder, models)
    scale = ScaleTransform(levels)
    parts = []
    for first in range(0, n, BATCH):
        count = min(BATCH, n - first)
        kept = keep(f"drawn-{first:07d}", lambda: {"x": scale.to_pixels(draw(first, count))})  # noqa: B023 (called at once)
        parts.append(kept["x"])
    return torch.cat(parts).numpy()


def _code_source(
    config: InfoConfig, latent: LatentDiffusion | None, device: torch.device
) -> Callable[[int, int], Tensor]:
    """(first, n) -> codes (n, a_dim): from the prior, or from the diffusion over codes."""
    if latent is not None:
        schedule = schedule_of(config)

        def drawn(first: int, n: int) -> Tensor:
            start = SampleNoise(config.seed, "codes", n, (config.a_dim,), first, device).start()
            return latent.centre + latent.scale * ddim(latent, schedule, start, schedule.steps)

        return drawn

    def from_prior(first: int, n: int) -> Tensor:
        # Whole batches, so that the code of a sample does not depend on how many are drawn.
        low, high = first // BATCH, (first + n - 1) // BATCH
        blocks = [
            draw_prior(config.prior, BATCH, config.a_dim, generator(config.seed, "prior", block))
            for block in range(low, high + 1)
        ]
        start = first - low * BATCH
        return torch.cat(blocks)[start : start + n].to(device)

    return from_prior
