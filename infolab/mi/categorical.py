"""A side that is a class label: its denoiser is a softmax, and the integral of its errors the log loss in closed form.

A label x as a one-hot vector, noised, has the optimal denoiser x_hat = softmax(log q(x | y) + sqrt(gamma) z'), and
1/2 Int |eps - eps_hat|^2 da of it is -log q(x | y) exactly (it is the optimal denoiser of the distribution q). So
I(x; y) = E[log q(x | y) - log pi(x)] needs no quadrature; what is left to learn is q, which a small network does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from infolab.mi.denoiser import Best, Trainer, log_size, zero_last_layer
from infolab.mi.pairs import VALIDATION, Pairs
from infolab.mi.sides import normal_map, varying
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator

LARGEST = 64
"""One coordinate with at most this many distinct values, each seen 20 times on average, counts as a label."""
NETWORKS = 4
"""Networks of each half, whose probabilities are averaged."""
WIDTH = 96
CHECK_EVERY = 25


def is_label(x: np.ndarray) -> bool:
    """Whether x (n, d) is a class label: one coordinate with few distinct values."""
    return x.shape[1] == 1 and len(np.unique(x)) <= min(LARGEST, max(len(x) // 20, 2))


@dataclass(frozen=True)
class LabelledHalves:
    """Labels (k, n) and features (k, n, d) of the networks of both halves."""

    train: Pairs
    validation: Pairs
    test: Pairs
    log_prior: Tensor

    def to(self, device: torch.device | str) -> "LabelledHalves":
        """The halves on a device."""
        train, validation, test = (part.to(device) for part in (self.train, self.validation, self.test))
        return LabelledHalves(train, validation, test, self.log_prior.to(device))


def pointwise_information(
    labels: np.ndarray, y: np.ndarray, parts: tuple[np.ndarray, np.ndarray], *, steps: int, batch: int, lr: float,
    seed: int, device: torch.device | str = "cpu",
) -> tuple[Tensor, float]:  # fmt: skip
    """log q(x_i | y_i) - log pi(x_i) of each pair of either half, both from the other half: (2, n // 2) nats.

    With it comes the fit gap: how much more each network reads on average on the pairs that it was trained on.

    Args:
        labels: 0 .. K-1 (n,).
        y: what they are conditioned on (n, dy); where it is a label too it is made one-hot.
        parts: indices of the halves.
        steps: optimiser steps.
        batch: pairs of each step.
        lr: largest learning rate of AdamW.
        seed: of weights and batches.
        device: where the networks are trained; what is returned is on the CPU.
    """
    halves = _halves(labels, y, parts).to(device)
    k, classes = halves.log_prior.shape
    net = EnsembleMLP(
        (halves.train.y.shape[-1] + 1, WIDTH, WIDTH, classes), [seed * 1000 + 500 + member for member in range(k)]
    ).to(device)
    zero_last_layer(net)
    log_prior = halves.log_prior[:, None]

    def log_q(pairs: Pairs) -> Tensor:
        logits = log_prior + net(pairs.y, log_size(pairs.y)[..., 0])
        return F.log_softmax(logits, -1).gather(-1, pairs.x.long())[..., 0]

    trainer, source = Trainer(net, steps, lr, 0.98), generator(seed, "mi", "label")
    best = Best(trainer, k)
    for step in range(steps + 1):
        if step % CHECK_EVERY == 0 or step == steps:
            with trainer.average.swapped_in():
                best.offer(log_q(halves.validation).mean(1))
        if step < steps:
            trainer.step(-log_q(halves.train.draw(batch, source)).mean(1).sum())
    best.restore()
    with torch.no_grad():
        seen, unseen = log_q(halves.train), log_q(halves.test)
    mixed = unseen.unflatten(0, (2, -1)).logsumexp(1) - math.log(NETWORKS)
    prior = log_prior.expand(-1, halves.test.x.shape[1], -1).gather(-1, halves.test.x.long())[..., 0]
    return (mixed - prior.unflatten(0, (2, -1))[:, 0]).cpu(), float(seen.mean() - unseen.mean())


def _halves(labels: np.ndarray, y: np.ndarray, parts: tuple[np.ndarray, np.ndarray]) -> LabelledHalves:
    classes = int(labels.max()) + 1
    sides: list[list[np.ndarray]] = [[], [], [], []]
    priors = []
    both = np.concatenate(parts)
    for own, other in (parts, parts[::-1]):
        features = _features(y[own], y[both])
        for place, item in enumerate((labels[own, None], features(y[own]), labels[other, None], features(y[other]))):
            sides[place].append(item)
        counts = np.bincount(labels[own], minlength=classes) + 0.5
        priors.append(np.log(counts / counts.sum()))
    stacked = [torch.from_numpy(np.repeat(np.stack(side), NETWORKS, axis=0)).float() for side in sides]
    own_pairs, other_pairs = Pairs(*stacked[:2]), Pairs(*stacked[2:])
    held = max(len(own_pairs) // VALIDATION, 1)
    log_prior = torch.from_numpy(np.repeat(np.stack(priors), NETWORKS, axis=0)).float()
    return LabelledHalves(own_pairs[held:], own_pairs[:held], other_pairs, log_prior)


def _features(y: np.ndarray, both: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A map of y (n, dy) to what the network sees: one-hot labels, or standardised normal scores of what varies.

    Which features there are depends on the rows of `both` halves, so that both networks have as many: a level that a
    half lacks, and a coordinate that is constant in it, are 0 there.
    """
    if is_label(both):
        levels = np.unique(both)
        return lambda new: (new == levels).astype(float) * math.sqrt(len(levels))
    columns = varying(both)
    here = set(varying(y))
    maps = [normal_map(y[:, column]) if column in here else None for column in columns]

    def scores(new: np.ndarray) -> np.ndarray:
        pairs = zip(maps, new[:, columns].T, strict=True)
        return np.stack([np.zeros(len(new)) if one is None else one(values)[0] for one, values in pairs], 1)

    own = scores(y)
    center, scale = own.mean(0), np.maximum(own.std(0), 1e-6)
    return lambda new: (scores(new) - center) / scale
