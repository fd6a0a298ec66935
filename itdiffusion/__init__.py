"""Kong, Brekelmans, Ver Steeg 2023: exact log-likelihood from denoising errors (I-MMSE)."""

from common.signals import stops_end_start

stops_end_start()
