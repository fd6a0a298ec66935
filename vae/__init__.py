"""Chen et al. 2025 (VAE half) on van den Burg, Williams 2021: bounds for VAEs, and which images they memorize.

Read `plain.py` first: the method in one file of 200 lines at most, which `python -m vae.plain` runs. Then `config.py`,
`images.py`, `folds.py` and `members.py` (what is trained on what), `likelihoods.py`, `models.py`, `objective.py`,
`logpx.py` with `decoding.py` and `proposal.py`, `measure.py`, `evaluate.py`, `bounds.py`, `run.py` with `full.py` and
`cv.py`, and for memorization `score*.py`, `grids.py`, `analysis.py`, `held_out.py`, `neighbours.py`, `duplicates.py`,
`memorization.py`, `importer.py`, and `denoisers.py` with `denoiser_grid.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
