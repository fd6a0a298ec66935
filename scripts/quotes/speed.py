"""Ratios of the speed table, `results/reference/bench/speed.csv`."""

import functools
from collections.abc import Mapping

import pandas as pd

from scripts.quotes.quote import REFERENCE, Quote


@functools.cache
def speed() -> Mapping[str, float]:
    """Median ratio of each row, dots as underscores, `_low` and `_high` its range; the largest to the next ten."""
    found: dict[str, float] = {}
    for row in pd.read_csv(REFERENCE / "bench" / "speed.csv").itertuples():
        name = str(row.name).replace(".", "_")
        found |= {name: row.ratio, f"{name}_low": row.ratio_low, f"{name}_high": row.ratio_high}
    return found | {"same_error": 10 * round(found["itdiffusion_nll_same_error"] / 10)}


QUOTES = [
    Quote("RESULTS.md", "training a sweep of 50 networks {diffusion_train_sweep_m200:.1f} times (m = 200) and "
          "{diffusion_train_sweep_m10:.1f} times (m = 10) as fast as one network at a time, the bound at m = 2,000 "
          "{diffusion_bound_m2000:.0f} times", speed),
    Quote("RESULTS.md", "vae's training epoch is {vae_train_epoch:.1f} times as fast as the plain reference, a grid of ten "
          "folds {vae_grid:.1f} times, log p(x) {vae_iw_logpx:.1f} and, for equal variance, "
          "{vae_iw_logpx_same_error:.1f} times", speed),
    Quote("RESULTS.md", "infodiffusion's training step {infodiffusion_train_step:.1f} times, 1,000 "
          "DDIM steps {infodiffusion_ddim_1000:.1f} times in bfloat16 and {infodiffusion_ddim_1000_fp32:.1f} in float32, "
          "50 DDIM steps against 1,000 {infodiffusion_ddim_50_against_1000:.0f} times, TAD {infodiffusion_tad:.0f} times, "
          "DCI {infodiffusion_dci_fast:.0f} times", speed),
    Quote("RESULTS.md", "the NLL of images at the same points {itdiffusion_nll_same_points:.1f} times. Beside other work on "
          "the machine: itdiffusion's 2-D training {itdiffusion_train_2d:.1f} times, with contours "
          "{itdiffusion_train_2d_with_contours:.0f} times, the NLL of images {same_error:.0f} times at the same error", speed),
    Quote("RESULTS.md", "scoregen's folder {scoregen_folder:.1f} times", speed),
    Quote("scoregen/RESULTS.md", "{scoregen_folder:.1f} times ({scoregen_folder_low:.1f} to {scoregen_folder_high:.1f}) as "
          "fast as one network at a time", speed),
    Quote("infodiffusion/RESULTS.md", "{infodiffusion_train_step:.2f} times as fast as a plain reference "
          "({infodiffusion_train_step_low:.2f} to {infodiffusion_train_step_high:.2f};", speed),
    Quote("infodiffusion/RESULTS.md", "{infodiffusion_ddim_1000:.2f} times with `--precision bf16` "
          "({infodiffusion_ddim_1000_low:.2f} to {infodiffusion_ddim_1000_high:.2f})", speed),
    Quote("infodiffusion/RESULTS.md", "{infodiffusion_ddim_1000_fp32:.2f} times in float32 "
          "({infodiffusion_ddim_1000_fp32_low:.2f} to {infodiffusion_ddim_1000_fp32_high:.2f})", speed),
    Quote("infodiffusion/RESULTS.md", "50 steps against 1,000 of the reference {infodiffusion_ddim_50_against_1000:.0f} "
          "times ({infodiffusion_ddim_50_against_1000_low:.0f} to {infodiffusion_ddim_50_against_1000_high:.0f})", speed),
    Quote("infodiffusion/RESULTS.md", "TAD {infodiffusion_tad:.0f} times ({infodiffusion_tad_low:.0f} to "
          "{infodiffusion_tad_high:.0f}), DCI by forest {infodiffusion_dci_fast:.0f} times "
          "({infodiffusion_dci_fast_low:.0f} to {infodiffusion_dci_fast_high:.0f}).", speed),
]  # fmt: skip
