"""What is measured of the VAEs: loss and its parts, mutual information, the bounds, log p(x) of every image."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infolab.device import on_cpu, set_arithmetic, to_double
from infolab.errors import RunFailedError
from infolab.estimate import mean_and_se
from infolab.noise import derive, generator
from infolab.runs import Run
from infolab.storage import Pieces
from vae.config import VAEConfig
from vae.images import Inputs
from vae.logpx import (
    NOISE_BLOCK,
    FullCovariance,
    LogPx,
    Points,
    Proposal,
    encoder_proposal,
    importance_log_px,
    make_log_likelihood,
)
from vae.models import VAE, build_decoder
from vae.objective import Member, VAEWithGhostDecoder
from vae.tables import Bounds, Curves

# ----------
# Generalization bounds of a VAE (Chen, Zhu, Shkurti 2025, section 5), term by term, per example and in nats.


@dataclass(frozen=True)
class Terms:
    """Reconstruction, KL and their sum of one network on one split: means over images, standard errors, nats."""

    rec: float
    rec_se: float
    kl: float
    kl_se: float
    loss_se: float

    @staticmethod
    def of(row: Curves) -> "Terms":
        """The terms of a row of vae/curves."""
        return Terms(row.rec_nats, row.rec_se, row.kl_nats, row.kl_se, row.loss_se)

    def bound(self, factor: float) -> tuple[float, float]:
        """REC + factor sqrt(KL) and its standard error, to first order.

        The slope is c = factor / (2 sqrt(KL)), and images that are hard to reconstruct have long codes too: with the
        covariance that the error of REC + KL implies, se^2 = se_REC^2 + c^2 se_KL^2 + c (se_loss^2 - se_REC^2 -
        se_KL^2).
        """
        root = math.sqrt(self.kl)
        slope = factor / (2 * root) if root else 0.0
        twice_covariance = self.loss_se**2 - self.rec_se**2 - self.kl_se**2
        variance = self.rec_se**2 + (slope * self.kl_se) ** 2 + slope * twice_covariance
        return self.rec + factor * root, math.sqrt(max(variance, 0.0))


def ours(train: Terms, mi: float, mi_se: float, m: int) -> tuple[float, float]:
    """REC + 2 sqrt(KL) + 2 sqrt(MI / m) on the training images, and its standard error.

    A mutual information that is estimated below 0 counts as 0.

    >>> ours(Terms(80.0, 0.1, 25.0, 0.0, 0.1), mi=600.0, mi_se=0.0, m=60_000)
    (90.2, 0.1)
    """
    value, se = train.bound(2.0)
    if mi <= 0:
        return value, se
    term = 2 * math.sqrt(mi / m)
    return value + term, math.hypot(se, 0.5 * term * mi_se / mi)


def previous(train: Terms) -> tuple[float, float]:
    """REC + sqrt(KL) on the training images, and its standard error."""
    return train.bound(1.0)


def bound_row(train: Curves, test: Curves, mi: float, mi_se: float, mi_estimator: str) -> Bounds:
    """The row of vae/bounds of one network at one epoch.

    Args:
        train: its row of vae/curves on its training images.
        test: that on the images that it has not seen.
        mi: MI, nats.
        mi_se: its standard error.
        mi_estimator: untrained-decoder, ghost or held-out.
    """
    names = ("ours", "previous", "test")
    pairs = (ours(Terms.of(train), mi, mi_se, train.m), previous(Terms.of(train)), previous(Terms.of(test)))
    values: dict[str, Any] = {}
    for name, (value, se) in zip(names, pairs, strict=True):
        values |= {f"{name}_nats": value, f"{name}_se": se}
    return Bounds(
        dataset=train.dataset, model=train.model, seed=train.seed, mode=train.mode, lr=train.lr, epoch=train.epoch,
        m=train.m, mi_estimator=mi_estimator, mi_nats=mi, mi_se=mi_se, **values,
    )  # fmt: skip


def bound_rows(curves: list[Curves]) -> list[Bounds]:
    """The bounds of one network at every epoch at which `curves` has a mutual information on the training images."""
    by_place = {(row.epoch, row.split): row for row in curves}
    rows = []
    for (epoch, split), train in by_place.items():
        if split == "train" and train.mi_nats is not None and train.mi_se is not None:
            rows.append(bound_row(train, by_place[epoch, "test"], train.mi_nats, train.mi_se, train.mi_estimator))
    return rows


# ----------
# log p(x) of every image under every network of a run, in pieces that survive an interruption.

PIECE = 2048
"""Images after which what is measured is kept on disk."""
MEASURE_BLOCK = 64
"""Images whose points are drawn at a time, a multiple of the block in which noise is drawn."""


class MeasuredBeforeError(RunFailedError):
    """What was measured at weights that are gone is not there any more: only training again can bring it back."""


class LogPxMeasurement:
    """Importance-weighted log p(x) of the run's images, at every epoch that asks for it.

    The measurement of a large set takes minutes: it is kept in the run's folder piece by piece, so that an interrupted
    run goes on inside it.
    """

    def __init__(self, run: Run, config: VAEConfig, train: Inputs, test: Inputs, members: Sequence[Member]):
        self.run, self.config, self.members = run, config, list(members)
        self.pieces = Pieces(run.folder, "log p(x)")  # an epoch's weights follow from the config
        self.rows = choose_rows(config, len(train))
        self.sets = {"train": train.take(self.rows)}
        if config.mode != "cv":
            self.sets["test"] = test
        self.all_train = train

    def measure(self, vae: VAE, epoch: int) -> list[dict[str, LogPx]]:
        """log p(x) by network and set; what earlier processes have measured of this epoch is read from the folder.

        Raises:
            InterruptedRunError: a signal or the time limit came; what was measured so far is kept.
        """
        found: list[dict[str, LogPx]] = []
        for place in range(len(self.members)):
            # Made where it is asked for: an interrupted run seldom needs it again for every network.
            proposal = functools.cache(lambda place=place: self._proposal(vae, place, epoch))
            found.append({})
            for split, inputs in self.sets.items():
                for first in range(0, len(inputs), PIECE):
                    self.pieces(
                        _name(epoch, place, split, first),
                        lambda: {"logpx": self._piece(vae, place, proposal(), inputs, first)},  # noqa: B023 (called at once)
                    )
                value, elbo, ess = self._kept(epoch, place, split)
                found[place][split] = LogPx(value, elbo, ess, self.config.n_z)
        return found

    def arrays(self, epochs: Sequence[int]) -> dict[str, np.ndarray]:
        """log p(x) and effective sample sizes, float32 (k, E, n), with the epochs, folds and images of their axes."""
        kept: dict[str, np.ndarray] = {
            "epochs": np.array(epochs),
            "folds": np.array([member.fold for member in self.members]),
        }
        for split, inputs in self.sets.items():
            stacked = np.stack(
                [
                    torch.stack([self._kept(epoch, place, split) for epoch in epochs]).numpy()
                    for place in range(len(self.members))
                ]
            )
            kept[f"{split}_logpx"] = stacked[:, :, 0].astype(np.float32)
            kept[f"{split}_ess"] = stacked[:, :, 2].astype(np.float32)
            kept[f"{split}_index"] = inputs.index.numpy()
            kept[f"{split}_label"] = inputs.labels.numpy()
        return kept

    def _piece(self, vae: VAE, place: int, proposal: Proposal, inputs: Inputs, first: int) -> Tensor:
        # The networks of one repeat share their noise: what they differ by is then what they have learned.
        stream: tuple[Any, ...] = (inputs.split, self.config.repeat)
        points = Points(self.config.points, self.config.n_z, self.config.latent, self.config.seed, stream)
        found = log_px_of(vae, place, proposal, inputs, points, first, min(first + PIECE, len(inputs)))
        return torch.stack([found.value, found.elbo, found.ess])

    def _proposal(self, vae: VAE, place: int, epoch: int) -> Proposal:
        if self.config.proposal == "encoder":
            return encoder_proposal(vae, place)
        member = self.members[place]
        second = FullCovariance(vae, place, derive(member.seed, "second encoder", epoch))
        with torch.enable_grad():
            second.train(self.all_train, member.rows, self.config.proposal_epochs)
        return second

    def _kept(self, epoch: int, place: int, split: str) -> Tensor:
        """What is kept of an epoch, float64 (3, n): value, elbo, ess."""
        firsts = range(0, len(self.sets[split]), PIECE)
        pieces = [self.pieces.read(_name(epoch, place, split, first)) for first in firsts]
        if any(piece is None for piece in pieces):
            raise MeasuredBeforeError(
                f"log p(x) of epoch {epoch}, measured before, is missing or damaged in '{self.pieces.folder}', and the "
                "weights of that epoch are gone"
            )
        return torch.cat([piece["logpx"] for piece in pieces if piece is not None], dim=1)


def _name(epoch: int, place: int, split: str, first: int) -> str:
    return f"logpx-{epoch:05d}-{place:03d}-{split}-{first:07d}"


def log_px_of(vae: VAE, place: int, proposal: Proposal, inputs: Inputs, points: Points, first: int, last: int) -> LogPx:
    """log p(x) of images first .. last - 1 under one network; a lower bound of the pixels' mass for Gaussian models.

    Args:
        vae: the networks.
        place: which of them.
        proposal: q(z | x).
        inputs: the images.
        points: noise of the proposal.
        first: first image, a multiple of 16.
        last: one past the last image.
    """
    log_likelihood = make_log_likelihood(vae, place)
    parts = []
    for start in range(first, last, MEASURE_BLOCK):
        x = inputs.evaluation(start, min(start + MEASURE_BLOCK, last))
        part = importance_log_px(x, proposal(x), points(start, len(x)).to(x), log_likelihood)
        mass = vae.likelihood.log_det_correction(x[None])
        extra = to_double(mass[0]) if isinstance(mass, Tensor) else 0.0
        parts.append(LogPx((part.value + extra).cpu(), (part.elbo + extra).cpu(), part.ess.cpu(), part.n_z))
    return LogPx.join(parts)


def choose_rows(config: VAEConfig, n: int) -> Tensor:
    """Rows of the training images whose log p(x) is measured: all, or a fixed subset of --logpx-images, sorted."""
    count = config.logpx_images
    if count == 0 or count >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(config.seed, "logpx", "subset"))[:count].sort().values


# ----------
# What is measured of the VAEs after some epochs: loss, KL, reconstruction, the mutual-information terms, log p(x).

BLOCK = 512
"""Images that go through the networks at a time, a multiple of the block in which noise is drawn."""
assert BLOCK % NOISE_BLOCK == 0


class Evaluation:
    """Rows of vae/curves of the networks of one run.

    Args:
        run: the run; log p(x) of single images is kept in its folder.
        train: the training images.
        test: the test images.
        members: the networks, in the order of the batch.
    """

    def __init__(self, run: Run, config: VAEConfig, train: Inputs, test: Inputs, members: Sequence[Member]):
        self.config, self.train, self.test, self.members = config, train, test, list(members)
        self.log_px = LogPxMeasurement(run, config, train, test, self.members)
        self.untrained = None
        if config.mode == "full":
            seeds = [derive(member.seed, "untrained") for member in self.members]
            self.untrained = build_decoder(config, seeds, train.shape).to(train.pixels.device)
            set_arithmetic(self.untrained, config)

    @torch.no_grad()
    def rows(self, trained: VAEWithGhostDecoder, epoch: int) -> list[Curves]:
        """The rows after `epoch` epochs: one for each network and split."""
        trained.eval()
        second = trained.ghost if self.config.mode == "ghost" else self.untrained
        terms = {"train": self._terms(trained, self.train, second)}
        if self.config.mode != "cv":
            terms["test"] = self._terms(trained, self.test, None)
        due = self.config.logpx_every and epoch % self.config.logpx_every == 0
        found = self.log_px.measure(trained.vae, epoch) if due else []
        rows = []
        for place, member in enumerate(self.members):
            for split in ("train", "test"):
                chosen, source = self._rows_of(member, split)
                part = {name: values[place][chosen] for name, values in terms[source].items()}
                row = {**self._settings(member, epoch, split), **self._elbo_columns(part)}
                if due:
                    row |= self._log_px_columns(found[place][source], member, split)
                rows.append(Curves(**row))
        trained.train()
        return rows

    def _rows_of(self, member: Member, split: str) -> tuple[Tensor, str]:
        """Rows of the images of `split`, and of which set they are."""
        if split == "train":
            return member.rows, "train"
        if member.held_out is not None:
            return member.held_out, "train"
        return torch.arange(len(self.test)), "test"

    def _terms(self, trained: VAEWithGhostDecoder, inputs: Inputs, second: nn.Module | None) -> dict[str, Tensor]:
        """KL, reconstruction and (with a second decoder) its difference to the first one's, of each image, (k, n)."""
        points = Points("random", 1, self.config.latent, self.config.seed, ("elbo", inputs.split))
        vae, k = trained.vae, len(self.members)
        parts: dict[str, list[Tensor]] = {}
        for first in range(0, len(inputs), BLOCK):
            x = inputs.evaluation(first, min(first + BLOCK, len(inputs)))
            x = x[None].expand(k, *x.shape)
            code = vae.encode(x)
            z = code.sample(points(first, x.shape[1])[:, 0].to(x))
            log_p = vae.log_p_x_given_z(x, z)
            found = {"kl": code.kl(), "rec": -(log_p + vae.likelihood.log_det_correction(x))}
            if second is not None:
                found["mi"] = log_p - vae.likelihood.log_prob(second(z), x)
            for name, values in found.items():
                parts.setdefault(name, []).append(on_cpu(values))
        return {name: torch.cat(values, dim=1) for name, values in parts.items()}

    def _settings(self, member: Member, epoch: int, split: str) -> dict[str, Any]:
        config, grid = self.config, self.config.mode == "cv"
        mi = {"full": "untrained-decoder", "ghost": "ghost"}.get(config.mode) if split == "train" else None
        return {
            "dataset": config.dataset, "model": config.model_name, "seed": config.seed, "mode": config.mode,
            "m": len(member.rows), "d": math.prod(self.train.shape), "lr": config.lr, "K": config.K if grid else 0,
            "repeat": config.repeat, "fold": member.fold, "epoch": epoch, "split": split, "mi_estimator": mi or "none",
            "n_z": config.n_z, "proposal": f"{config.proposal}/{config.points}", "logpx_images": 0,
        }  # fmt: skip

    @staticmethod
    def _elbo_columns(part: dict[str, Tensor]) -> dict[str, float]:
        columns = {}
        for name, values in {"loss": part["rec"] + part["kl"], **part}.items():
            columns[f"{name}_nats"], columns[f"{name}_se"] = mean_and_se(values)
        return columns

    def _log_px_columns(self, found: LogPx, member: Member, split: str) -> dict[str, float | int]:
        """Means over the images of `split` among those whose log p(x) was measured."""
        if member.held_out is not None or split == "train":
            wanted = member.rows if split == "train" else member.held_out
            assert wanted is not None
            chosen = torch.isin(self.log_px.rows, wanted)
        else:
            chosen = torch.ones(len(found.value), dtype=torch.bool)
        if int(chosen.sum()) < 2:
            return {}
        value, se = mean_and_se(found.value[chosen])
        return {
            "logpx_nats": value, "logpx_se": se, "logpx_images": int(chosen.sum()),
            "logpx_mc_se": float(found.se[chosen].square().mean().sqrt()), "ess": float(found.ess[chosen].mean()),
        }  # fmt: skip
