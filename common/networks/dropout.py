"""Dropout whose masks come from an explicit generator, so that a resumed run draws what an unbroken one would."""

import torch
from torch import nn

from common.errors import UserError

LEVELS = 1 << 16


class Dropout(nn.Module):
    """Inverted dropout: y = x m / (1 - p), m ~ Bernoulli(1 - p) from the generator of `set_dropout_generator`.

    The identity in evaluation mode and for p = 0, at no cost. It has no parameters and no state: a copy or a
    checkpoint of the network does not carry the generator.

    Args:
        p: probability of dropping one element, in [0, 1).
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"dropout is a probability in [0, 1), not {p}: choose one of them, 0 for none")
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with a fraction p of its elements dropped and the others divided by 1 - p.

        Raises:
            UserError: in training mode with p > 0 when no generator was set.
        """
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise UserError(
                f"dropout {self.p} has no source of randomness in training mode: "
                "call set_dropout_generator(model, generator(seed, 'dropout', step)) before each step"
            )
        return x * scaled_mask(x, self.p, self.generator)

    def extra_repr(self) -> str:
        """Return what `print(network)` shows of this layer."""
        return f"p={self.p}"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "generator": None}


def scaled_mask(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    """m / (1 - p) of the shape, dtype and device of x, m ~ Bernoulli(1 - p).

    On the CPU, where a generator works alone, four elements share one draw of 64 bits and p is a multiple of 2^-16;
    the mean of the mask is 1 either way.
    """
    if x.device.type != "cpu":
        return torch.empty_like(x).bernoulli_(1 - p, generator=generator).div_(1 - p)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    levels = draws.view(torch.int16)[: x.numel()].view(x.shape)  # uniform on -LEVELS/2 .. LEVELS/2 - 1
    return (levels >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


def set_dropout_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Let every `Dropout` in `module` draw its next masks from `generator`, in the order of the forward pass.

    A training loop calls it before every step with `common.seeds.generator(seed, "dropout", step, device=device)`:
    masks are then a function of the seed and the step, whatever ran before. The device must be the network's.
    """
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator
