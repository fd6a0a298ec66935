"""Images from a trained model (codes from the prior, two phases, diffusion over codes), and the modes that draw."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from infodiffusion.checkpoint import experiment_of, images_of, load_coded, load_latent, load_model
from infodiffusion.config import InfoConfig, vanilla_of
from infodiffusion.networks import VAE, Autoencoder, Diff, LatentDiffusion, Vanilla, draw_prior
from infodiffusion.objective import schedule_of
from infodiffusion.outputs import for_figures, keep_arrays, keep_pictures, spread_over, to_pixels, write_pngs
from infolab.data import ImageSet
from infolab.data.images import ScaleTransform
from infolab.denoise import Denoiser
from infolab.device import pick_device
from infolab.errors import UserError
from infolab.nn.unet_sampling import PreparedUNet
from infolab.noise import generator
from infolab.runs import Run
from infolab.sample import SampleNoise, ddim, ddpm, grid, invert, two_phase
from infolab.schedules import DDPM
from infolab.storage import Keep, Pieces

# ----------
# Images from a trained model: codes from the prior, in two phases, or from the diffusion over codes.

BATCH = 100

Draw = Callable[[int, int], Tensor]
"""(first, n) -> images (n, c, h, w) in [-1, 1], numbers first .. first + n - 1 of the run's samples."""


def denoiser(
    model: Diff | Vanilla,
    schedule: DDPM,
    code: Tensor | None = None,
    steps: list[int] | None = None,
    precision: str = "fp32",
) -> Denoiser:
    """A model in evaluation mode at whole steps, its code given: without gradients, made for sampling.

    Args:
        model: Diff or Vanilla.
        schedule: of its steps.
        code: the codes (n, a_dim) of Diff.
        steps: steps that will be visited; others are prepared when they come.
        precision: fp32, or bf16 (features and convolutions in bfloat16).
    """
    dtype = torch.bfloat16 if precision == "bf16" else None
    prepared, patches = PreparedUNet(model.network, code, steps or [], dtype), model.patches

    def eps_hat(x_t: Tensor, step: Tensor) -> Tensor:
        return model.output.eps_hat(patches.back(prepared(patches(x_t), step)), x_t, step)

    return Denoiser.of_steps(eps_hat, schedule)


def decode(config: InfoConfig, model: nn.Module, code: Tensor | None, x_T: Tensor, noise: SampleNoise) -> Tensor:
    """Images in [-1, 1] from x_T (and codes) by the sampler of `config`; a VAE's from the codes alone."""
    if isinstance(model, VAE):
        assert code is not None
        with torch.no_grad():
            decoded: Tensor = model(code)
        return decoded
    schedule = schedule_of(config)
    eps_model = denoiser(model, schedule, code, visited(config, schedule), config.precision)  # type: ignore[arg-type]
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
    return invert(denoiser(model, schedule, code, visited(config, schedule)), schedule, x, config.steps or config.T)  # type: ignore[arg-type]


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
        models = [denoiser(one, schedule, a, path, config.precision) for one, a in ((vanilla, None), (model, code))]  # type: ignore[arg-type]
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
        of_codes = Denoiser.of_steps(latent, schedule)

        def drawn(first: int, n: int) -> Tensor:
            start = SampleNoise(config.seed, "codes", n, (config.a_dim,), first, device).start()
            return latent.centre + latent.scale * ddim(of_codes, schedule, start, schedule.steps)

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


# ----------
# The modes that draw, move and compare images of a trained model.

TRAVERSED = [round(-1.5 + 0.3 * k, 1) for k in range(11)]
"""Values that one coordinate of a code takes (published)."""
SHOWN_DIMENSIONS = 32
STRIP = 10
"""Images between two (published)."""


