"""From a denoiser and data to NLLs: in one call, in pieces that are kept, and as a training objective."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infolab.denoise import Denoiser, check_model
from infolab.errors import UserError
from infolab.immse.curve import Bins, Curve, empty_curve
from infolab.immse.grid import LogsnrGrid, LogsnrRange, make_grid
from infolab.immse.measure import kinds_of, measure_curve, rows_of_a_call, widen_range
from infolab.immse.nll import NllEstimate, continuous_nll, dequantized_nll, discrete_nll
from infolab.immse.reference import GaussianReference
from infolab.noise import blocks
from infolab.schedules import append_dims, logsnr_to_alpha_sigma
from infolab.storage import Keep, unkept

# ----------
# Curves and ranges in pieces: what is measured of the first examples is kept when the next ones are begun.

PIECE = 1 << 21
"""Numbers in the network's inputs from which on a piece is whole (and one block of examples at least)."""
TENSORS = ("sums", "log_normal", "products", "target_squares", "control_squares")


def measure_curve_in_pieces(
    keep: Keep,
    name: str,
    denoiser: Denoiser,
    x: Tensor,
    grid: LogsnrGrid,
    reference: GaussianReference,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    noise: str = "quasi",
    antithetic: bool = False,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
    first: int = 0,
) -> Curve:
    """`measure_curve`, bit by bit: each piece holds the curve of all examples up to its end.

    Args:
        keep: keeps the pieces.
        name: of this curve among the pieces.
        denoiser, x, grid, reference, bins, dequantized, noise, antithetic, seed, batch, transform, first: as in
            `measure_curve`.
    """
    curve = empty_curve(grid, reference, bins, kinds_of(bins, dequantized))

    def measure(start: int, stop: int, so_far: Curve) -> dict[str, Tensor]:
        return _tensors(
            measure_curve(
                denoiser, x[start:stop], grid, reference, bins=bins, dequantized=dequantized, noise=noise,
                antithetic=antithetic, seed=seed, batch=batch, transform=transform, first=first + start, so_far=so_far,
            )
        )  # fmt: skip

    ends = [block.stop for block in blocks(len(x), rows_of_a_call(batch, reference.d) // len(grid), first)]
    start = 0
    for stop in ends:
        if (stop - start) * len(grid) * reference.d >= PIECE or stop == len(x):
            # Both ends are in the name: with another --eval-batch the pieces end elsewhere.
            piece = f"{name}-{first + start:07d}-{first + stop:07d}"
            curve = _restored(curve, keep(piece, lambda: measure(start, stop, curve)))  # noqa: B023 (called at once)
            start = stop
    return curve


def widen_range_in_a_piece(
    keep: Keep,
    name: str,
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    start: LogsnrRange,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> LogsnrRange:
    """`widen_range`, kept as the piece `name`; the other arguments are its own."""

    def measure() -> dict[str, Tensor]:
        found = widen_range(
            denoiser, x, reference, start, bins=bins, dequantized=dequantized, seed=seed, batch=batch,
            transform=transform,
        )  # fmt: skip
        numbers = [found.loc, found.scale, found.clip, found.tail_nats, found.evaluations]
        return {"range": torch.tensor(numbers, dtype=torch.float64)}

    loc, scale, clip, tail_nats, evaluations = keep(name, measure)["range"].tolist()
    return LogsnrRange(loc, scale, clip, tail_nats, int(evaluations))


def _tensors(curve: Curve) -> dict[str, Tensor]:
    found = {f"{field}/{key}": item for field in TENSORS for key, item in getattr(curve, field).items()}
    return found | {"counts": curve.counts, "spent": torch.tensor([curve.n, curve.evaluations])}


def _restored(like: Curve, kept: dict[str, Tensor]) -> Curve:
    """The curve that `_tensors` took apart, of the same grid, reference and kinds as `like`."""
    fields: dict[str, dict[str, Tensor]] = {field: {} for field in TENSORS}
    for name, item in kept.items():
        field, _, key = name.partition("/")
        if key:
            fields[field][key] = item
    n, evaluations = kept["spent"].tolist()
    return replace(like, n=n, evaluations=evaluations, counts=kept["counts"], **fields)  # type: ignore[arg-type]


# ----------
# From a denoiser and data to NLLs in one call: range, points, curve, estimates.


@dataclass(frozen=True)
class Nlls:
    """Estimates by name ("continuous", or "discrete" and "dequantized"), their curve, and all evaluations spent."""

    by_name: dict[str, NllEstimate]
    curve: Curve
    evaluations: int

    def __getitem__(self, name: str) -> NllEstimate:
        return self.by_name[name]


def estimate_nll(
    denoiser: Denoiser,
    x: Tensor,
    reference: GaussianReference,
    *,
    bins: Bins | None = None,
    dequantized: bool = False,
    points: int = 100,
    integrator: str = "deterministic",
    logsnr_range: LogsnrRange | None = None,
    widen: bool = True,
    noise: str = "quasi",
    seed: int = 0,
    batch: int = 0,
    transform: Callable[[Tensor], Tensor] | None = None,
    store: Path | None = None,
    keep: Keep = unkept,
) -> Nlls:
    """NLL of data under a denoiser: a density without bins, else a mass ("discrete", and "dequantized" if wanted).

    Args:
        denoiser, x, reference, bins, dequantized, noise, seed, batch, transform, store: as in `measure_curve`.
        points: log-SNR points.
        integrator: deterministic, random or rqmc.
        logsnr_range: None: the range of the reference's spectrum.
        widen: move its ends until the tails are negligible, see `widen_range`.
        keep: keeps range and curve piece by piece (without `store`).

    Raises:
        UserError: no `Denoiser`, no tensor, or data that the estimand does not fit.
    """
    check_model(denoiser)
    if not isinstance(x, Tensor):
        raise UserError(f"x: expected a torch tensor of examples (n, ...), not {type(x).__name__}")
    if bins is None:
        reference.require_density()
    chosen = logsnr_range or LogsnrRange.from_spectrum(reference.spectrum)
    shared: dict[str, Any] = {
        "bins": bins,
        "dequantized": dequantized,
        "seed": seed,
        "batch": batch,
        "transform": transform,
    }
    if widen:
        chosen = widen_range_in_a_piece(keep, "range", denoiser, x, reference, chosen, **shared)
    grid = make_grid(chosen, points, integrator, seed)
    if store:
        curve = measure_curve(denoiser, x, grid, reference, noise=noise, store=store, **shared)
    else:
        curve = measure_curve_in_pieces(keep, "curve", denoiser, x, grid, reference, noise=noise, **shared)
    spent = curve.evaluations + chosen.evaluations
    if bins is None:
        return Nlls({"continuous": continuous_nll(curve)}, curve, spent)
    found = {"discrete": discrete_nll(curve)}
    if dequantized:
        found["dequantized"] = dequantized_nll(curve)
    return Nlls(found, curve, spent)


# ----------
# Training on the NLL itself: the importance-weighted denoising error and what turns it into nats.


def nll_loss(
    denoiser: Denoiser, x: Tensor, generator: torch.Generator, logsnr_range: LogsnrRange, *, stratified: bool = True
) -> Tensor:
    """1/2 weight |eps - eps_hat|^2 of one log-SNR per example, (n,), differentiable in the denoiser's parameters.

    Its mean is an unbiased estimate of 1/2 Int E|eps - eps_hat|^2 da over the range; with `nll_offset` added it is the
    NLL in nats (Kong et al. 2023, eq. 9 and app. B).

    Args:
        denoiser: the model in training.
        x: examples (n, ...).
        generator: source of log-SNRs and noise, on the CPU.
        logsnr_range: logistic distribution of the log-SNR.
        stratified: one log-SNR in each n-th of the distribution, in random order, rather than independent ones.
    """
    n = len(x)
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    if stratified:
        u = (torch.randperm(n, generator=generator) + u) / n
    logsnr, weight = logsnr_range.sample(u)
    eps = torch.randn(x.shape, generator=generator).to(x)
    alpha, sigma = (append_dims(v.to(x), x) for v in logsnr_to_alpha_sigma(logsnr))
    eps_hat = denoiser.eps(alpha * x + sigma * eps, logsnr.to(x))
    return 0.5 * weight.to(x) * (eps - eps_hat).square().flatten(1).sum(1)


def nll_offset(reference: GaussianReference, logsnr_range: LogsnrRange) -> float:
    """h_G - 1/2 Int mmse_G(a) da over the range: what the mean of `nll_loss` lacks to be the NLL in nats."""
    return reference.entropy_nats - reference.mmse_integral(logsnr_range.low, logsnr_range.high) / 2
