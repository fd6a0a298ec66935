"""The arithmetic of networks: float32, or products and convolutions in bfloat16, interpreted or compiled."""

from typing import Any

import torch
from torch import Tensor, nn

from common.config import RunConfig
from common.device import autocast, precision_of


class Network(nn.Module):
    """A network that is called in the precision of its run, in training and in evaluation alike.

    Under bf16 its products and convolutions are taken in bfloat16 by autocast and its output comes back in float32, so
    that schedules, losses and sums around it keep their precision.
    """

    precision: str = "fp32"

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """`forward`, in this network's precision."""
        if self.precision != "bf16":
            found: Tensor = super().__call__(*args, **kwargs)
            return found
        with autocast(next(self.parameters()).device, self.precision):
            found = super().__call__(*args, **kwargs)
        return found.float()


def set_arithmetic(model: nn.Module, config: RunConfig) -> None:
    """Give `model` and all `Network`s in it the precision of `config`; compile them where it says so.

    A deep copy keeps the precision and is to be compiled by a call of its own.
    """
    for part in model.modules():
        if isinstance(part, Network):
            part.precision = precision_of(config)
            if getattr(config, "compile", False):
                part.compile()


def bf16_forward(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """An MLP with ReLU between its layers (weight (in, out), bias (out,)) at x (n, in), as autocast computes it."""
    h = x
    with autocast(x.device, "bf16"):
        for index, (weight, bias) in enumerate(layers):
            h = torch.addmm(bias, h, weight)
            h = h.relu() if index < len(layers) - 1 else h
    return h.float()
