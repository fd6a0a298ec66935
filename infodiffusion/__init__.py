"""Wang et al. 2023: diffusion models with a useful low-dimensional code.

Read `plain.py` first: the method in one file of 200 lines, which `python -m infodiffusion.plain` runs. Then `run.py`
(the command), `config.py`, `networks.py`, `objective.py` and `train.py`, `data.py` and `checkpoint.py`, the modes
(`sampling.py`, `scores.py`, `outputs.py`), and `sensitivity.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
