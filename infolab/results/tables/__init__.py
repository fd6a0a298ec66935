"""Every table of the lab, declared once, one module a paper; results/README.md is generated from here."""

from infolab.results.tables.diffusion import ImageBound, ImagePenalty, ToyBound, ToyChoice, ToyPenalty
from infolab.results.tables.infodiffusion import InfoOutput, InfoQuality, InfoTraining
from infolab.results.tables.itdiffusion import (
    DensityGrid,
    ImageBaseline,
    MseCurve,
    MutualInformation,
    Nll,
    ShapeSamples,
)
from infolab.results.tables.lab import Calibration, ControlVariate, Coverage, Speed, Throughput
from infolab.results.tables.scoregen import ScoreCapacity, ScoreClusters, ScoreDensity, ScoreKl
from infolab.results.tables.vae import Bounds, Curves, Duplicates, ImportedLosses, Memorization, Neighbours

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
