"""Options of `python -m itdiffusion.nll`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.config import default_device
from common.data.places import default_data_dir
from common.device import pick_device
from common.errors import UserError
from common.outputs import check_out


@dataclass(frozen=True)
class NllConfig:
    """Options of `python -m itdiffusion.nll`."""

    denoiser: str = ""
    """module:function, called with z (n, ...) and logsnr (n,), torch float32, in the channel
    z = sqrt(s(logsnr)) x + sqrt(s(-logsnr)) eps; returns eps_hat like z. float64 data that float32 would blur (far from
    0 beside its spread) stays float64, and so do z and logsnr."""
    checkpoint: str = ""
    """Instead of --denoiser: a run folder of this repository, IDDPM's .pt, or a Hugging Face DDPM folder."""
    data: str = ""
    """A .npy file, examples first, on the scale that the denoiser takes; or the name of a registered image set (its
    test split on [-1, 1]) or 2-D law (--n draws)."""
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
    def place(self) -> str:
        """Device of the tensors."""
        return self.device or (default_device() if self.checkpoint else "cpu")
