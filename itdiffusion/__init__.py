"""Kong, Brekelmans, Ver Steeg 2023: exact log-likelihood from denoising errors (I-MMSE)."""
