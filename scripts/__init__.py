"""Result tables to figures, tables, report and verification; needs no torch, so it runs where nothing can train."""

from common.signals import stops_end_start

stops_end_start()
