"""Models of other libraries as denoisers, recognised by their interfaces alone: none of the libraries is imported."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.model_schedules import EDM, Given, RectifiedFlow
from infolab.schedules import Schedule

KNOWN = (
    "azula's denoisers (schedule(t) and denoiser(x_t, t).mean), k-diffusion's (model(x, sigma) with sigma_data or "
    "inner_model), flow_matching's ModelWrapper (forward(x, t, **extras)), and paths of checkpoints"
)


def wrap(model: Any, predicts: str = "", schedule: Schedule | None = None, **words: Any) -> Denoiser:
    """A model as a denoiser: as it is told, or recognised by its interface.

    Args:
        model: a `Denoiser` (as it is); a path of a checkpoint (`infolab.pretrained.load_denoiser`: a diffusers folder,
            IDDPM's .pt, a run of this lab); a denoiser of azula; a wrapped model of k-diffusion; a velocity model of
            flow_matching (noise at t = 0, data at t = 1); any function or network whose convention is told.
        predicts: what it predicts, one of `infolab.predictions.PREDICTS`; empty: by its interface.
        schedule: of its training, where `predicts` is told.
        words: `time`, `sigma_data` and so on, as of `Denoiser`, where `predicts` is told.

    Raises:
        UserError: an interface that is not known, with nothing told.
    """
    if isinstance(model, Denoiser):
        return model
    if isinstance(model, (str, Path)):
        from infolab.pretrained import load_denoiser  # networks take a second to import

        return load_denoiser(model)
    if predicts:
        return Denoiser(model, predicts, schedule, **words)
    for looks, make in ((_is_azula, _of_azula), (_is_k_diffusion, _of_k_diffusion), (_is_flow, _of_flow)):
        if looks(model):
            return make(model)
    raise UserError(
        f"a model of type {type(model).__name__} says nothing of its convention: recognised are {KNOWN}; otherwise "
        'tell it, Denoiser(model, "v", Cosine()) for one'
    )


def _is_azula(model: Any) -> bool:
    return callable(getattr(model, "schedule", None)) and not hasattr(model.schedule, "logsnr_to_t")


def _of_azula(model: Any) -> Denoiser:
    """E[x | x_t] as `.mean` of what the denoiser returns, its schedule (alpha_t, sigma_t) at t in [0, 1]."""

    def part(index: int) -> Callable[[Tensor], Tensor]:
        def value(t: Tensor) -> Tensor:
            # It may have trailing dimensions of one, or be a constant.
            found = torch.as_tensor(model.schedule(t)[index]).to(t)
            return found.reshape(t.shape) if found.numel() == t.numel() else found.expand(t.shape)

        return value

    return Denoiser(lambda x_t, t: model(x_t, t).mean, "x0", Given(part(0), part(1)))


def _is_k_diffusion(model: Any) -> bool:
    return hasattr(model, "sigma_data") or hasattr(model, "inner_model")


def _of_k_diffusion(model: Any) -> Denoiser:
    """model(x, sigma) returns the denoised x."""
    return Denoiser(model, "edm", EDM())


def _is_flow(model: Any) -> bool:
    call = getattr(model, "forward", model)
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return False
    names, extras = [item.name for item in parameters[:2]], parameters[2:]
    return names == ["x", "t"] and any(item.kind is inspect.Parameter.VAR_KEYWORD for item in extras)


def _of_flow(model: Any) -> Denoiser:
    """u = dx_t/dt of x_t = t x + (1 - t) eps, called with x and t by name."""
    return Denoiser(lambda x, t, **extras: model(x=x, t=t, **extras), "flow", RectifiedFlow(noise_first=True))
