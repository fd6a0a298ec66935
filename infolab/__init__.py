"""What more than one paper stands on. Imports go one way: papers -> common; common imports no paper."""

from infolab.signals import stops_end_start

stops_end_start()
