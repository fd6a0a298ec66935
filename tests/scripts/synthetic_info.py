"""Made-up rows and pictures of the models with a code, from results that the lab's own writers wrote."""

from pathlib import Path

import numpy as np

from infodiffusion.tables import InfoQuality, InfoSensitivity
from infolab import results as tables

MODELS = {"diff[4x1-2,a=4,mmd=0.1]": 0.8, "infovae[4x1-2,a=4,mmd=0.1]": 0.5, "untrained[4x1-2,a=4,mmd=0.1]": 0.2}
METRICS = ("dci_disentanglement[forest,n=100]", "mig[bins=20,n=100]", "tad[n=100]")


def row(model, seed, metric, value, **changes):
    settings = {
        "dataset": "sprites", "prior": "regular", "a_dim": 4, "mmd_weight": 0.1, "kld_weight": 0.0, "m": 0,
        "epoch": 0 if model.startswith("untrained") else 2, "sampling": "none", "images": "test", "n": 100, "se": 0.01,
    }  # fmt: skip
    return InfoQuality(**{**settings, "model": model, "seed": seed, "metric": metric, "value": value, **changes})


def seen(dataset, distortion, strength, fid):
    """A row of what a network sees; the errors 0.3 and 0.4 make one of 0.5."""
    return InfoSensitivity(
        dataset=dataset, network=f"small-{dataset}", seed=0, steps=5, distortion=distortion, strength=strength, unit="",
        n=50, n_reference=50, fid=fid, fid_se=0.3, clean_fid=1.0, clean_fid_se=0.4, standard_errors=(fid - 1) / 0.5,
    )  # fmt: skip


def write_info(folder: Path):
    """The quality table and the pictures of every mode."""
    rng = np.random.default_rng(0)
    rows = [
        row(model, seed, metric, value + 0.01 * seed)
        for model, value in MODELS.items() for seed in (0, 1, 2) for metric in METRICS
    ]  # fmt: skip
    tables.write(folder, InfoQuality, "a", rows, {})
    strengths = {"noise": (20.0, 40.0), "blur": (0.5, 1.0), "shift": (1.0, 2.0)}
    for factor, dataset in ((1, "digits"), (2, "folder")):  # the second has no labels, and so no mode
        every = strengths | ({"mode": (0.5, 1.0)} if factor == 1 else {})
        saw = [seen(dataset, name, one, 1 + factor * one) for name, both in every.items() for one in both]
        tables.write(folder, InfoSensitivity, dataset, saw, {})

    def image(*shape):
        return rng.integers(0, 256, (*shape, 8, 8)).astype(np.uint8)

    parts = {
        "eval": {"samples": image(16), "train": image(16)},
        "interpolate": {"strip": image(10), "original": image(2), "with_x_T": image(2), "without_x_T": image(2)},
        "disentangle": {"traversals": image(4, 11), "original": image(1)},
        "latent_quality": {"samples": image(16), "original": image(1)},
        "plot_latent": {
            "codes": rng.normal(size=(50, 2)).astype(np.float32), "labels": np.arange(50) % 3,
            "prior_draws": rng.normal(size=(50, 2)).astype(np.float32),
        },
    }  # fmt: skip
    for mode, arrays in parts.items():
        for number, model in enumerate(MODELS):
            run_id, finished = f"{mode}{number}", f"2026-01-0{number + 1}"
            provenance = {"experiment": f"{mode}-sprites", "finished": finished, "run_id": run_id}
            named = {**arrays, "model": np.array(model), "seed": np.array(64)}
            tables.write_arrays(folder, "infodiffusion", run_id, named, provenance)
