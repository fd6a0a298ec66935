"""Wang et al. 2023: diffusion models with a useful low-dimensional code."""

from infolab.signals import stops_end_start

stops_end_start()