def sample(preset: str, config: InfoConfig) -> None:
    """eval: n samples beside as many training images."""
    run, device = _run(preset, config), pick_device(config.device)
    train, _ = images_of(config, device)
    with run.open():
        _say_whose_codes(run, config)
        drawn = draw_pixels(config, device, config.n, train.levels, run.folder)
        pictures = {"samples": drawn, "train": spread_over(train, config.n).images.cpu().numpy()}
        keep_pictures(run, config, {name: for_figures(item, train.levels) for name, item in pictures.items()})


def sample_for_fid(preset: str, config: InfoConfig) -> None:
    """eval_fid: n samples as `generated.npy`, uint8 (n, c, h, w) of 256 levels, and as files in `images`."""
    run, device = _run(preset, config), pick_device(config.device)
    train, _ = images_of(config, device)
    with run.open():
        _say_whose_codes(run, config)
        drawn = draw_pixels(config, device, config.n, train.levels, run.folder)
        _keep_images(run, config, "generated", drawn, train.levels)


def save_originals(preset: str, config: InfoConfig) -> None:
    """save_original_img: n training images as `original.npy` and as files in `images`."""
    run, device = _run(preset, config), pick_device(config.device)
    train, _ = images_of(config, device)
    with run.open():
        _keep_images(run, config, "original", spread_over(train, config.n).images.cpu().numpy(), train.levels)


def traverse(preset: str, config: InfoConfig) -> None:
    """disentangle: the code of one test image, each coordinate moved from -1.5 to 1.5, x_T fixed."""
    run, device = _run(preset, config), pick_device(config.device)
    _, test = images_of(config, device)
    model = load_coded(config, device)
    with run.open():
        x, keep = _chosen(config, test, 1), Pieces(run.folder, model)
        code = model.code(x)
        x_T = _inverted(keep, config, model, code, x)
        dimensions = min(config.a_dim, SHOWN_DIMENSIONS)
        moved = code.repeat(dimensions, len(TRAVERSED), 1)
        for k in range(dimensions):
            moved[k, :, k] = torch.tensor(TRAVERSED, device=device)
        blocks = enumerate(moved.flatten(0, 1).split(BATCH))
        plain = _deterministic(config)
        rows = [_decode(keep, f"row-{i:03d}", plain, model, a, x_T.repeat(len(a), 1, 1, 1)) for i, a in blocks]
        shown = for_figures(to_pixels(torch.cat(rows), test.levels), test.levels)
        pictures = {"traversals": shown.reshape(dimensions, len(TRAVERSED), *shown.shape[1:])}
        keep_pictures(run, config, {**pictures, "original": for_figures(to_pixels(x, test.levels), test.levels)})


def interpolate(preset: str, config: InfoConfig) -> None:
    """interpolate: ten images between two test images, and both as the model decodes them with and without their x_T.

    x_T goes along the great circle, codes are cos(e pi/2) a1 + sin(e pi/2) a2, e = 0 .. 1 (as published).
    """
    run, device = _run(preset, config), pick_device(config.device)
    _, test = images_of(config, device)
    model = load_model(config, device)
    with run.open():
        x, keep = _chosen(config, test, 2), Pieces(run.folder, model)
        code = model.code(x) if isinstance(model, Autoencoder) else None
        x_T = _inverted(keep, config, model, code, x)
        e = torch.linspace(0, 1, STRIP, device=device)
        between = None if code is None else _quarter(code, e)
        plain = _deterministic(config)
        strip = _decode(keep, "strip", plain, model, between, _great_circle(x_T, e))
        noise = SampleNoise(config.seed, "reconstruction", 2, tuple(x.shape[1:]), 0, device)
        parts = {
            "strip": strip,
            "original": x,
            "with_x_T": _decode(keep, "with-x-T", plain, model, code, x_T),
            "without_x_T": _decode(keep, "without-x-T", plain, model, code, noise.start()),
        }
        keep_pictures(
            run, config, {name: for_figures(to_pixels(item, test.levels), test.levels) for name, item in parts.items()}
        )


