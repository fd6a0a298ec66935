"""Everything that is drawn for the paper on information-theoretic diffusion (Kong, Brekelmans, Ver Steeg 2023)."""

from scripts import itdiffusion_2d, itdiffusion_images, itdiffusion_mi, itdiffusion_tables
from scripts.registry import Product


def products() -> list[Product]:
    """Figures and tables of its studies."""
    parts = (itdiffusion_2d, itdiffusion_images, itdiffusion_tables, itdiffusion_mi)
    return [product for part in parts for product in part.products()]
