"""The modes that draw, move and compare images of a trained model."""

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor, nn

from common.data import ImageSet
from common.device import pick_device
from common.errors import UserError
from common.pieces import Keep, Pieces
from common.runs import Run
from common.samplers import SampleNoise
from common.transforms import ScaleTransform
from infodiffusion.checkpoint import experiment_of, load_coded, load_model
from infodiffusion.config import InfoConfig
from infodiffusion.images import images_of
from infodiffusion.networks import Autoencoder
from infodiffusion.outputs import for_figures, keep_arrays, keep_pictures, spread_over, to_pixels, write_pngs
from infodiffusion.sampling import BATCH, decode, draw_pixels, encode_noise

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
