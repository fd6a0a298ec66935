"""Synthetic results of the score-model studies, written by the lab's own writer."""

from pathlib import Path

import numpy as np

from infolab import results as tables
from scoregen.tables import ScoreCapacity, ScoreClusters, ScoreDensity, ScoreKl

PROVENANCE = {"preset": "quick", "experiment": "mixture", "run_id": "scores"}
EPOCHS = (100, 500, 1000, 1500, 2000)
BEST = 1000
SIZES = (32, 64, 128, 256, 512)
SLOPE = -0.4


def settings(seed=0, mu=3.0, n=1000, width=256, network="swish", scaling="sqrt", optimizer="adam", lr=1e-3, batch=1000):
    return {
        "dataset": "two_modes", "seed": seed, "mu": mu, "n": n, "width": width, "network": network, "scaling": scaling,
        "init": "normal", "optimizer": optimizer, "lr": lr, "batch": batch,
    }  # fmt: skip


def kl_row(kl, *, sweep="dynamics", epoch=None, time=1.0, **changes):
    measured = {"normalisation": 1.0, "mass_grid": 1.0, "mass_right": 0.52} if kl is not None else {}
    return ScoreKl(
        **settings(**changes),
        sweep=sweep,
        epoch=epoch,
        time=time,
        kl_nats=None if kl is None else float(kl),
        data_right=0.49,
        diverged=kl is None,
        **measured,
    )


def dynamics_rows():
    """A U with its least value 0.1 at epoch 1,000, Adam and SGD of three batch sizes; the standard scaling diverges."""
    rng, rows = np.random.default_rng(0), []
    kinds = [{"optimizer": "adam"}, *({"optimizer": "sgd", "lr": 0.5, "batch": batch} for batch in (100, 500, 1000))]
    for kind in kinds:
        for seed in (0, 1, 2):
            for epoch in EPOCHS:
                kl = 0.1 * (1 + abs(np.log(epoch / BEST))) * (1 + 0.01 * float(rng.standard_normal()))
                rows.append(kl_row(kl, epoch=epoch, time=float(epoch), seed=seed, **kind))
    broken = {"scaling": "standard", "optimizer": "sgd", "lr": 0.5, "batch": 500}
    return [*rows, *(kl_row(None, epoch=5, time=2.5, seed=seed, **broken) for seed in (0, 1, 2))]


def distance_rows():
    """KL growing with mu, falling over the epochs."""
    return [
        kl_row(0.1 * mu * 1000 / epoch, sweep="distance", epoch=epoch, time=float(epoch), mu=mu, seed=seed)
        for mu in (1.0, 3.0, 8.0)
        for seed in (0, 1)
        for epoch in (1000, 2000)
    ]


def sample_rows(slope=SLOPE, seeds=(0, 1, 2)):
    """Least KL = 3 n^slope, times 1 + 0.02 noise, at time n; for both models, m = n and fixed m."""
    rng, rows = np.random.default_rng(1), []
    models = (
        {"network": "features", "scaling": "mean", "optimizer": "flow", "lr": 0.0},
        {"optimizer": "sgd", "lr": 0.5},
    )
    for sweep in ("samples_m=n", "samples_fixed_m"):
        for model in models:
            for n in SIZES:
                for seed in seeds:
                    least = 3 * n**slope * (1 + 0.02 * float(rng.standard_normal()))
                    for factor in (0.1, 0.3, 1.0, 3.0, 10.0):
                        kl = least * (1 + np.log(factor) ** 2)
                        width = n if sweep == "samples_m=n" else 128
                        changes = {**model, "n": n, "width": width, "batch": min(n, 512), "seed": seed}
                        epoch = None if model["optimizer"] == "flow" else int(10 * factor)
                        rows.append(kl_row(kl, sweep=sweep, epoch=epoch, time=1000 * factor, **changes))
    return rows


def density_rows():
    """Two bumps for two distances, three epochs."""
    rows = []
    for mu in (3.0, 15.0):
        x = np.round(np.linspace(-mu - 4, mu + 4, 41), 6)
        target = (np.exp(-((x - mu) ** 2) / 2) + np.exp(-((x + mu) ** 2) / 2)) / (2 * np.sqrt(2 * np.pi))
        for seed in (0, 1):
            for epoch in (100, 1000, 1900):
                for place, p in zip(x, target, strict=True):
                    learned = float(p) * (1 + 0.1 * seed)
                    changes = {**settings(mu=mu, seed=seed), "epoch": epoch, "x": float(place)}
                    rows.append(ScoreDensity(**changes, density=learned, target=float(p)))
    return rows


def capacity_rows():
    """KL at epoch 1,000 falling with the width; the narrowest network never gets there."""
    return [
        ScoreCapacity(
            **settings(width=width, seed=seed), threshold=0.1, every=50, max_epochs=10_000,
            kl_at_1000=4.0 / width + 0.01 * seed,
            first_epoch_below=None if width == 2 else 40_000 // width, kl_least=2.0 / width, epoch=10_000,
        )
        for width in (2, 8, 32)
        for seed in (0, 1, 2)
    ]  # fmt: skip


def cluster_rows():
    """The loss of the farthest pair is 5 above that of the nearest, in every seed."""
    rows = []
    for seed in (0, 1, 2):
        for pair, extra in (("farthest", 5.0), ("nearest", 0.0)):
            for epoch in (1, 2, 4):
                last = {"nll_nats": 90.0, "nll_nats_se": 1.0, "nll_bpd": 2.0, "nll_bpd_se": 0.1, "histogram_bpd": 2.5}
                last |= {"histogram_bpd_se": 0.1}
                rows.append(
                    ScoreClusters(
                        dataset="digits", model="unet[digits]", seed=seed, pair=pair, clusters="0 and 1", schedule="ve",
                        n=100, d=64, levels=17, epoch=epoch, step=epoch, centre_distance=2.0 + extra / 5,
                        loss=20 / epoch + extra + seed,
                        loss_se=0.1, loss_test=22 / epoch + extra + seed, loss_test_se=0.1, n_test=30,
                        **(last if epoch == 4 else {}),
                    )
                )  # fmt: skip
    return rows


def write_scores(results: Path):
    """Everything that the score-model figures read."""
    made = {
        ScoreKl: [*dynamics_rows(), *distance_rows(), *sample_rows()],
        ScoreDensity: density_rows(),
        ScoreCapacity: capacity_rows(),
        ScoreClusters: cluster_rows(),
    }
    for row_type, rows in made.items():
        tables.write(results, row_type, "scores", rows, PROVENANCE)
    pixels = np.random.default_rng(3).integers(0, 17, (16, 8, 8)).astype(np.uint8)
    for pair in ("farthest", "nearest"):
        arrays = {
            "samples": pixels,
            "train": pixels,
            "levels": np.array(17),
            "seed": np.array(0),
            "pair": np.array(pair),
        }
        provenance = {**PROVENANCE, "experiment": "clusters-digits", "run_id": pair}
        tables.write_arrays(results, "scoregen", pair, arrays, provenance)
