"""What `python -m itdiffusion.nll` measures: examples, the data of the Gaussian reference, and the denoiser."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.arrays import load_function, read_array, tensor_of
from common.data import NAMES, load
from common.denoise import Denoiser as Denoise
from common.device import pick_device
from common.errors import UserError
from common.immse import Bins, Denoiser
from common.seeds import generator
from common.toy import TOYS, make
from itdiffusion.nll_config import SCHEDULES, NllConfig

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


@dataclass(frozen=True)
class Model:
    """A model as told, its eps_hat(z, logsnr), and where its tensors lie."""

    told: Denoise
    eps: Denoiser
    device: torch.device


def model_of(config: NllConfig, x: Tensor) -> Model:
    """The model of --denoiser or --checkpoint for examples x (n, ...).

    Raises:
        UserError: there is no such function or checkpoint.
    """
    device = pick_device(config.place)
    if config.checkpoint:
        network = _from_checkpoint(config.checkpoint, x, device)
        return Model(Denoise(network), network, device)
    told = _from_function(config, config.denoiser, "--denoiser", x)
    return Model(told, _eps(config, told), device)


def other_denoiser(config: NllConfig, x: Tensor, device: torch.device) -> Denoiser:
    """The model of --against, on the same device: module:function, or the path of a checkpoint.

    Raises:
        UserError: neither.
    """
    if ":" in config.against and not Path(config.against).exists():
        return _eps(config, _from_function(config, config.against, "--against", x))
    return _from_checkpoint(config.against, x, device)


def _from_checkpoint(path: str, x: Tensor, device: torch.device) -> Denoiser:
    from itdiffusion.load import load_denoiser  # networks take a second to import

    return load_denoiser(path, tuple(x.shape[1:])).to(device)


def _eps(config: NllConfig, told: Denoise) -> Denoiser:
    """eps_hat(z, logsnr): the function itself, where it is that already."""
    return told.eps if config.told_otherwise else told.network


def _from_function(config: NllConfig, name: str, option: str, x: Tensor) -> Denoise:
    """A function of the user's, in the convention that the options tell."""
    function, called = load_function(name, option), f"{option} {name}"
    kind = "float64" if x.dtype == torch.float64 else "float32"  # grey levels are brought to float32
    expected = f"eps_hat(z, logsnr) of z (n, ...) and logsnr (n,), torch {kind}, of the shape of z"
    if config.told_otherwise:
        expected = f"{config.predicts} of x_t (n, ...) and the time (n,), torch {kind}, of the shape of x_t"

    def call(z: Tensor, told: Tensor) -> Tensor:
        return tensor_of(function, (z, told), called, expected)

    return Denoise(call, config.predicts, SCHEDULES[config.schedule](), config.time, config.sigma_data)


def _examples(name: str, config: NllConfig) -> Tensor:
    if name in TOYS:
        return make(name).sample(config.n or 1000, generator(config.seed, "draws"))
    if not name.endswith(".npy"):
        known = ", ".join([*NAMES, *TOYS])
        raise UserError(f"unknown data '{name}': give a .npy file (examples first) or one of {known}")
    x = read_array(Path(name))
    return x[:, None] if x.ndim == 1 else x
