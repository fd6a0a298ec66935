"""Speed and accuracy, as commands."""

from common.signals import stops_end_start

stops_end_start()
