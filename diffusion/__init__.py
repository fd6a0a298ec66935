"""Chen, Zhu, Shkurti 2025 (diffusion half) on Huang, Lim, Courville 2021: a bound of the KL and the time T it picks."""

from infolab.signals import stops_end_start

stops_end_start()
