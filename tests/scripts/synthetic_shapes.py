"""Synthetic results of the 2-D study, written by the lab's own writer."""

import math
from pathlib import Path

import numpy as np

from infolab import results as tables
from itdiffusion.tables import DensityGrid, MseCurve, Nll, ShapeSamples

MODELS = ("mlp[ema=0.998,cosine]", "mlp[gaussian-preconditioned,ema=0.998,cosine]")
SETS = ("scg", "moons")
EPOCHS = (20, 40)
EXACT = 1.2
PROVENANCE = {"preset": "quick", "experiment": "2d", "run_id": "shapes"}


def settings(name, model, seed, epoch):
    return {"dataset": name, "model": model, "seed": seed, "epoch": epoch}


def combinations(seeds):
    return [(name, model, seed) for name in SETS for model in MODELS for seed in seeds]


POINTS = {"d": 2, "n": 800, "data_scale": "as sampled", "bin_width": 0.0}


def nll_rows(seeds=(0, 1)):
    """An excess of 0.1 at the last epoch and 0.2 before for the first network, a tenth of that for the second."""
    rng, rows = np.random.default_rng(0), []
    errors = {"se_quadrature_nats": 1e-4, "se_data_nats": 0.03, "se_bpd": 0.02}
    for name, model, seed in combinations(seeds):
        for epoch, estimator in [*((epoch, "continuous") for epoch in EPOCHS), (EPOCHS[-1], "ode")]:
            excess = 4.0 / epoch * (1 if model == MODELS[0] else 0.1) + 0.001 * float(rng.standard_normal())
            rows.append(
                Nll(
                    **settings(name, model, seed, epoch), **POINTS, **errors, estimator=estimator, rounding=None,
                    integrator=None, points=100, nll_nats=EXACT + excess, nll_bpd=(EXACT + excess) / (2 * math.log(2)),
                    reference_nats=EXACT, excess_nats=excess, excess_se_nats=0.003,
                )
            )  # fmt: skip
    return rows


def curve_rows(seeds=(0, 1)):
    """Curves below the Gaussian's."""
    rows = []
    for name, model, seed in combinations(seeds):
        for logsnr in np.linspace(-12, 12, 13).tolist():
            gaussian = 2 / (1 + math.exp(-logsnr))
            shared = {**settings(name, model, seed, EPOCHS[-1]), **POINTS, "integrator": "deterministic"}
            rows.append(MseCurve(**shared, logsnr=logsnr, mse=0.8 * gaussian, mse_se=0.01, mse_gaussian=gaussian))
    return rows


def grid_rows():
    """A Gaussian's density at two epochs."""
    axis = np.linspace(-3, 3, 9).tolist()
    return [
        DensityGrid(**settings(name, MODELS[0], 0, epoch), x=x, y=y, nll_nats=1.84 + (x * x + y * y) / 2, nll_se=0.1)
        for name in SETS
        for epoch in EPOCHS
        for x in axis
        for y in axis
    ]


def sample_rows(seeds=(0, 1)):
    """Samples near the floor."""
    measured = {"bandwidth": 1.5, "mmd2": 0.001, "mmd2_se": 0.001, "mmd2_heldout": 0.0, "mmd2_heldout_se": 0.001}
    return [
        ShapeSamples(**settings(name, model, seed, EPOCHS[-1]), **measured, n=1000, sampler_steps=400)
        for name, model, seed in combinations(seeds)
    ]


def write_shapes(results: Path):
    """Every table and the arrays of the 2-D study."""
    for row_type, rows in (
        (Nll, nll_rows()), (MseCurve, curve_rows()), (DensityGrid, grid_rows()), (ShapeSamples, sample_rows()),
    ):  # fmt: skip
        tables.write(results, row_type, "shapes", rows, PROVENANCE)
    cloud = np.random.default_rng(1).standard_normal((2, 60, 2)).astype(np.float32)
    arrays = {"samples": cloud, "points": cloud[:, :20], "dataset": np.array(SETS), "seed": np.zeros(2, int)}
    tables.write_arrays(results, "itdiffusion", "shapes", {**arrays, "model": np.array(MODELS[0])}, PROVENANCE)
