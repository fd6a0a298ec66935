"""Synthetic results of the image study, written by the lab's own writer."""

import math
from pathlib import Path

import numpy as np

from infolab import results as tables
from itdiffusion.tables import ImageBaseline, MseCurve, Nll

SETS = {"digits": (64, 17, 1), "patches": (3072, 256, 3), "cifar10": (3072, 256, 3)}
IDDPM = "iddpm[cifar10_uncond_vlb_50M_500K]"
POINTS = 300
LOC, SCALE, CLIP = 3.0, 1.5, 4.0


def models(dataset):
    """(model, epochs at which it was measured)."""
    if dataset == "cifar10":
        return [(IDDPM, (0, 5, 10)), ("unet[cifar10,noise]", (10, 20))]
    return [("unet[digits,gaussian]", (10, 20)), ("unet[digits,levels]", (10, 20))]


def nll(dataset, model, epoch, estimator, rounding, bpd, width, seed=0):
    """One estimate."""
    d = SETS[dataset][0]
    return Nll(
        dataset=dataset, model=model, seed=seed, epoch=epoch, d=d, n=100, data_scale="[-1, 1]", bin_width=width,
        estimator=estimator, rounding=rounding, integrator="random", points=POINTS, nll_nats=bpd * d * math.log(2),
        nll_bpd=bpd, se_quadrature_nats=1.0, se_data_nats=1.0, se_bpd=0.02,
    )  # fmt: skip


def nll_rows(dataset):
    """3 bits/dim falling to 2 for the mass, 5 less for the density."""
    width, rows = 2 / (SETS[dataset][1] - 1), []
    for place, (model, epochs) in enumerate(models(dataset)):
        for epoch in epochs:
            bpd = 3.0 - epoch / 20 + 0.1 * place
            mass = [("discrete", how, bpd) for how in ("best", "raw", "hard", "soft")]
            mass += [("dequantized", "none", bpd + 0.1), ("variational", "none", bpd + 0.2)]
            rows += [nll(dataset, model, epoch, *one, width) for one in mass]
            rows += [nll(dataset, model, epoch, kind, "none", bpd - 5, 0.0) for kind in ("continuous", "variational")]
    together = f"ensemble[{' + '.join(model for model, _ in models(dataset))}]"
    rows += [nll(dataset, together, 20, "ensemble", how, 1.9, width) for how in ("best", "none")]
    return [*rows, nll(dataset, together, 20, "ensemble", "none", -3.1, 0.0)]


def curve_rows(dataset):
    """Curves d s(logsnr) times 0.8 at random points of the logistic law, of a mass and of a density."""
    d, levels, _ = SETS[dataset]
    u = np.sort(np.random.default_rng(0).uniform(size=POINTS))
    edge = 1 / (1 + math.exp(CLIP))
    p = edge + (1 - 2 * edge) * u
    rows = []
    for model, epochs in models(dataset):
        for epoch in epochs:
            for width in (2 / (levels - 1), 0.0):
                for a in (LOC + SCALE * np.log(p / (1 - p))).tolist():
                    gaussian = d / (1 + math.exp(-a))
                    rounded = {"mse_hard": gaussian, "mse_soft": gaussian, "mse_dequantized": 0.9 * gaussian}
                    rows.append(
                        MseCurve(
                            dataset=dataset, model=model, seed=0, epoch=epoch, d=d, n=100, data_scale="[-1, 1]",
                            bin_width=width, integrator="random", logsnr=a, mse=0.8 * gaussian, mse_se=0.1,
                            mse_gaussian=gaussian, loc=LOC, scale=SCALE, clip=CLIP, **(rounded if width else {}),
                        )
                    )  # fmt: skip
    return rows


def write_nll(results: Path):
    """Tables and pictures of all three data sets."""
    rng = np.random.default_rng(3)
    for dataset, (d, levels, channels) in SETS.items():
        provenance = {"preset": "quick", "experiment": dataset, "run_id": dataset, "config": {"seed": 0}}
        tables.write(results, Nll, dataset, nll_rows(dataset), provenance)
        tables.write(results, MseCurve, dataset, curve_rows(dataset), provenance)
        baseline = {"dataset": dataset, "seed": 0, "d": d, "n": 100, "levels": levels, "nll_bpd_se": 0.0}
        tables.write(
            results, ImageBaseline, dataset, [ImageBaseline(**baseline, model="uniform", nll_bpd=4.1)], provenance
        )
        shape = (16, 8, 8) if channels == 1 else (16, 8, 8, 3)
        arrays = {"train": rng.integers(0, levels, shape).astype(np.uint8), "levels": np.array(levels)}
        arrays |= {f"samples_{i}": rng.integers(0, levels, shape).astype(np.uint8) for i in range(2)}
        arrays |= {"seed": np.array(0), "names": np.array([model for model, _ in models(dataset)])}
        tables.write_arrays(results, "itdiffusion", dataset, arrays, provenance)
