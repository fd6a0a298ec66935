"""Made-up rows of the vae tables, with what the figures must say known: quantiles, a rank correlation, bounds."""

from pathlib import Path

import numpy as np

from infolab import results as tables
from vae.tables import Bounds, Curves, Duplicates, ImportedLosses, Memorization, Neighbours

MODEL = "bernoulli-mlp[256-128-8]"
PROVENANCE = {"paper": "vae", "experiment": "cv", "run_id": "made", "preset": "quick", "config": {}}
SHARED = {"dataset": "digits", "model": MODEL, "seed": 42}
N, EPOCHS, RATES = 400, (20, 40, 60), (1e-3, 1e-4)


def curve_rows():
    """Losses that fall with the epochs; one run and its ghost at each learning rate."""
    rows = []
    for lr in RATES:
        for mode, mi in (("full", "untrained-decoder"), ("ghost", "ghost")):
            for epoch in (2, *EPOCHS):
                for split, lift in (("train", 0.0), ("test", 1.0)):
                    measured = {"logpx_nats": -24.0 - lift - 10 / epoch, "logpx_se": 0.1, "ess": 30.0}
                    term = {"mi_nats": 20.0, "mi_se": 0.2} if split == "train" else {}
                    rows.append(
                        Curves(
                            **SHARED, mode=mode, m=N if mode == "full" else N // 2, d=64, lr=lr, K=0, repeat=-1,
                            fold=-1, epoch=epoch, split=split, mi_estimator=mi if split == "train" else "none", n_z=128,
                            proposal="encoder/random", loss_nats=25 + lift + 40 / epoch, loss_se=0.1, kl_nats=8.0,
                            kl_se=0.1, rec_nats=17 + lift + 40 / epoch, rec_se=0.1, **term,
                            logpx_images=N if epoch in EPOCHS else 0, **(measured if epoch in EPOCHS else {}),
                        )
                    )  # fmt: skip
    return rows


def bound_rows():
    """Ours above test above previous, with all three estimators."""
    rows = []
    for lr in RATES:
        for estimator, mode, mi in (
            ("untrained-decoder", "full", 20.0), ("ghost", "ghost", 2.0), ("held-out", "full", 0.6)
        ):  # fmt: skip
            for epoch in EPOCHS:
                previous = 20 + 40 / epoch
                rows.append(
                    Bounds(
                        **SHARED, mode=mode, lr=lr, epoch=epoch, m=N if mode == "full" else N // 2,
                        mi_estimator=estimator, mi_nats=mi, mi_se=0.1, ours_nats=previous + 3 + 2 * (mi / N) ** 0.5,
                        ours_se=0.1, previous_nats=previous, previous_se=0.1, test_nats=previous + 0.5, test_se=0.2,
                    )
                )  # fmt: skip
    return rows


def scores_of(lr, epoch, rng):
    """Exponential scores whose mean grows with the epochs and the learning rate."""
    return rng.exponential(0.01 * epoch * (1 + (lr == 1e-3)), N)


def score_rows():
    """Two grids of VAEs, one of a diffusion model, and a smoke run that no figure may show."""
    rng, rows = np.random.default_rng(0), []
    label = rng.integers(0, 10, N)
    grids = [({**SHARED, "lr": lr}, "importance[128, encoder/random]", N) for lr in RATES]
    grids.append(({**SHARED, "model": "denoiser-mlp[256-256]", "lr": 1e-3}, "i-mmse[32 x 2]", N))
    grids.append(({**SHARED, "model": "tiny", "lr": 1e-3}, "importance[4, encoder/random]", 64))
    for shared, estimator, n in grids:
        for epoch in EPOCHS:
            scores = scores_of(shared["lr"], epoch, rng)
            for i in range(n):
                inside = float(-25 - 5 * scores[i] + rng.normal())
                rows.append(
                    Memorization(
                        **shared, m=n, K=10, L=1, estimator=estimator, epoch=epoch, index=i, label=int(label[i]),
                        logpx_in=inside, logpx_out=inside - float(scores[i]), score=float(scores[i]), runs_in=9,
                        runs_out=1,
                    )
                )  # fmt: skip
    return rows


def neighbour_rows(scores):
    """A ratio that grows with the score of the last epoch: rank correlation 1."""
    last = [row for row in scores if row.epoch == EPOCHS[-1] and row.model == MODEL]
    return [
        Neighbours(
            **SHARED, m=N, lr=row.lr, K=10, epoch=60, index=row.index, label=row.label, n=360,
            dist_heldout=0.3 + row.score / 10, dist_sample=0.4, ratio=(0.3 + row.score / 10) / 0.4,
        )
        for row in last
    ]  # fmt: skip


def duplicate_rows():
    """Twenty pairs."""
    return [
        Duplicates(dataset="digits", seed=42, m=N, within=0.01, closest=20, index_a=i, index_b=i + 100, label_a=1,
                   label_b=1, distance=0.005 * (i + 1))
        for i in range(20)
    ]  # fmt: skip


def imported_rows(repeats=2, shift=0.0, grid="aaaaaaaaaaaa", spread=1.0):
    """Losses of a 2 x `repeats` grid: `spread` between repeats, 0.5 between folds, 1 more on the held-out fold."""
    return [
        ImportedLosses(
            dataset="mnist", model="BernoulliMLPVAE_512-256-16", seed=42, m=60_000, lr=lr, K=2, repeat=repeat,
            grid=f"{grid}-{lr:g}", fold=fold, epoch=epoch, split=split,
            loss_nats=80 + shift + 60 / epoch + spread * repeat + 0.5 * fold + (split == "test"),
        )
        for lr in RATES for repeat in range(repeats) for fold in (0, 1) for epoch in (1, 5, 10)
        for split in ("train", "test")
    ]  # fmt: skip


def write_pictures(results: Path):
    """Pictures of memorized images and of pairs, of both learning rates."""
    rng = np.random.default_rng(3)
    for lr in RATES:
        arrays = {"m": np.array(N), "levels": np.array(17), "within": np.array(0.01)}
        for name in ("most", "middle", "least"):
            arrays[name] = rng.integers(0, 17, (15, 1, 8, 8)).astype(np.uint8)
            arrays[f"{name}_score"] = np.linspace(3, 2, 15).astype(np.float32)
        for name in ("pair_a", "pair_b"):
            arrays[name] = rng.integers(0, 17, (10, 1, 8, 8)).astype(np.uint8)
        arrays["pair_distance"] = np.linspace(0.005, 0.05, 10).astype(np.float32)
        config = {"dataset": "digits", "lr": lr, "model": "bernoulli-mlp", "epochs": 60}
        provenance = {**PROVENANCE, "experiment": "memorization", "run_id": f"pictures{lr:g}", "config": config}
        tables.write_arrays(results, "vae", f"pictures{lr:g}", arrays, provenance)


def write_vae(results: Path):
    """Everything that the vae figures read."""
    scores = score_rows()
    made = {
        Curves: curve_rows(),
        Bounds: bound_rows(),
        Memorization: scores,
        Neighbours: neighbour_rows(scores),
        Duplicates: duplicate_rows(),
        ImportedLosses: imported_rows(),
    }
    for row_type, rows in made.items():
        tables.write(results, row_type, "made", rows, PROVENANCE)
    write_pictures(results)
