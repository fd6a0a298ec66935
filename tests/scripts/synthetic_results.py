"""Synthetic result folders for the tests of scripts/: small, seeded, written by the lab's own writer."""

import dataclasses
from pathlib import Path

import numpy as np
from synthetic_info import write_info
from synthetic_mi import write_mi
from synthetic_nll import write_nll
from synthetic_scores import write_scores
from synthetic_shapes import write_shapes
from synthetic_vae import write_vae

from diffusion.tables import ImageBound, ImageColumns, ImagePenalty, ToyBound, ToyChoice, ToyPenalty
from infolab import results as tables

PROVENANCE = {
    "preset": "quick",
    "config": {"seed": 0},
    "git_commit": "0123456789abcdef",
    "git_clean": True,
    "versions": {"numpy": "2.0"},
    "device": "cpu",
    "threads": 2,
    "seconds": 60.0,
}
TIMES = (0.2, 0.6, 1.0, 2.0)
SIZES = (10, 100, 1000)


def bound_row(row_type, rng, *, m, T, seed, rule="fixed_number", variant="published", epoch=2000, **more):
    """A row whose bound is near 10 m^(-1/2) + T - 1 and whose KL is near 2 m^(-1/2), with noise 0.01."""
    noise = float(0.01 * rng.standard_normal())
    image = issubclass(row_type, ImageColumns)
    settings = (
        {"dataset": "digits", "model": "unet", "d": 64} if image else {"dataset": "swiss_roll", "model": "mlp", "d": 2}
    )
    kl = {"kl_test_nats": 2 * m**-0.5 * (1 + noise), "kl_test_se": 0.001, "kl_kde_nats": 0.2, "kl_kde_floor_nats": 0.14}
    bpd = {"bpd_elbo": 3.0 + noise, "bpd_elbo_se": 0.01, "bpd_ode": 2.9 + noise, "bpd_ode_se": 0.01}
    bpd |= {"bpd_histogram": 3.3, "bpd_histogram_se": 0.01, "ode_evaluations": 100}
    measured = {
        "sde_steps": 100 if rule == "fixed_number" else round(100 * T), "R": 5.0, "t_eps": 1e-3, "term1": -1.0 / T,
        "term1_se": 0.001, "term2": 0.3, "term3": m**-0.5, "score_norm": 3.0, "score_loss_nats": 0.5 + noise,
        "score_loss_se": 0.001, "bound_nats": 10 * m**-0.5 * (1 + noise) + (T - 1.0), "bound_se": 0.001,
    }  # fmt: skip
    settings |= {"m": m, "T": T, "seed": seed, "step_rule": rule, "variant": variant, "epoch": epoch}
    return row_type(**{**settings, **measured, **(bpd if image else kl), **more})


def toy_rows(seeds=(0, 1, 2), stream=0):
    """The T sweep at m = 100 and the m sweep at T = 1 (two epochs), both rules and variants."""
    rng = np.random.default_rng([stream, *seeds])
    rows = []
    for seed in seeds:
        for rule in ("fixed_number", "fixed_size"):
            for variant in ("published", "exact"):
                common = {"seed": seed, "rule": rule, "variant": variant}
                rows += [bound_row(ToyBound, rng, m=100, T=T, **common) for T in TIMES]
                sweep = [(m, epoch) for m in SIZES for epoch in (500, 2000) if (m, epoch) != (100, 2000)]
                rows += [bound_row(ToyBound, rng, m=m, T=1.0, epoch=epoch, **common) for m, epoch in sweep]
    return rows


def image_rows(seeds=(0, 1)):
    """Sweeps over T of digits, few-shot and full."""
    rng = np.random.default_rng(1)
    return [
        bound_row(ImageBound, rng, m=m, T=T, seed=seed, variant=variant, rule="fixed_size", split=split)
        for split, m in (("few_shot", 16), ("full", 1437))
        for T in TIMES
        for seed in seeds
        for variant in ("published", "exact")
    ]


def choice_rows(seeds=(0, 1, 2)):
    """T chosen near 0.8 on shared networks, and networks of their own on a grid and there, with and without penalty."""
    rng, rows = np.random.default_rng(4), []

    def add(network, rule, T, given, seed, weight=0.0, epoch=2000, **more):
        columns = {"network": network, "rule": rule, "T_given": given, "penalty_weight": weight, "strata": 16}
        bound = {"bound_nats": 2.0 + (T - 0.8) ** 2 - weight + 0.01 * float(rng.standard_normal())}
        plain = bound_row(ToyBound, rng, m=100, T=T, seed=seed, epoch=epoch, **bound, **more)
        rows.append(ToyChoice(**dataclasses.asdict(plain), **columns))

    no_kl = dict.fromkeys(("kl_test_nats", "kl_test_se", "kl_kde_nats", "kl_kde_floor_nats"))
    for seed in seeds:
        chosen = {"gradient": 0.8 + 0.01 * seed, "search": 0.79 + 0.01 * seed}
        for epoch in (1000, 2000):
            add("shared", "gradient", chosen["gradient"] + (2000 - epoch) / 1e4, None, seed, epoch=epoch, **no_kl)
        add("shared", "search", chosen["search"], None, seed, **no_kl)
        for T in TIMES:
            add("shared", "scan", T, T, seed, **no_kl)
        for weight in (0.0, 0.1):
            for T in TIMES:
                add("own", "grid", T, T, seed, weight, kl_test_nats=0.3 + (T - 0.6) ** 2)
            for rule, T in chosen.items():
                add("own", rule, T, None, seed, weight, kl_test_nats=0.3 + (T - 0.6) ** 2)
    return rows


