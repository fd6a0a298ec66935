"""Every table of the lab, declared once, one module a paper; results/README.md is generated from here."""

from common.results.tables.diffusion import ImageBound, ImagePenalty, ToyBound, ToyChoice, ToyPenalty
from common.results.tables.infodiffusion import InfoOutput, InfoQuality, InfoTraining
from common.results.tables.itdiffusion import DensityGrid, MseCurve, Nll
from common.results.tables.itdiffusion_images import ImageBaseline
from common.results.tables.itdiffusion_samples import ShapeSamples
from common.results.tables.lab import Calibration, ControlVariate, Coverage, Speed, Throughput
from common.results.tables.mi import MutualInformation
from common.results.tables.scoregen import ScoreCapacity, ScoreClusters, ScoreDensity, ScoreKl
from common.results.tables.vae import Bounds, Curves, Duplicates, ImportedLosses, Memorization, Neighbours

__all__ = [
    "Bounds",
    "Calibration",
    "ControlVariate",
    "Coverage",
    "Curves",
    "DensityGrid",
    "Duplicates",
    "ImageBaseline",
    "ImageBound",
    "ImagePenalty",
    "ImportedLosses",
    "InfoOutput",
    "InfoQuality",
    "InfoTraining",
    "Memorization",
    "MseCurve",
    "MutualInformation",
    "Neighbours",
    "Nll",
    "ScoreCapacity",
    "ScoreClusters",
    "ScoreDensity",
    "ScoreKl",
    "ShapeSamples",
    "Speed",
    "Throughput",
    "ToyBound",
    "ToyChoice",
    "ToyPenalty",
]
