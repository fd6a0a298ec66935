"""log p(x) of every image under every network of a run, in pieces that survive an interruption."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import RunFailedError
from common.pieces import Pieces
from common.precision import to_double
from common.runs import Run
from common.seeds import derive, generator
from vae.config import VAEConfig
from vae.decoding import make_log_likelihood
from vae.images import Inputs
from vae.logpx import LogPx, Points, importance_log_px
from vae.members import Member
from vae.models import VAE
from vae.proposal import FullCovariance, Proposal, encoder_proposal

PIECE = 2048
"""Images after which what is measured is kept on disk."""
BLOCK = 64
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
    for start in range(first, last, BLOCK):
        x = inputs.evaluation(start, min(start + BLOCK, last))
        part = importance_log_px(x, proposal(x), points(start, len(x)).to(x), log_likelihood)
        mass = vae.likelihood.to_mass(x[None])
        extra = to_double(mass[0]) if isinstance(mass, Tensor) else 0.0
        parts.append(LogPx((part.value + extra).cpu(), (part.elbo + extra).cpu(), part.ess.cpu(), part.n_z))
    return LogPx.join(parts)


def choose_rows(config: VAEConfig, n: int) -> Tensor:
    """Rows of the training images whose log p(x) is measured: all, or a fixed subset of --logpx-images, sorted."""
    count = config.logpx_images
    if count == 0 or count >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(config.seed, "logpx", "subset"))[:count].sort().values
