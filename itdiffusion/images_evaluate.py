"""Evaluation of one image run: MSE curves of all members, every NLL from them, baselines, samples."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infolab import distributed
from infolab.baselines import VARIANCE_FLOOR, fit_categorical_mixture, fit_gaussian_levels, per_pixel_histogram_bpd
from infolab.data import ImageSet
from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.estimate import Estimate, nats_to_bpd
from infolab.immse import (
    Bins,
    Curve,
    GaussianReference,
    LogsnrGrid,
    LogsnrRange,
    NllEstimate,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    ensemble_nll,
    make_grid,
    measure_curve_in_pieces,
    merge,
    widen_range_in_a_piece,
)
from infolab.noise import generator
from infolab.pretrained import PretrainedDenoiser
from infolab.sample import StepNoise, reverse_sde, walk_in_pieces
from infolab.schedules import DDPM, LogsnrLine, append_dims, logsnr_to_alpha_sigma
from infolab.storage import Keep, under, unkept
from infolab.variational import NOISE_BLOCK, BoundTerms, VariationalBound
from itdiffusion.images_model import ImagesConfig, step_of, to_unit
from itdiffusion.images_train import Members
from itdiffusion.tables import ImageBaseline

# ----------
# Estimates and curves of an image run as rows of the tables `itdiffusion/nll` and `itdiffusion/mse_curve`.

DATA_SCALE = "[-1, 1]"


def nll_row(estimator: str, estimate: NllEstimate, settings: dict[str, Any]) -> dict[str, Any]:
    """One row of `itdiffusion/nll`, as plain values.

    Args:
        estimator: discrete, dequantized, continuous or ensemble.
        estimate: the NLL.
        settings: dataset, model, seed, epoch.
    """
    own = ("bin_width", "rounding", "integrator", "points", "loc", "scale", "clip", "tail_nats", "optimistic_nats")
    return {
        **_shared(estimator, estimate, settings),
        **{name: getattr(estimate, name) for name in (*own, "gaussian_nats")},
    }


def variational_row(estimate: Estimate, steps: int, bin_width: float, settings: dict[str, Any]) -> dict[str, Any]:
    """One row of `itdiffusion/nll` from the discrete-time variational bound; `points` are its evaluated steps."""
    return {
        **_shared("variational", estimate, settings),
        "bin_width": bin_width,
        "rounding": "none",
        "integrator": None,
        "points": steps,
    }


def curve_rows(curve: Curve, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `itdiffusion/mse_curve` of one curve, as plain values."""
    grid = curve.grid
    columns = {
        "mse": curve.mean("raw"),
        "mse_se": curve.se("raw"),
        "mse_gaussian": curve.reference.mmse_eps(grid.logsnr),
    }
    for kind in set(curve.kinds) - {"raw"}:
        columns[f"mse_{kind}"] = curve.mean(kind)
    shared = {
        **settings,
        "d": curve.d,
        "n": curve.n,
        "data_scale": DATA_SCALE,
        "bin_width": curve.bins.step if curve.bins else 0.0,
        "integrator": grid.integrator,
        "loc": grid.range.loc,
        "scale": grid.range.scale,
        "clip": grid.range.clip,
    }
    return [
        {**shared, "logsnr": float(logsnr), **{name: float(values[j]) for name, values in columns.items()}}
        for j, logsnr in enumerate(grid.logsnr)
    ]


def _shared(estimator: str, estimate: Estimate, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        **settings,
        "d": estimate.d,
        "n": estimate.n,
        "data_scale": DATA_SCALE,
        "estimator": estimator,
        "nll_nats": estimate.value,
        "nll_bpd": nats_to_bpd(estimate.value, estimate.d),
        "se_data_nats": estimate.se_data,
        "se_quadrature_nats": estimate.se_quadrature,
        "se_bpd": nats_to_bpd(estimate.se, estimate.d),
        "evaluations": estimate.evaluations,
    }


# ----------
# Pictures of an image run: samples of each member by the reverse process, beside training images.

