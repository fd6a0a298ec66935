"""Result tables to figures, tables, report and verification; needs no torch, so it runs where nothing can train."""

from infolab.signals import stops_end_start

stops_end_start()
