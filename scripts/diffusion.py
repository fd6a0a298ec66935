"""Everything that is drawn for the diffusion paper (Chen, Zhu, Shkurti 2025)."""

from scripts import diffusion_choice, diffusion_images, diffusion_penalty, diffusion_toy, summaries
from scripts.registry import Product


def products() -> list[Product]:
    """Figures, then summary tables."""
    chosen = [*diffusion_choice.products(), *diffusion_penalty.products()]
    return [*diffusion_toy.products(), *diffusion_images.products(), *chosen, *summaries.products()]
