"""Chen et al. 2025 (VAE half) on van den Burg, Williams 2021: bounds for VAEs, and which images they memorize."""

from infolab.signals import stops_end_start

stops_end_start()
