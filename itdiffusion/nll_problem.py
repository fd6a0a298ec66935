"""What `python -m itdiffusion.nll` measures: examples, the data of the Gaussian reference, and the denoiser."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.arrays import load_function, read_array, tensor_of
from common.data import NAMES, load
from common.device import pick_device
from common.errors import UserError
from common.immse import Bins, Denoiser
from common.seeds import generator
from common.toy import TOYS, make
from itdiffusion.nll_config import NllConfig

BLUR = 1e-4
"""Share of a coordinate's standard deviation that rounding to float32 may add (it moves the NLL by less than that)."""


@dataclass(frozen=True)
class Problem:
    """Examples, what the Gaussian is fitted to, the grid of the values (None: a density) and a transform of blocks."""

    x: Tensor
    fit: Tensor
    bins: Bins | None
    transform: Callable[[Tensor], Tensor]


def problem_of(config: NllConfig) -> Problem:
    """The examples that the options name.

    Raises:
        UserError: no such data, or data that does not fit the options.
    """
    if config.data in NAMES:
        images = load(config.data, "test", data_dir=config.data_dir)
        fit = load(config.data, "train", data_dir=config.data_dir).images
        if config.reference:
            raise UserError(f"--reference goes with a .npy file: for {config.data} it is the training split")
        x, top = images.images[: config.n or None], images.levels - 1
        return Problem(x, fit, Bins.of_levels(images.levels), lambda part: part.float() * (2 / top) - 1)
    x = _examples(config.data, config)
    fit = _examples(config.reference, config) if config.reference else x
    if fit.shape[1:] != x.shape[1:]:
        raise UserError(
            f"--reference has examples of shape {tuple(fit.shape[1:])} and --data of {tuple(x.shape[1:])}: expected "
            "one shape"
        )
    bins: Bins | None = None
    if config.discrete_step:
        bins = Bins.of_data(torch.cat([fit.flatten(), x.flatten()]), config.discrete_step)
    elif config.dequantized:
        raise UserError("--dequantized is for discrete data: give its --discrete-step")
    double = bins is None and (_blurred(x) or _blurred(fit))
    if double and config.checkpoint:
        raise UserError(
            "the data lies so far from 0, beside its spread, that float32 blurs it, in which the network computes: "
            "give it on the scale that the network was trained on"
        )
    x, fit = (part.double() if double else part.float() for part in (x, fit))
    return Problem(x[: config.n or None], fit, bins, lambda part: part)


def _blurred(x: Tensor) -> bool:
    """Whether float32 would add more than `BLUR` of its standard deviation to some coordinate of examples (n, ...)."""
    flat = x.flatten(1)
    added = (flat.float().double() - flat).square().mean(0).sqrt()
    return bool((added > BLUR * flat.double().std(0)).any())


def denoiser_of(config: NllConfig, x: Tensor) -> tuple[Denoiser, torch.device]:
    """The model of --denoiser or --checkpoint for examples x (n, ...), and where its tensors lie.

    Raises:
        UserError: there is no such function or checkpoint.
    """
    device = pick_device(config.place)
    if config.checkpoint:
        return _from_checkpoint(config.checkpoint, x, device), device
    return _from_function(config.denoiser, "--denoiser", x), device


def other_denoiser(config: NllConfig, x: Tensor, device: torch.device) -> Denoiser:
    """The model of --against, on the same device: module:function, or the path of a checkpoint.

    Raises:
        UserError: neither.
    """
    if ":" in config.against and not Path(config.against).exists():
        return _from_function(config.against, "--against", x)
    return _from_checkpoint(config.against, x, device)


def _from_checkpoint(path: str, x: Tensor, device: torch.device) -> Denoiser:
    from itdiffusion.load import load_denoiser  # networks take a second to import

    return load_denoiser(path, tuple(x.shape[1:])).to(device)


def _from_function(name: str, option: str, x: Tensor) -> Denoiser:
    function, called = load_function(name, option), f"{option} {name}"
    kind = "float64" if x.dtype == torch.float64 else "float32"  # grey levels are brought to float32
    expected = f"eps_hat(z, logsnr) of z (n, ...) and logsnr (n,), torch {kind}, of the shape of z"
    return lambda z, logsnr: tensor_of(function, (z, logsnr), called, expected)


def _examples(name: str, config: NllConfig) -> Tensor:
    if name in TOYS:
        return make(name).sample(config.n or 1000, generator(config.seed, "draws"))
    if not name.endswith(".npy"):
        known = ", ".join([*NAMES, *TOYS])
        raise UserError(f"unknown data '{name}': give a .npy file (examples first) or one of {known}")
    x = read_array(Path(name))
    return x[:, None] if x.ndim == 1 else x
