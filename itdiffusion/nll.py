"""The NLL of one's own data under one's own denoiser, by integrating its denoising errors over the log-SNR.

`python -m itdiffusion.nll (--denoiser module:function | --checkpoint PATH) --data X.npy [--discrete-step D] [--json]`
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from common.arrays import load_function, read_array, tensor_of
from common.config import default_device, parse_options
from common.data import NAMES, load
from common.data.places import default_data_dir
from common.device import pick_device
from common.errors import UserError, run_main
from common.estimate import nats_to_bpd
from common.files import check_out
from common.immse import (
    Bins,
    Curve,
    Denoiser,
    GaussianReference,
    LogsnrRange,
    NllEstimate,
    continuous_nll,
    estimate_nll,
)
from common.seeds import generator
from common.toy import TOYS, make
from itdiffusion.atoms import refuse_atoms


@dataclass(frozen=True)
class NllConfig:
    """Options of `python -m itdiffusion.nll`."""

    denoiser: str = ""
    """module:function, called with z (n, ...) and logsnr (n,), torch float32, in the channel
    z = sqrt(s(logsnr)) x + sqrt(s(-logsnr)) eps; returns eps_hat like z."""
    checkpoint: str = ""
    """Instead of --denoiser: a run folder of this repository, IDDPM's .pt, or a Hugging Face DDPM folder."""
    data: str = ""
    """A .npy file, examples first, on the scale that the denoiser takes; or the name of a registered image set (its
    test split on [-1, 1]) or 2-D law (--n draws)."""
    reference: str = ""
    """A .npy file to fit the Gaussian reference to (the training data, say); default: --data itself, or the training
    split of a registered set."""
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
    """Move the ends of the range outward until what lies outside is negligible."""
    control_variate: bool = True
    """For a density: subtract the Gaussian's errors on the same noise; --no-control-variate: the published form."""
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


@dataclass(frozen=True)
class Problem:
    """Examples, what the Gaussian is fitted to, the grid of the values (None: a density) and a transform of blocks."""

    x: Tensor
    fit: Tensor
    bins: Bins | None
    transform: Callable[[Tensor], Tensor]


def main() -> None:
    """Print the NLL."""
    run_main(lambda: _report(parse_options(NllConfig, "python -m itdiffusion.nll")))


def nll_report(config: NllConfig) -> dict[str, Any]:
    """All that the command prints, as plain JSON values.

    Raises:
        UserError: options or data that do not fit.
    """
    _check(config)
    problem = _problem(config)
    denoiser, device = _denoiser(config, tuple(problem.x.shape[1:]))
    batches = (problem.transform(part) for part in problem.fit.split(4096))
    floor = problem.bins.step**2 / 12 if problem.bins else 0.0
    reference = GaussianReference.fit(batches, diagonal=config.diagonal, floor=floor)
    given = None
    if config.loc is not None and config.scale is not None:
        given = LogsnrRange(config.loc, config.scale, config.clip)
    elif config.clip != 4.0:
        given = LogsnrRange.from_spectrum(reference.spectrum, clip=config.clip)

    def transform(part: Tensor) -> Tensor:
        return problem.transform(part).to(device)

    spent = 0 if problem.bins else refuse_atoms(denoiser, problem.x, reference, config.seed, config.batch, transform)
    found = estimate_nll(
        denoiser, problem.x, reference, bins=problem.bins, dequantized=config.dequantized, points=config.points,
        integrator=config.integrator, logsnr_range=given, widen=config.widen, seed=config.seed, batch=config.batch,
        transform=transform, store=Path(config.store) if config.store else None,
    )  # fmt: skip
    nll = found["continuous" if problem.bins is None else "discrete"]
    if problem.bins is None and not config.control_variate:
        nll = continuous_nll(found.curve, control_variate=False)
    if not problem.bins and bool((problem.x == problem.x.round()).all()):
        sys.stderr.write("warning: all values are whole numbers, which have no density: give --discrete-step 1\n")
    return _as_json(nll, found.by_name.get("dequantized"), found.curve, found.evaluations + spent)


