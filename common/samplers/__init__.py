"""Samplers that run a diffusion model from noise to data, in continuous time and in the steps of a DDPM."""

from common.samplers.discrete import ETA_PUBLISHED, EpsModel, ddim, ddpm, given, grid, invert
from common.samplers.noise import SampleNoise, StepNoise
from common.samplers.phases import latent, two_phase
from common.samplers.reverse import Score, reverse_sde, step_count, walk_in_pieces

__all__ = [
    "ETA_PUBLISHED",
    "EpsModel",
    "SampleNoise",
    "Score",
    "StepNoise",
    "ddim",
    "ddpm",
    "given",
    "grid",
    "invert",
    "latent",
    "reverse_sde",
    "step_count",
    "two_phase",
    "walk_in_pieces",
]