LOWEST = -8.0  # log-SNR at which the reverse process starts from N(0, I), or the training range's end where lower


def pictures(
    config: ImagesConfig, members: Members, train: ImageSet, law: LogsnrRange, keep: Keep = unkept
) -> dict[str, np.ndarray]:
    """Arrays for the figure: `samples_0`, ... and their names, training images, all uint8 (n, h, w[, 3]).

    `keep` keeps the samples on their way, piece by piece.
    """
    if not config.samples:
        return {}
    found = {
        "train": _grid(train.images[torch.linspace(0, len(train) - 1, config.samples).round().long()]),
        "levels": np.array(train.levels),
        "seed": np.array(config.seed),
        "names": np.array(members.names()),
    }
    for index, (key, member) in enumerate(members.items()):
        x = draw(config, member, train, law, under(keep, key))
        pixels = ((x.clamp(-1, 1) + 1) * (train.levels - 1) / 2).round().to(torch.uint8)
        found[f"samples_{index}"] = _grid(pixels)
    return found


@torch.no_grad()
def draw(config: ImagesConfig, member: Denoiser, train: ImageSet, law: LogsnrRange, keep: Keep = unkept) -> Tensor:
    """Images in [-1, 1] by the reverse SDE on a line of log-SNRs, the last step being the denoiser's x_hat."""
    shape, device = (config.samples, *train.shape), train.images.device
    line = LogsnrLine(law.high, min(LOWEST, law.low))
    start = torch.randn(shape, generator=generator(config.seed, "prior")).to(device)
    noise = StepNoise([config.seed], "sampler", shape, device)

    def walk(z: Tensor, part: range) -> dict[str, Tensor]:
        steps = config.sample_steps
        return {"x": reverse_sde(member, line, z, 1.0, steps, lambda step: noise(step)[0], part=part)}

    z = start
    for kept in walk_in_pieces(keep, "samples", start, config.sample_steps, walk):
        z = kept["x"].to(start)
    last = torch.full((len(z),), line.high, device=device)
    alpha, sigma = (append_dims(part, z) for part in logsnr_to_alpha_sigma(last))
    return (z - sigma * member.eps(z, last)) / alpha


def _grid(pixels: Tensor) -> np.ndarray:
    return pixels.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()


# ----------
# The variational columns of an image run: the discrete-time bound of a mass and of a density, member by member.


def variational_rows(
    config: ImagesConfig, member: Denoiser, test: ImageSet, settings: dict[str, Any], keep: Keep = unkept
) -> list[dict[str, Any]]:
    """Rows of `itdiffusion/nll`: the bound of the grey levels' mass, then that of the density of [-1, 1] images.

    A pre-trained network is taken on its own schedule, at whole steps and with its own variance; one that was trained
    on continuous log-SNR on DDPM's linear schedule of 1,000 steps with the variance beta. Started by torchrun, each
    process takes whole blocks of the images. `keep` keeps what is measured piece by piece.
    """
    if isinstance(member, PretrainedDenoiser):
        schedule, variance = member.schedule, member.variance
    else:
        schedule, variance = DDPM.linear(), "large"
    mass = VariationalBound(schedule, variance, levels=test.levels)
    density = VariationalBound(schedule, variance)
    steps = max(0, config.variational_steps)
    first, stop = _blocks_of_mine(len(test))
    x = to_unit(test.images[first:stop], test.levels)
    parts: list[tuple[BoundTerms, torch.Tensor]] = []
    if len(x):
        drawn = {"seed": config.seed, "batch": config.eval_batch, "first": first}
        terms = mass.terms(member, x, steps=steps, keep=keep, **drawn)
        narrow = keep("density", lambda: {"values": density.reconstruction(member, x, **drawn)})
        parts.append((terms, narrow["values"]))
    whole = [part for found in distributed.gather(parts) for part in found]
    of_mass = _joined([terms for terms, _ in whole])
    of_density = BoundTerms(
        of_mass.prior,
        of_mass.transitions,
        torch.cat([narrow for _, narrow in whole]),
        of_mass.se_steps,
        of_mass.evaluations,
    )
    evaluated = min(steps, schedule.steps - 1) or schedule.steps - 1
    return [
        variational_row(mass.estimate(of_mass, test.d), evaluated + 1, step_of(test.levels), settings),
        variational_row(density.estimate(of_density, test.d), evaluated + 1, 0.0, settings),
    ]


