"""What the NLL command measures: options, examples, reference data, and the denoiser."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from infolab.arrays import check_out, load_function, read_array, tensor_of
from infolab.config import default_device
from infolab.data import NAMES, load
from infolab.data.places import default_data_dir
from infolab.denoise import TIMES, Denoiser
from infolab.device import pick_device
from infolab.errors import UserError, check_choice
from infolab.immse import Bins
from infolab.model_schedules import EDM, Cosine, RectifiedFlow
from infolab.noise import generator
from infolab.predictions import PREDICTS
from infolab.schedules import DDPM, VE, VP, Schedule
from infolab.toy import TOYS, make

# ----------
# Options of the command.

SCHEDULES: dict[str, Callable[[], Schedule | None]] = {
    "channel": lambda: None,
    "vp": VP,
    "ve": VE,
    "cosine": Cosine,
    "ddpm-linear": DDPM.linear,
    "ddpm-cosine": DDPM.cosine,
    "edm": EDM,
    "flow": RectifiedFlow,
    "flow-noise-first": lambda: RectifiedFlow(noise_first=True),
}
"""Schedules by name; None: the channel itself."""


@dataclass(frozen=True)
class NllConfig:
    """The negative log likelihood of your data under your denoiser, in nats and bits per dimension, with its errors."""

    denoiser: str = ""
    """module:function, called with z (n, ...) and logsnr (n,), torch float32, in the channel
    z = sqrt(s(logsnr)) x + sqrt(s(-logsnr)) eps; returns eps_hat like z. float64 data that float32 would blur (far from
    0 beside its spread) stays float64, and so do z and logsnr."""
    checkpoint: str = ""
    """Instead of --denoiser: a run folder of this repository, IDDPM's .pt, or a Hugging Face DDPM folder."""
    predicts: str = "eps"
    """What --denoiser returns: eps, x0, v, score (of x_t), flow (dx_t/dt), edm (D), edm-raw (F); -eps, -v, -flow."""
    schedule: str = "channel"
    """What --denoiser is called with: channel (z and its log-SNR, above), or x_t and the time of vp, ve, cosine,
    ddpm-linear, ddpm-cosine (steps), edm (sigma), flow (data at t = 0), flow-noise-first."""
    time: str = ""
    """What --denoiser is told instead of the schedule's own time: t, 1000t, sigma, log-sigma/4, logsnr, step."""
    sigma_data: float = 0.5
    """sigma_data of edm-raw."""
    data: str = ""
    """A .npy file, examples first, on the scale that the denoiser takes; or the name of a registered image set (its
    test split on [-1, 1]) or 2-D distribution (--n draws)."""
    reference: str = ""
    """A .npy file to fit the Gaussian reference to (the training data, say); default: --data itself, or the training
    split of a registered set."""
    estimator: Literal["i-mmse", "ode"] = "i-mmse"
    """i-mmse: the integral of denoising errors; ode: log p(x) along the probability-flow ODE (the function must be
    differentiable; discrete data is dequantised, which gives a bound)."""
    against: str = ""
    """A second denoiser, module:function or a checkpoint: the difference of the two NLLs on the same examples and
    noise, with its paired error (i-mmse)."""
    per_example: str = ""
    """A .npy file for the NLL of each example in nats, (n,) float64, in the order of the data."""
    discrete_step: float = 0.0
    """The step D of the grid that discrete data lies on: the estimand is then the mass -log P. 0: a density, which
    discrete data does not have (registered image sets have their own step)."""
    dequantized: bool = False
    """For discrete data: also the bound by uniform dequantisation (twice the evaluations)."""
    integrator: Literal["deterministic", "random", "rqmc"] = "deterministic"
    """Rule for the log-SNR integral: random is the published one."""
    points: int = 100
    """Log-SNR points; network evaluations are this times the examples, and some to find the range."""
    loc: float | None = None
    """Location of the log-SNR range loc -+ clip scale; default: from the spectrum of the reference."""
    scale: float | None = None
    """Scale of the log-SNR range; give both or none."""
    clip: float = 4.0
    """Cut of the log-SNR range in units of its scale."""
    widen: bool = True
    """Move the ends of the range outward until what lies outside is negligible, and by 4 more where the model is worse
    than the Gaussian, so that its own NLL is measured there."""
    control_variate: bool = True
    """For a density: subtract the Gaussian's errors on the same noise; --no-control-variate: the published form."""
    ode_tolerance: float = 1e-4
    """Absolute and relative tolerance of the ODE solver."""
    n: int = 0
    """Use the first n examples only (draws, where --data names a law: default 1,000); 0: all."""
    diagonal: bool = False
    """Variances only instead of the whole covariance, for huge dimensions."""
    store: str = ""
    """A .npy file for the error curve of each example, (n, kinds, points) float32."""
    batch: int = 0
    """Rows per network call; 0: about half a million numbers."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder of data sets that are not built in."""
    device: str = ""
    """Where the checkpoint's network computes (empty: the environment's DEVICE, else auto), or where the tensors lie
    that --denoiser is given (empty: cpu)."""
    seed: int = 0
    """Seed of noise, log-SNR points and draws from a law."""
    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def check(self) -> None:
        """Refuse options that do not go together, and files to write that are read, before anything is computed."""
        if bool(self.denoiser) == bool(self.checkpoint):
            raise UserError("give either --denoiser module:function or --checkpoint PATH")
        if not self.data:
            raise UserError("--data is missing: give a .npy file (examples first) or the name of a data set")
        if (self.loc is None) != (self.scale is None):
            raise UserError("--loc and --scale go together: give both or none")
        if self.discrete_step < 0 or self.n < 0 or self.n == 1 or self.batch < 0:
            raise UserError("--discrete-step and --batch must be 0 or more, --n 0 or at least 2")
        if not 0 < self.ode_tolerance < 1:
            raise UserError(f"--ode-tolerance must lie between 0 and 1, not {self.ode_tolerance:g}")
        check_choice("prediction", self.predicts, PREDICTS)
        check_choice("schedule", self.schedule, tuple(SCHEDULES))
        if self.time:
            check_choice("time", self.time, tuple(TIMES))
        if not self.sigma_data > 0:
            raise UserError(f"--sigma-data must be positive, not {self.sigma_data:g}")
        if self.checkpoint and self.told_otherwise:
            raise UserError("--predicts, --schedule and --time are for --denoiser: a checkpoint says them itself")
        if self.schedule == "channel" and self.predicts.endswith("flow"):
            raise UserError(f"--predicts {self.predicts} needs the --schedule whose velocity it is")
        for name in ("against", "store", "dequantized"):
            if self.estimator == "ode" and getattr(self, name):
                raise UserError(f"--{name} goes with --estimator i-mmse")
        if self.store and (self.against or self.per_example):
            raise UserError("--store goes without --against and --per-example: run the command twice")
        if self.per_example and not self.control_variate:
            raise UserError("--per-example goes without --no-control-variate")
        for name in ("store", "per_example"):
            if getattr(self, name):
                read = [self.data, self.reference, self.checkpoint, self.against]
                check_out(getattr(self, name), f"--{name.replace('_', '-')}", f"{name.upper()}.npy", read)
        pick_device(self.device or "cpu")

    @property
    def told_otherwise(self) -> bool:
        """Whether the function is anything else than eps_hat(z, logsnr)."""
        return (self.predicts, self.schedule, self.time) != ("eps", "channel", "")

    @property
    def place(self) -> str:
        """Device of the tensors."""
        return self.device or (default_device() if self.checkpoint else "cpu")