def _as_json(nll: NllEstimate, dequantized: NllEstimate | None, curve: Curve, evaluations: int) -> dict[str, Any]:
    gaussian, gaussian_se = curve.spread(-curve.log_normal["raw"])
    range_ = curve.grid.range
    out: dict[str, Any] = {"nll_nats": _record(nll, 1.0), "nll_bpd": _record(nll, nats_to_bpd(1.0, nll.d))}
    if dequantized is not None:
        out |= {
            "dequantized_nats": _record(dequantized, 1.0),
            "dequantized_bpd": _record(dequantized, nats_to_bpd(1.0, nll.d)),
        }
    return {
        **out,
        "reference_nats": {"value": float(gaussian), "se": float(gaussian_se)},
        "estimand": nll.estimand,
        "bias": f"{nll.bias} (unbiased for the optimal denoiser)",
        "bin_width": nll.bin_width,
        "n": nll.n,
        "d": nll.d,
        "evaluations": evaluations,
        "integrator": nll.integrator,
        "points": nll.points,
        "logsnr_low": range_.low,
        "logsnr_high": range_.high,
    }


def _record(nll: NllEstimate, unit: float) -> dict[str, float]:
    found = {"value": nll.value, "se": nll.se, "se_data": nll.se_data, "se_quadrature": nll.se_quadrature}
    found["tail"] = nll.tail_nats
    if nll.optimistic_nats is not None:
        found["optimistic"] = nll.optimistic_nats
    return {name: unit * item for name, item in found.items()}


def _check(config: NllConfig) -> None:
    if bool(config.denoiser) == bool(config.checkpoint):
        raise UserError("give either --denoiser module:function or --checkpoint PATH")
    if not config.data:
        raise UserError("--data is missing: give a .npy file (examples first) or the name of a data set")
    if (config.loc is None) != (config.scale is None):
        raise UserError("--loc and --scale go together: give both or none")
    if config.discrete_step < 0 or config.n < 0 or config.n == 1 or config.batch < 0:
        raise UserError("--discrete-step and --batch must be 0 or more, --n 0 or at least 2")
    if config.store:
        check_out(config.store, "--store", "CURVES.npy", [config.data, config.reference])
    pick_device(config.device or "cpu")


def _problem(config: NllConfig) -> Problem:
    if config.data in NAMES:
        images = load(config.data, "test", data_dir=config.data_dir)
        fit = load(config.data, "train", data_dir=config.data_dir).images
        if config.reference:
            raise UserError(f"--reference goes with a .npy file: for {config.data} it is the training split")
        x, top = images.images[: config.n or None], images.levels - 1
        return Problem(x, fit, Bins.of_levels(images.levels), lambda part: part.float() * (2 / top) - 1)
    x = _examples(config.data, config).float()
    fit = _examples(config.reference, config).float() if config.reference else x
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
    return Problem(x[: config.n or None], fit, bins, lambda part: part)


def _examples(name: str, config: NllConfig) -> Tensor:
    if name in TOYS:
        return make(name).sample(config.n or 1000, generator(config.seed, "draws"))
    if not name.endswith(".npy"):
        known = ", ".join([*NAMES, *TOYS])
        raise UserError(f"unknown data '{name}': give a .npy file (examples first) or one of {known}")
    x = read_array(Path(name))
    return x[:, None] if x.ndim == 1 else x


def _denoiser(config: NllConfig, shape: tuple[int, ...]) -> tuple[Denoiser, torch.device]:
    if config.checkpoint:
        from itdiffusion.load import load_denoiser

        device = pick_device(config.device or default_device())
        return load_denoiser(config.checkpoint, shape).to(device), device
    function, called = load_function(config.denoiser, "--denoiser"), f"--denoiser {config.denoiser}"
    expected = "eps_hat(z, logsnr) of z (n, ...) and logsnr (n,), torch float32, of the shape of z"
    return lambda z, logsnr: tensor_of(function, (z, logsnr), called, expected), pick_device(config.device or "cpu")


def _report(config: NllConfig) -> None:
    report = nll_report(config)
    tail, se = report["nll_nats"]["tail"], report["nll_nats"]["se"]
    if tail > max(se, 1e-3 * report["d"]):
        sys.stderr.write(
            f"warning: {tail:.3g} nats may lie outside the log-SNR range {report['logsnr_low']:.3g} to "
            f"{report['logsnr_high']:.3g}, more than the standard error\n"
        )
    if config.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, item in report.items():
        sys.stdout.write(f"{name:17} {_line(item)}\n")


def _line(item: Any) -> str:
    if not isinstance(item, dict):
        return f"{item:.6g}" if isinstance(item, float) else str(item)
    rest = ", ".join(f"{name} {value:.3g}" for name, value in item.items() if name not in ("value", "se"))
    return f"{item['value']:.6g} +- {item['se']:.2g}" + (f"  ({rest})" if rest else "")


if __name__ == "__main__":
    main()
