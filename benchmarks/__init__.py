"""Speed and accuracy, as commands."""

from infolab.signals import stops_end_start

stops_end_start()