# ----------
# What `python -m itdiffusion.nll` measures: examples, the data of the Gaussian reference, and the denoiser.

BLUR = 1e-4
"""Share of a coordinate's standard deviation that rounding to float32 may add (it moves the NLL by less than that)."""


@dataclass(frozen=True)
class NllInputs:
    """Examples, what the Gaussian is fitted to, the grid of the values (None: a density) and a transform of blocks."""

    x: Tensor
    fit: Tensor
    bins: Bins | None
    transform: Callable[[Tensor], Tensor]


def nll_inputs_of(config: NllConfig) -> NllInputs:
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
        return NllInputs(x, fit, Bins.of_levels(images.levels), lambda part: part.float() * (2 / top) - 1)
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
    return NllInputs(x[: config.n or None], fit, bins, lambda part: part)


def _blurred(x: Tensor) -> bool:
    """Whether float32 would add more than `BLUR` of its standard deviation to some coordinate of examples (n, ...)."""
    flat = x.flatten(1)
    added = (flat.float().double() - flat).square().mean(0).sqrt()
    return bool((added > BLUR * flat.double().std(0)).any())


@dataclass(frozen=True)
class Model:
    """A model as told, and where its tensors lie."""

    denoiser: Denoiser
    device: torch.device


def model_of(config: NllConfig, x: Tensor) -> Model:
    """The model of --denoiser or --checkpoint for examples x (n, ...).

    Raises:
        UserError: there is no such function or checkpoint.
    """
    device = pick_device(config.place)
    if config.checkpoint:
        return Model(_from_checkpoint(config.checkpoint, x, device), device)
    return Model(_from_function(config, config.denoiser, "--denoiser", x), device)


def other_denoiser(config: NllConfig, x: Tensor, device: torch.device) -> Denoiser:
    """The model of --against, on the same device: module:function, or the path of a checkpoint.

    Raises:
        UserError: neither.
    """
    if ":" in config.against and not Path(config.against).exists():
        return _from_function(config, config.against, "--against", x)
    return _from_checkpoint(config.against, x, device)


def _from_checkpoint(path: str, x: Tensor, device: torch.device) -> Denoiser:
    from infolab.pretrained import load_denoiser  # networks take a second to import

    return load_denoiser(path, tuple(x.shape[1:])).to(device)


def _from_function(config: NllConfig, name: str, option: str, x: Tensor) -> Denoiser:
    """A function of the user's, in the convention that the options tell."""
    function, called = load_function(name, option), f"{option} {name}"
    kind = "float64" if x.dtype == torch.float64 else "float32"  # grey levels are brought to float32
    expected = f"eps_hat(z, logsnr) of z (n, ...) and logsnr (n,), torch {kind}, of the shape of z"
    if config.told_otherwise:
        expected = f"{config.predicts} of x_t (n, ...) and the time (n,), torch {kind}, of the shape of x_t"

    def call(z: Tensor, told: Tensor) -> Tensor:
        return tensor_of(function, (z, told), called, expected)

    return Denoiser(call, config.predicts, SCHEDULES[config.schedule](), config.time, config.sigma_data)


def _examples(name: str, config: NllConfig) -> Tensor:
    if name in TOYS:
        return make(name).sample(config.n or 1000, generator(config.seed, "draws"))
    if not name.endswith(".npy"):
        known = ", ".join([*NAMES, *TOYS])
        raise UserError(f"unknown data '{name}': give a .npy file (examples first) or one of {known}")
    x = read_array(Path(name))
    return x[:, None] if x.ndim == 1 else x