def redraw(preset: str, config: InfoConfig) -> None:
    """latent_quality: the code of one test image decoded from n draws of x_T: what it leaves open varies."""
    run, device = _run(preset, config), pick_device(config.device)
    _, test = images_of(config, device)
    model = load_coded(config, device)
    with run.open():
        x, keep = _chosen(config, test, 1), Pieces(run.folder, model)
        noise = SampleNoise(config.seed, "redraw", config.n, tuple(x.shape[1:]), 0, device)
        drawn = _decode(keep, "drawn", config, model, model.code(x).repeat(config.n, 1), noise.start())
        parts = {"samples": drawn, "original": x}
        keep_pictures(
            run, config, {name: for_figures(to_pixels(item, test.levels), test.levels) for name, item in parts.items()}
        )


def _run(preset: str, config: InfoConfig) -> Run:
    return Run("infodiffusion", experiment_of(config), preset, config)


def _say_whose_codes(run: Run, config: InfoConfig) -> None:
    """A DiffAE's codes are held to no prior: draws of one are not its codes, and what they give are not its images."""
    if config.model == "diff" and config.sampling != "latent" and not (config.mmd_weight or config.kld_weight):
        run.say(
            "codes of this model follow no prior (--mmd-weight 0, --kld-weight 0), so images of codes drawn from one "
            "are not its samples: use --sampling latent"
        )


def _keep_images(run: Run, config: InfoConfig, name: str, pixels: np.ndarray, levels: int) -> None:
    shown = for_figures(pixels, levels)
    if config.write_png:
        write_pngs(run.folder / "images", shown)
    channels_first = shown[:, None] if shown.ndim == 3 else shown.transpose(0, 3, 1, 2)
    keep_arrays(run, config, {name: channels_first})


def _chosen(config: InfoConfig, test: ImageSet, count: int) -> Tensor:
    """Test images img_id, img_id + 1, ..., in [-1, 1]."""
    if config.img_id + count > len(test):
        raise UserError(f"--img-id must be at most {len(test) - count}: {config.dataset} has {len(test)} test images")
    return ScaleTransform(test.levels).forward(test.images[config.img_id : config.img_id + count])


def _decode(keep: Keep, name: str, config: InfoConfig, model: nn.Module, code: Tensor | None, x_T: Tensor) -> Tensor:
    """The images of these codes and x_T, on the CPU, kept as the piece `name`."""
    noise = SampleNoise(config.seed, "decode", len(x_T), tuple(x_T.shape[1:]), 0, x_T.device)
    return keep(name, lambda: {"x": decode(config, model, code, x_T, noise)})["x"]


def _inverted(keep: Keep, config: InfoConfig, model: nn.Module, code: Tensor | None, x: Tensor) -> Tensor:
    """x_T of images x, kept as a piece."""
    return keep("x-T", lambda: {"x_T": encode_noise(config, model, code, x)})["x_T"].to(x)


def _deterministic(config: InfoConfig) -> InfoConfig:
    """The settings with DDIM and eta 0, the only sampler that an inverted x_T belongs to."""
    return dataclasses.replace(config, steps=config.steps or config.T, eta=0.0)


def _quarter(code: Tensor, e: Tensor) -> Tensor:
    """cos(e pi/2) a1 + sin(e pi/2) a2, (len(e), a_dim)."""
    angle = e[:, None] * (math.pi / 2)
    return torch.cos(angle) * code[0] + torch.sin(angle) * code[1]


def _great_circle(x_T: Tensor, e: Tensor) -> Tensor:
    """sin((1-e) theta) / sin theta x1 + sin(e theta) / sin theta x2, theta the angle between x1 and x2 (2, ...)."""
    first, second = x_T[0], x_T[1]
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    theta = torch.arccos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
    shape = (-1, *[1] * first.ndim)
    left, right = torch.sin((1 - e) * theta).view(shape), torch.sin(e * theta).view(shape)
    return (left * first + right * second) / torch.sin(theta)
