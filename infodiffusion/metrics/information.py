"""Mutual information of the input with its code, by `common.mi`."""

import torch

from common.errors import UserError
from common.mi import FEW, Settings, mutual_information
from infodiffusion.metrics.measured import Array, Measured, as_codes, as_numbers


def information(
    codes: Array,
    inputs: Array,
    seed: int = 0,
    steps: int = 0,
    minutes: float = 0.0,
    device: torch.device | str = "cpu",
) -> Measured:
    """I(input; code) in nats from denoising errors (`common.mi.mutual_information`).

    Give codes as they are drawn, a = mu(x) + std(x) eps: a deterministic code of a continuous input has infinite
    mutual information with it, and the estimate then says only how much the networks could read. For few pairs it is
    the Gaussian part alone, which the name and `warnings` say.

    Args:
        codes: (n, d), drawn.
        inputs: (n, ...), the inputs in the same order.
        seed: of halves, weights and noise.
        steps: optimiser steps; 0: the default of `common.mi`, or what fits into `minutes`.
        minutes: wall time aimed at, instead of `steps`.
        device: where networks are trained and evaluated.

    Raises:
        UserError: steps and minutes are both given, or the arrays cannot be used (other lengths, say).
    """
    codes = as_codes(codes)
    flat = as_numbers(inputs, "inputs")
    if len(flat) != len(codes):
        raise UserError(f"{len(codes)} codes and {len(flat)} inputs: they must be pairs")
    flat = flat.reshape(len(flat), -1)
    settings = Settings(steps=steps if steps or minutes else Settings().steps, minutes=minutes, seed=seed)
    settings.check()
    settings.check_one_length()
    found = mutual_information(flat, codes, settings, device)
    how = "gaussian-part" if found.method.startswith(FEW) else f"steps={found.steps}"
    name, estimate = f"information_nats[{how}]", found.estimate
    return Measured(name, estimate.value, estimate.se, len(codes), warnings=found.warnings)
