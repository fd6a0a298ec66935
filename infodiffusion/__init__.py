"""Wang et al. 2023: diffusion models with a useful low-dimensional code."""
