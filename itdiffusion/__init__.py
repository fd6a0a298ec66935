"""Kong, Brekelmans, Ver Steeg 2023: exact log-likelihood from denoising errors (I-MMSE)."""

from infolab.signals import stops_end_start

stops_end_start()
