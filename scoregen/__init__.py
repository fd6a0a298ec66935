"""Li, Li, Zhang, Bian 2023: early stopping, capacity and distant modes of score-based models."""

from infolab.signals import stops_end_start

stops_end_start()
