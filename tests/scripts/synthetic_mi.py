"""Synthetic rows of the table of mutual information."""

from pathlib import Path

import numpy as np

from infolab import results as tables
from itdiffusion.tables import MutualInformation


def mi_row(**change):
    """One row; `change` replaces fields."""
    fields = {
        "dataset": "gaussian", "case": "gaussian-1+1", "n": 10_000, "d_x": 1, "d_y": 1, "seed": 0, "form": "difference",
        "minutes": 0.0, "method": "difference, x noised", "maps": "scores, scores", "truth_nats": 0.75,
        "mi_nats": 0.74, "se_nats": 0.01, "se_data_nats": 0.01, "gaussian_nats": 0.74, "squared_nats": 0.75,
        "floor_nats": None, "steps": 2000, "evaluations": 480_000, "seconds": 30.0,
    }  # fmt: skip
    return MutualInformation(**{**fields, **change})


def write_mi(results: Path):
    """Single estimates, an older smaller run, both forms, a coverage study of six seeds, a case without a truth."""
    rng = np.random.default_rng(4)
    student = {"dataset": "student-t", "case": "student-2+2", "d_x": 2, "d_y": 2, "truth_nats": 0.1108}
    rows = [
        mi_row(),
        mi_row(n=500, mi_nats=0.6, se_nats=0.05),
        mi_row(form="orthogonal", mi_nats=0.76, floor_nats=0.002),
        mi_row(**student, mi_nats=0.1, se_nats=0.005),
        mi_row(dataset="digits", case="digits-left-right", n=1797, truth_nats=None, mi_nats=1.0, se_nats=0.1),
        *(
            mi_row(**student, n=2000, seed=seed, minutes=0.5, mi_nats=0.11 + 0.02 * rng.standard_normal(), se_nats=0.02)
            for seed in range(6)
        ),
    ]
    for place, row in enumerate(rows):
        run_id = f"mi{place}"
        provenance = {
            "preset": "paper", "config": {"seed": row.seed}, "git_commit": "0123456789abcdef", "git_clean": True,
            "versions": {"numpy": "2.0"}, "device": "cpu", "threads": 1, "seconds": 30.0, "experiment": "mi",
            "run_id": run_id,
        }  # fmt: skip
        tables.write(results, MutualInformation, run_id, [row], provenance)
