"""Wang et al. 2023: diffusion models with a useful low-dimensional code.

Read `plain.py` first: the method in one file of 200 lines, which `python -m infodiffusion.plain` runs. Then `run.py`
and `modes.py` (the command), `config.py` and `sweeps.py`, `networks.py` and `priors.py`, `objective.py` and `train.py`,
`checkpoint.py` and `sampling.py`, the modes' own files (`pictures.py`, `latents.py`, `codes.py`, `scores.py`,
`outputs.py`), `data.py`, `images.py`, `metrics/` and `sensitivity.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