def _blocks_of_mine(n: int) -> tuple[int, int]:
    """This process's images: whole blocks of noise, so that what an image gets does not depend on who measures it."""
    blocks = -(-n // NOISE_BLOCK)
    rank, size = distributed.rank(), distributed.world_size()
    return min(n, rank * blocks // size * NOISE_BLOCK), min(n, (rank + 1) * blocks // size * NOISE_BLOCK)


def _joined(parts: list[BoundTerms]) -> BoundTerms:
    """The terms of all images; the processes share their steps, so the error of leaving some out does not average."""
    n = sum(len(part.prior) for part in parts)
    return BoundTerms(
        prior=torch.cat([part.prior.cpu() for part in parts]),
        transitions=torch.cat([part.transitions.cpu() for part in parts]),
        reconstruction=torch.cat([part.reconstruction.cpu() for part in parts]),
        se_steps=sum(part.se_steps * len(part.prior) for part in parts) / n,
        evaluations=sum(part.evaluations for part in parts),
    )


# ----------
# What an image run is compared with, fitted to its training set: uniform, histogram, Gaussian, categorical mixture.

COMPONENTS = 50
SMOOTHING = 0.3
"""Counts added to every level in the mixture. Of 0.02, 0.05, 0.1, 0.3 and 1 it gives the digits' test set the fewest
bits, so that the choice favours the baseline."""
MOST_NUMBERS = 4_000_000


def baselines(config: ImagesConfig, train: ImageSet, test: ImageSet) -> list[ImageBaseline]:
    """Bits per dimension of the test images under each; of the mixture only where its tables stay small."""
    a, b, Q = train.images.cpu(), test.images.cpu(), train.levels
    gaussian = f"gaussian[floor={VARIANCE_FLOOR:.4f}]"
    found = {
        "uniform": (math.log2(Q), 0.0),
        "histogram": per_pixel_histogram_bpd(a, b, Q),
        gaussian: fit_gaussian_levels(a, Q).bpd(b),
    }
    if train.d * Q * COMPONENTS <= MOST_NUMBERS and len(train) >= COMPONENTS:
        mixture = fit_categorical_mixture(a, Q, COMPONENTS, smoothing=SMOOTHING, seed=config.seed)
        found[f"mixture[{COMPONENTS},smoothing={SMOOTHING}]"] = mixture.bpd(b)
    return [
        ImageBaseline(
            dataset=config.dataset, model=name, seed=config.seed, d=train.d, n=len(test), levels=Q,
            nll_bpd=bpd, nll_bpd_se=se,
        )
        for name, (bpd, se) in found.items()
    ]  # fmt: skip


# ----------
# Evaluation of one image run: MSE curves of all members on shared data and noise, and every NLL from them.

ROUNDINGS = ("best", "raw", "hard", "soft")


class ImagesEvaluation:
    """Measures the members of one image run on its test images, all on the same data, noise and log-SNR points.

    Started by torchrun, each process measures a part of the test images; all return the same rows.

    Args:
        config: the run's settings.
        test: the test images, on the device.
        reference: Gaussian of the training images, floored at D^2/12.
        law: range of log-SNR in training.

    Raises:
        UserError: the continuous NLL is asked for, of images that are constant in some direction.
    """

    def __init__(self, config: ImagesConfig, test: ImageSet, reference: GaussianReference, law: LogsnrRange):
        self.config, self.test, self.reference, self.law = config, test, reference, law
        self.bins = Bins.of_levels(test.levels)
        zeros = int((reference.eigenvalues <= 0).sum())
        if config.continuous and zeros:
            raise UserError(
                f"{zeros} of {reference.d} directions of {config.dataset} are constant, so it has no continuous NLL: "
                "give --no-continuous"
            )

    def rows(self, members: Members, epoch: int, points: int, last: bool, keep: Keep = unkept) -> list[dict[str, Any]]:
        """One record for each member and one for the ensemble: bits per dimension, and rows under `nll` and `curve`.

        The last evaluation adds the variational bound. `keep` keeps what is measured of these members piece by piece.
        """
        grid = self._grid(members, points, self.config.integrator if last else "deterministic", keep)
        masses = [self._curve(member, grid, self.bins, under(keep, key)) for key, member in members.items()]
        densities = [
            self._curve(member, grid, None, under(keep, key))
            for key, member in members.items()
            if self.config.continuous
        ]
        records = []
        for index, (name, mass) in enumerate(zip(members.names(), masses, strict=True)):
            found = [("discrete", discrete_nll(mass, how)) for how in ROUNDINGS]
            found.append(("dequantized", dequantized_nll(mass, gaussian_member=True)))
            if densities:
                found.append(("continuous", continuous_nll(densities[index])))
            records.append(self._record(name, epoch, found, [mass, *densities[index : index + 1]]))
        if len(members) > 1:
            found = [("ensemble", ensemble_nll(masses, kind)) for kind in ("discrete", "dequantized")]
            if densities:
                found.append(("ensemble", ensemble_nll(densities, "continuous")))
            records.append(self._record(f"ensemble[{' + '.join(members.names())}]", epoch, found, []))
        if last and self.config.variational_steps:
            for record, name, (key, member) in zip(records, members.names(), members.items(), strict=False):
                settings, below = self._settings(name, epoch), under(keep, f"{key}-variational")
                record["nll"] += variational_rows(self.config, member, self.test, settings, below)
        return records

    def _curve(self, member: Denoiser, grid: LogsnrGrid, bins: Bins | None, keep: Keep) -> Curve:
        """The member's curve over all test images, merged from the processes' parts; of a density without bins."""
        n, size, rank = len(self.test), distributed.world_size(), distributed.rank()
        first, stop = rank * n // size, (rank + 1) * n // size
        part = measure_curve_in_pieces(
            keep, "mass" if bins else "density", member, self.test.images[first:stop], grid, self.reference, bins=bins,
            dequantized=bins is not None, seed=self.config.seed, batch=self.config.eval_batch, transform=self._scaled,
            first=first,
        )  # fmt: skip
        return merge(distributed.gather(part)) if size > 1 else part

    def _grid(self, members: Members, points: int, integrator: str, keep: Keep) -> LogsnrGrid:
        """Log-SNR points for all members: the training range, each end moved out while a member has more to gain."""
        found = self.law
        for key, member in members.items() if self.config.widen else ():
            found = widen_range_in_a_piece(
                keep, f"{key}-range", member, self.test.images, self.reference, found, bins=self.bins,
                dequantized=True, seed=self.config.seed, batch=self.config.eval_batch, transform=self._scaled,
            )  # fmt: skip
        grid = make_grid(found, points, integrator, self.config.seed)
        return distributed.gather(grid)[0]  # roundings may differ between devices

    def _scaled(self, pixels: Tensor) -> Tensor:
        return to_unit(pixels, self.test.levels)

    def _record(
        self, name: str, epoch: int, found: list[tuple[str, NllEstimate]], curves: list[Curve]
    ) -> dict[str, Any]:
        settings = self._settings(name, epoch)
        by_kind = {
            "discrete_bpd": next(one for _, one in found if one.rounding == "best"),
            "dequantized_bpd": next(one for _, one in found if one.rounding == "none" and one.bin_width),
        }
        return {
            "epoch": epoch,
            **{kind: one.bpd for kind, one in by_kind.items()},
            "nll": [nll_row(kind, one, settings) for kind, one in found],
            "curve": [row for curve in curves for row in curve_rows(curve, settings)],
        }

    def _settings(self, name: str, epoch: int) -> dict[str, Any]:
        return {"dataset": self.config.dataset, "model": name, "seed": self.config.seed, "epoch": epoch}