def penalty_rows(row_type, seeds=(0, 1)):
    """Sweeps over the penalty's weight: two T of the toy set, or digits few-shot and full."""
    rng = np.random.default_rng(5)
    image = row_type is ImagePenalty
    places = [(16, 1.0, "few_shot"), (1437, 1.0, "full")] if image else [(100, 0.6, ""), (100, 1.0, "")]
    return [
        bound_row(
            row_type, rng, m=m, T=T, seed=seed, penalty_weight=weight, strata=4, score_norm=3.0 / (1 + 10 * weight),
            epoch=2000 if m < 1000 else 40, **({"split": split} if image else {}),
        )
        for m, T, split in places
        for weight in (0.0, 0.01, 0.1, 1.0)
        for seed in seeds
    ]  # fmt: skip


def calibration_rows():
    """Two estimators, one of them without sampling error."""
    common = {"d": 2, "n": 100, "truth_nats": 1.0, "evaluations": 1, "seconds": 0.1, "seed": 0}
    row = tables.Calibration
    return [
        row(estimator="ode", case="gaussian", snr=1.0, estimate_nats=1.01, se=0.01, bias_bound=0.0, **common),
        row(estimator="ode", case="mixture", snr=1.0, estimate_nats=1.2, se=0.01, bias_bound=0.0, **common),
        row(estimator="quadrature", case="gaussian", snr=None, estimate_nats=1.0, se=0.0, bias_bound=1e-9, **common),
    ]


def write_toy(results: Path, seeds=(0, 1, 2), stream=0, run_id="toy", change=lambda row: row):
    """Write toy rows, each passed through `change`."""
    rows = [change(row) for row in toy_rows(seeds, stream)]
    provenance = {**PROVENANCE, "experiment": "toy", "run_id": run_id}
    return tables.write(results, ToyBound, run_id, rows, provenance)


def write_toy_clouds(results: Path):
    """Write toy samples of one seed at four T."""
    cloud = np.random.default_rng(2).standard_normal((len(TIMES), 50, 2)).astype(np.float32)
    arrays = {"samples": cloud, "T": np.array(TIMES, np.float32), "m": np.full(4, 100), "seed": np.zeros(4, int)}
    provenance = {**PROVENANCE, "experiment": "toy", "run_id": "clouds"}
    tables.write_arrays(results, "diffusion", "clouds", {**arrays, "test": cloud[0]}, provenance)


def write_images(results: Path):
    """Write digits rows and one array file for each split and T."""
    provenance = {**PROVENANCE, "experiment": "digits"}
    tables.write(results, ImageBound, "digits", image_rows(), {**provenance, "run_id": "digits"})
    pixels = np.random.default_rng(3).integers(0, 17, (16, 8, 8)).astype(np.uint8)
    for split, m in (("few_shot", 16), ("full", 1437)):
        for T in TIMES:
            settings = {"T": np.array(T), "seed": np.array(0), "m": np.array(m), "split": np.array(split)}
            arrays = {"samples": pixels, "levels": np.array(17), "train": pixels, **settings}
            run_id = f"{split}{T}"
            tables.write_arrays(results, "diffusion", run_id, arrays, {**provenance, "run_id": run_id})


def write_choice(results: Path):
    """Write the choice of T and the penalties."""
    rows = {
        ToyChoice: choice_rows(),
        ToyPenalty: penalty_rows(ToyPenalty),
        ImagePenalty: penalty_rows(ImagePenalty),
    }
    for row_type, made in rows.items():
        tables.write(results, row_type, "run", made, {**PROVENANCE, "experiment": "choose_T", "run_id": "run"})


def write_calibration(results: Path):
    """Write the calibration table."""
    provenance = {**PROVENANCE, "experiment": "calibrate", "run_id": "all"}
    tables.write(results, tables.Calibration, "all", calibration_rows(), provenance)


def write_all(results: Path):
    """Everything that any figure of the repository reads."""
    write_toy(results)
    write_toy_clouds(results)
    write_images(results)
    write_choice(results)
    write_calibration(results)
    write_shapes(results)
    write_nll(results)
    write_mi(results)
    write_scores(results)
    write_vae(results)
    write_info(results)
