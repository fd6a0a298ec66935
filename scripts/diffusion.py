"""Everything that is drawn for the diffusion paper (Chen, Zhu, Shkurti 2025)."""

from scripts import diffusion_images, diffusion_toy, summaries
from scripts.registry import Product


def products() -> list[Product]:
    """Figures, then summary tables."""
    return [*diffusion_toy.products(), *diffusion_images.products(), *summaries.products()]
