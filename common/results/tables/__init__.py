"""Every table of the lab, declared once, one module a paper; results/README.md is generated from here."""

from common.results.tables.diffusion import ImageBound, ToyBound
from common.results.tables.lab import Calibration, Speed

__all__ = ["Calibration", "ImageBound", "Speed", "ToyBound"]
