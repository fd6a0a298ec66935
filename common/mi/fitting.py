"""What the networks of this package share in training: averaged weights, a falling learning rate, a start at zero."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from common.ensemble import EnsembleMLP
from common.learning_rate import learning_rate, set_learning_rate

WEIGHT_DECAY = 1e-2
WARM_UP = 100
"""Steps over which the learning rate rises (a tenth of all where those are fewer)."""


class Average:
    """A moving average of parameters: decay min(largest, 1 - 1/(2 + step/4)), so that the start is soon forgotten."""

    def __init__(self, parameters: list[nn.Parameter], largest: float):
        self.parameters, self.largest, self.step = parameters, largest, 0
        self.values = [item.detach().clone() for item in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take one more step into the average."""
        decay = min(self.largest, 1 - 1 / (self.step / 4 + 2))
        torch._foreach_lerp_(self.values, [item.detach() for item in self.parameters], 1 - decay)
        self.step += 1

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap the parameters and their average."""
        for item, value in zip(self.parameters, self.values, strict=True):
            kept = item.detach().clone()
            item.copy_(value)
            value.copy_(kept)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Context in which the parameters are their average, without gradients."""
        with torch.no_grad():
            self.exchange()
            yield
            self.exchange()


class Trainer:
    """AdamW over a batch of networks, with a short rise and a cosine fall of the learning rate, and averaged weights.

    Args:
        net: the networks.
        steps: optimiser steps in all.
        lr: largest learning rate.
        decay: largest decay of the average.
        beta2: of AdamW.
    """

    def __init__(self, net: EnsembleMLP, steps: int, lr: float, decay: float, beta2: float = 0.999):
        self.parameters = list(net.parameters())
        self.steps, self.lr = steps, lr
        self.average = Average(self.parameters, decay)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=lr, weight_decay=WEIGHT_DECAY, betas=(0.9, beta2), fused=True
        )

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, a sum over networks."""
        number = self.average.step
        rise = min(1.0, (number + 1) / min(WARM_UP, max(self.steps // 10, 1)))
        set_learning_rate(self.optimizer, rise * learning_rate("cosine", self.lr, number, self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.average.update()


class Best:
    """Of each of k networks, the averaged weights that scored highest so far."""

    def __init__(self, trainer: Trainer, k: int):
        self.trainer = trainer
        self.scores = torch.full((k,), -math.inf, device=trainer.parameters[0].device)
        self.parameters = [item.detach().clone() for item in trainer.parameters]

    def offer(self, scores: Tensor) -> Tensor:
        """Keep the present weights of the networks whose `scores` (k,) are their best; returns which (k,) bool.

        Call it with the average swapped in.
        """
        better = scores > self.scores
        for kept, now in zip(self.parameters, self.trainer.parameters, strict=True):
            kept[better] = now.detach()[better]
        self.scores = torch.where(better, scores, self.scores)
        return better

    @torch.no_grad()
    def restore(self) -> None:
        """Give the networks their best weights."""
        for item, kept in zip(self.trainer.parameters, self.parameters, strict=True):
            item.copy_(kept)


@torch.no_grad()
def zero_last_layer(net: EnsembleMLP, members: Tensor | None = None) -> None:
    """Make every member, or those marked in `members` (k,) bool, the zero function."""
    which = slice(None) if members is None else members
    net.weights[-1][which] = 0
    net.biases[-1][which] = 0


def log_size(y: Tensor) -> Tensor:
    """log(0.05 + |y|^2 / d), (..., 1): what heavy tails share a scale through."""
    return torch.log(0.05 + y.square().mean(-1, keepdim=True))
