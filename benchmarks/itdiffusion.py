"""All rows of the speed table that belong to itdiffusion."""

from benchmarks import itdiffusion_2d, itdiffusion_nll

ROWS = {**itdiffusion_2d.ROWS, **itdiffusion_nll.ROWS}
