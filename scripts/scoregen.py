"""Everything that is drawn for the score-model paper (Li, Li, Zhang, Bian 2023)."""

from scripts import scoregen_clusters, scoregen_dynamics, scoregen_sweeps, scoregen_tables
from scripts.registry import Product


def products() -> list[Product]:
    """Figures, then summary tables."""
    return [
        *scoregen_dynamics.products(),
        *scoregen_sweeps.products(),
        *scoregen_clusters.products(),
        *scoregen_tables.products(),
    ]
