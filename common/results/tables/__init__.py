"""Every table of the lab, declared once, one module a paper; results/README.md is generated from here."""

from common.results.tables.diffusion import ImageBound, ImagePenalty, ToyBound, ToyChoice, ToyPenalty
from common.results.tables.itdiffusion import DensityGrid, MseCurve, Nll
from common.results.tables.itdiffusion_images import ImageBaseline
from common.results.tables.itdiffusion_samples import ShapeSamples
from common.results.tables.lab import Calibration, ControlVariate, Coverage, Speed
from common.results.tables.mi import MutualInformation
from common.results.tables.scoregen import ScoreCapacity, ScoreClusters, ScoreDensity, ScoreKl
from common.results.tables.vae import Bounds, Curves

__all__ = [
    "Bounds",
    "Calibration",
    "ControlVariate",
    "Coverage",
    "Curves",
    "DensityGrid",
    "ImageBaseline",
    "ImageBound",
    "ImagePenalty",
    "MseCurve",
    "MutualInformation",
    "Nll",
    "ScoreCapacity",
    "ScoreClusters",
    "ScoreDensity",
    "ScoreKl",
    "ShapeSamples",
    "Speed",
    "ToyBound",
    "ToyChoice",
    "ToyPenalty",
]
