"""Chen et al. 2025 (VAE half) on van den Burg, Williams 2021: bounds for VAEs, and which images they memorize.

Read `plain.py` first: the method in one file of 200 lines at most, which `python -m vae.plain` runs. Then `config.py`,
`images.py`, `models.py`, `objective.py` (what is trained on what), `logpx.py`, `evaluate.py`, `run.py` with `full.py`
and `cv.py`, and for memorization `grids.py`, `neighbours.py`, `memorization.py`, `importer.py`, `denoiser_grid.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
