"""log p(x) of every image under every network of a run, in pieces that survive an interruption."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import atomic
from common.precision import to_double
from common.runs import Run
from common.seeds import derive, generator
from common.signals import StopWatch
from vae.config import VAEConfig
from vae.decoding import make_log_likelihood
from vae.images import Inputs
from vae.logpx import LogPx, Points, importance_log_px
from vae.members import Member
from vae.models import VAE
from vae.proposal import FullCovariance, Proposal, encoder_proposal

PIECE = 2048
"""Images after which what is measured is kept on disk and stop signals are heard."""
BLOCK = 64
"""Images whose points are drawn at a time, a multiple of the block in which noise is drawn."""


class LogPxMeasurement:
    """Importance-weighted log p(x) of the run's images, at every epoch that asks for it.

    The measurement of a large set takes minutes: it is kept in the run's folder piece by piece, so that an interrupted
    run goes on inside it.
    """

    def __init__(self, run: Run, config: VAEConfig, train: Inputs, test: Inputs, members: Sequence[Member]):
        self.run, self.config, self.members = run, config, list(members)
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
        with StopWatch(self._minutes_left()) as watch:
            for place in range(len(self.members)):
                proposal = None
                found.append({})
                for split, inputs in self.sets.items():
                    path = self._path(epoch, place, split)
                    done = _load(path)
                    while done.shape[1] < len(inputs):
                        proposal = proposal or self._proposal(vae, place, epoch)
                        piece = self._piece(vae, place, proposal, inputs, done.shape[1])
                        done = np.concatenate([done, piece], axis=1)
                        _save(path, done)
                        if watch.wanted and done.shape[1] < len(inputs):
                            where = f"image {done.shape[1]:,} of {len(inputs):,}"
                            raise watch.stop(f"{where} in log p(x) of epoch {epoch}, network {place}")
                    value, elbo, ess = torch.from_numpy(done)
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
                    np.stack([_load(self._path(epoch, place, split)) for epoch in epochs])
                    for place in range(len(self.members))
                ]
            )
            kept[f"{split}_logpx"] = stacked[:, :, 0].astype(np.float32)
            kept[f"{split}_ess"] = stacked[:, :, 2].astype(np.float32)
            kept[f"{split}_index"] = inputs.index.numpy()
            kept[f"{split}_label"] = inputs.labels.numpy()
        return kept

    def forget(self) -> None:
        """Drop what is kept in the run's folder (where a finished run is done again)."""
        for path in self.run.folder.glob("logpx-*.npy"):
            path.unlink()

    def _piece(self, vae: VAE, place: int, proposal: Proposal, inputs: Inputs, first: int) -> np.ndarray:
        # The networks of one repeat share their noise: what they differ by is then what they have learned.
        stream: tuple[Any, ...] = (inputs.split, self.config.repeat)
        points = Points(self.config.points, self.config.n_z, self.config.latent, self.config.seed, stream)
        found = log_px_of(vae, place, proposal, inputs, points, first, min(first + PIECE, len(inputs)))
        return torch.stack([found.value, found.elbo, found.ess]).numpy()

    def _proposal(self, vae: VAE, place: int, epoch: int) -> Proposal:
        if self.config.proposal == "encoder":
            return encoder_proposal(vae, place)
        member = self.members[place]
        second = FullCovariance(vae, place, derive(member.seed, "second encoder", epoch))
        with torch.enable_grad():
            second.train(self.all_train, member.rows, self.config.proposal_epochs)
        return second

    def _path(self, epoch: int, place: int, split: str) -> Path:
        return self.run.folder / f"logpx-{epoch:05d}-{place:03d}-{split}.npy"

    def _minutes_left(self) -> float:
        limit = self.run.config.max_minutes
        return max(limit - (time.time() - self.run.started) / 60, 1e-9) if limit > 0 else 0.0


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


def _load(path: Path) -> np.ndarray:
    """What is kept in `path`, float64 (3, n): value, elbo, ess; no images where there is nothing."""
    return np.load(path) if path.exists() else np.zeros((3, 0))


def _save(path: Path, found: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, found)
    atomic.write_bytes(path, buffer.getvalue())
