"""How much does a generative model know about its training data? Instruments for any diffusion model, VAE or array.

The names of `PUBLIC` are imported when they are first used, so that `import infolab` takes milliseconds. Metrics of
samples and codes are in `infolab.metrics`, toy distributions in `infolab.toy`, data sets in `infolab.data`. The library
imports no paper: imports go from the papers' folders to infolab.
"""

import importlib
from typing import TYPE_CHECKING, Any

from infolab.signals import stops_end_start

if TYPE_CHECKING:
    from infolab.bound import data_terms
    from infolab.denoise import Denoiser, Prediction
    from infolab.errors import LabError, UserError
    from infolab.estimate import Estimate
    from infolab.exact import gaussian_denoiser, memorizer, mixture_denoiser
    from infolab.immse import Bins, GaussianReference, estimate_nll
    from infolab.kl import kl_to_mixture
    from infolab.memorization import ScoreSums
    from infolab.mi import mutual_information
    from infolab.mixture import GaussianMixture
    from infolab.model_schedules import EDM, Cosine, Given, RectifiedFlow
    from infolab.pretrained import load_denoiser
    from infolab.schedules import DDPM, VE, VP

PUBLIC = {
    "Bins": "infolab.immse",
    "Cosine": "infolab.model_schedules",
    "DDPM": "infolab.schedules",
    "Denoiser": "infolab.denoise",
    "EDM": "infolab.model_schedules",
    "Estimate": "infolab.estimate",
    "GaussianMixture": "infolab.mixture",
    "GaussianReference": "infolab.immse",
    "Given": "infolab.model_schedules",
    "LabError": "infolab.errors",
    "Prediction": "infolab.denoise",
    "RectifiedFlow": "infolab.model_schedules",
    "ScoreSums": "infolab.memorization",
    "UserError": "infolab.errors",
    "VE": "infolab.schedules",
    "VP": "infolab.schedules",
    "data_terms": "infolab.bound",
    "estimate_nll": "infolab.immse",
    "gaussian_denoiser": "infolab.exact",
    "kl_to_mixture": "infolab.kl",
    "load_denoiser": "infolab.pretrained",
    "memorizer": "infolab.exact",
    "mixture_denoiser": "infolab.exact",
    "mutual_information": "infolab.mi",
}
"""Public names and the modules that define them."""

__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'infolab' has no attribute '{name}'")
    return getattr(importlib.import_module(PUBLIC[name]), name)


stops_end_start()
