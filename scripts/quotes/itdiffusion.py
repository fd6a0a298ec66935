"""Numbers of the itdiffusion paper: 2-D shapes, mutual information, digits, and the calibration of the NLL."""

import functools
from collections.abc import Mapping

from scripts import select
from scripts.quotes.quote import Quote, mean_se, reference

LAB, PAPER = "RESULTS.md", "itdiffusion/RESULTS.md"
MODELS = {
    "mlp": "plain",
    "mlp[ema=0.998,cosine]": "averaged",
    "mlp[gaussian-preconditioned,ema=0.998,cosine]": "linear",
}
WIDE = "wide"
SHAPES = ("scg", "moons", "circle", "swiss_roll")


@functools.cache
def shapes() -> Mapping[str, float]:
    """Excess over the exact NLL, `kind_shape` by I-MMSE, `kind_shape_ode` by the ODE: mean, range, one seed's error."""
    frame = reference("itdiffusion/nll")
    frame = frame[frame["dataset"].isin(SHAPES)]
    last = frame[frame["epoch"] == frame.groupby(["dataset", "model", "seed"])["epoch"].transform("max")]
    found: dict[str, float] = {}
    for (model, name, estimator), rows in last.groupby(["model", "dataset", "estimator"]):
        key = f"{MODELS.get(str(model), WIDE)}_{name}" + ("_ode" if estimator == "ode" else "")
        excess = rows["excess_nats"]
        found |= {key: excess.mean(), f"{key}_low": excess.min(), f"{key}_high": excess.max()}
        found[f"{key}_se"] = rows["excess_se_nats"].iloc[-1]
    for name in SHAPES:
        ode, own = f"{WIDE}_{name}_ode", f"{WIDE}_{name}"
        found[f"gap_{name}"] = abs(found[ode] - found[own])
        found[f"gap_{name}_se"] = (found[f"{ode}_se"] ** 2 + found[f"{own}_se"] ** 2) ** 0.5
        found[f"gap_{name}_ratio"] = found[f"gap_{name}"] / found[f"gap_{name}_se"]
    return found


@functools.cache
def digits() -> Mapping[str, float]:
    """Bits/dim of the heads, the ensemble and the baselines, by seed (`_0`, `_1`), and means of `levels`."""
    frame = select.only(reference("itdiffusion/nll"), dataset="digits")
    frame = frame[frame["epoch"] == frame["epoch"].max()]
    found: dict[str, float] = {}
    for (model, estimator, rounding, seed), rows in frame[frame["nll_bpd"] > 0].groupby(
        ["model", "estimator", "rounding", "seed"], dropna=False
    ):
        head = "ensemble" if str(model).startswith("ensemble") else str(model).rstrip("]").split(",")[-1]
        found[f"{head}_{estimator}_{rounding}_{seed}"] = rows["nll_bpd"].iloc[-1]
    best = frame[(frame["rounding"] == "best") & (frame["estimator"] == "discrete")]
    found["levels"], found["levels_se"] = mean_se(best[best["model"].str.endswith("levels]")]["nll_bpd"])
    baselines = reference("itdiffusion/baselines")
    baselines = baselines[baselines["dataset"] == "digits"]
    for (model, seed), rows in baselines.groupby(["model", "seed"]):
        found[f"{str(model).split('[')[0]}_{seed}"] = rows["nll_bpd"].iloc[-1]
    found["mixture"], found["mixture_se"] = mean_se(baselines[baselines["model"].str.startswith("mixture")]["nll_bpd"])
    for head in ("levels", "gaussian"):
        for seed in (0, 1):
            found[f"{head}_below_{seed}"] = found[f"mixture_{seed}"] - found[f"{head}_discrete_best_{seed}"]
    return found


@functools.cache
def mi() -> Mapping[str, float]:
    """The laws at n = 10,000, and the coverage study at n = 2,000."""
    frame = select.only(reference("itdiffusion/mi"), form="difference")
    frame = frame[frame["truth_nats"].notna()]
    laws = select.only(frame, n=10_000).drop_duplicates("case", keep="last").set_index("case")
    off = (laws["mi_nats"] - laws["truth_nats"]).abs()
    near = (off <= 0.05) | (off <= 0.05 * laws["truth_nats"])
    found: dict[str, float] = {"laws": len(laws), "near": int(near.sum())}
    found |= {
        "fast": laws["seconds"].min(),
        "slow": laws["seconds"].max(),
        "over_50": int((laws["seconds"] > 50).sum()),
    }
    for name in ("spiral-3+3", "spiral-5+5", "student-sparse-3+3"):
        key = name.split("+")[0].replace("-", "_")
        found |= {key: laws.loc[name, "mi_nats"], f"{key}_se": laws.loc[name, "se_nats"]}
        found[f"{key}_truth"] = laws.loc[name, "truth_nats"]
    apart = laws[laws.index.str.startswith("independent")]
    found |= {
        "apart": apart["mi_nats"].min(),
        "apart_low": apart["se_nats"].min(),
        "apart_high": apart["se_nats"].max(),
    }
    low = laws[laws.index.str.contains("additive|student") & (laws["truth_nats"] > 0)]
    short = low["truth_nats"] - low["mi_nats"]
    found |= {"short_low": short.min(), "short_high": short.max(), "short_truth_low": low["truth_nats"].min()}
    found["short_truth_high"] = low["truth_nats"].max()
    study = select.only(frame, n=2_000)
    held = (study["mi_nats"] - study["truth_nats"]).abs() <= 1.96 * study["se_nats"]
    for case, own in study.groupby("case"):
        key = str(case).split("-")[0].split("+")[0]
        found[f"held_{key}"] = int(held[own.index].sum())
        found[f"held_{key}_of"] = len(own)
    edges = study[study["case"] == "additive-0.75"]
    found["cost"], found["cost_se"] = mean_se(edges["truth_nats"] - edges["mi_nats"])
    cost = edges["truth_nats"] - edges["mi_nats"]
    found |= {"cost_low": cost.min(), "cost_high": cost.max(), "cost_stated": edges["se_nats"].mean()}
    return found | {"cost_truth": edges["truth_nats"].iloc[0]}


@functools.cache
def calibration() -> Mapping[str, float]:
    """What the control variate saves, and the coverage of the NLL's errors."""
    coverage, saved = reference("calibration/coverage"), reference("calibration/control_variate")
    found = {"laws": len(coverage), "seeds": coverage["seeds"].iloc[0]}
    found |= {"least": 100 * coverage["within_2_se"].min(), "most": 100 * coverage["within_2_se"].max()}
    for (case, noise), rows in saved.groupby(["case", "noise"]):
        found[f"{noise}_{case}"] = rows["ratio"].iloc[-1]
    return found


def _rows(title: str, kind: str, decimals: tuple[int, ...], of_ode: tuple[int, ...]) -> str:
    """Two lines of the table: I-MMSE and ODE, with ranges over seeds or, for one seed, with errors."""
    if kind == WIDE:
        cells = [
            f"{{{kind}_{name}:.{k}f}} ± {{{kind}_{name}_se:.{k}f}}" for name, k in zip(SHAPES, decimals, strict=True)
        ]
    else:
        cells = [
            f"{{{kind}_{name}:.{k}f}} ({{{kind}_{name}_low:.{k}f}} to {{{kind}_{name}_high:.{k}f}})"
            for name, k in zip(SHAPES, decimals, strict=True)
        ]
    odes = [
        f"{{{kind}_{name}_ode:.{k}f}}" + (f" ± {{{kind}_{name}_ode_se:.{k}f}}" if kind == WIDE else "")
        for name, k in zip(SHAPES, of_ode, strict=True)
    ]
    return f"| {title} | I-MMSE | {' | '.join(cells)} |\n| | ODE | {' | '.join(odes)} |"


QUOTES = [
    Quote(LAB, "{levels:.3f} ± {levels_se:.3f} bits/dim over 2 seeds (best of four baselines {mixture:.3f} ± "
          "{mixture_se:.3f}, histogram {histogram_0:.2f}, uniform {uniform_0:.2f})", digits),
    Quote(LAB, "scg {averaged_scg:.3f} nats ({averaged_scg_low:.3f} to {averaged_scg_high:.3f} over 5 seeds), moons "
          "{averaged_moons:.3f} ({averaged_moons_low:.3f} to {averaged_moons_high:.3f}); preconditioned, scg "
          "{linear_scg:.4f}", shapes),
    Quote(LAB, "{near:d} of {laws:d} distributions within 0.05 nats or 5% at n = 10,000", mi),
    Quote(PAPER, _rows("as published, 160 epochs", "plain", (3, 3, 2, 3), (1, 1, 1, 1)), shapes),
    Quote(PAPER, _rows("cosine, averaged weights", "averaged", (3, 3, 2, 3), (1, 1, 1, 1)), shapes),
    Quote(PAPER, _rows("Gaussian-preconditioned too", "linear", (4, 3, 2, 3), (3, 2, 2, 2)), shapes),
    Quote(PAPER, _rows("wider, smoother, 16 times the examples", WIDE, (4, 3, 3, 3), (4, 3, 3, 3)), shapes),
    Quote(PAPER, "differ by {gap_scg:.4f}, {gap_moons:.3f}, {gap_circle:.3f} and {gap_swiss_roll:.3f} nats.", shapes),
    Quote(PAPER, "are {gap_scg_se:.4f}, {gap_moons_se:.3f}, {gap_circle_se:.3f} and {gap_swiss_roll_se:.3f} nats, so that "
          "scg and moons agree ({gap_scg_ratio:.1f} and {gap_moons_ratio:.1f} errors), and on the circle and the swiss "
          "roll the ODE is above I-MMSE by {gap_circle_ratio:.1f} and {gap_swiss_roll_ratio:.1f} errors.", shapes),
    Quote(PAPER, "{near:d} of {laws:d} distributions within 0.05 nats or 5% of the truth, each in {fast:.0f} to {slow:.0f} seconds "
          "on one core ({over_50:d} of them in more than 50), and independent sides (three distributions) at {apart:.4f}, each ± "
          "{apart_low:.4f} to {apart_high:.4f}.", mi),
    Quote(PAPER, "{spiral_3:.3f} ± {spiral_3_se:.3f} (3+3 dimensions) and {spiral_5:.3f} ± {spiral_5_se:.3f} (5+5) where "
          "{spiral_5_truth:.3f} is true", mi),
    Quote(PAPER, "the value is low, by {short_low:.2f} to {short_high:.2f} nats in {short_truth_low:.1f} to "
          "{short_truth_high:.1f} (most on sparse Student-t pairs in 3+3 dimensions: {student_sparse_3:.3f} ± "
          "{student_sparse_3_se:.3f} where {student_sparse_3_truth:.3f} is true)", mi),
    Quote(PAPER, "{held_gaussian:d} of {held_gaussian_of:d} hold the truth for Gaussian pairs and for cubes and normal CDFs "
          "of sparse ones, {held_student:d} of {held_student_of:d} for Student-t pairs, and {held_additive:d} of "
          "{held_additive_of:d} for additive uniform noise of 0.75, whose sharp edges cost {cost:.3f} ± {cost_se:.3f} "
          "nats of {cost_truth:.2f} in the mean ({cost_low:.3f} to {cost_high:.3f}), where the reported standard error is "
          "{cost_stated:.3f} in the mean.", mi),
    Quote(PAPER, "it cuts the noise by {shared_moons:.1f} (moons) to {shared_letters:.1f} (letters) on the 2-D shapes and "
          "by {shared_digits:.1f} on digits; the default noise beside the published form by {default_moons:.1f} (moons), "
          "{default_swiss_roll:.1f} (swiss roll), {default_spiral:.1f} (spiral), {default_letters:.1f} (letters) and "
          "{default_digits:.1f} (digits)", calibration),
    Quote(PAPER, "over {seeds:d} seeds finds the truth within 2 reported standard errors in {least:.1f}% to {most:.0f}%",
          calibration),
    Quote(PAPER, "| uniform, log2 17 | {uniform_0:.3f} |", digits),
    Quote(PAPER, "| per-pixel histogram | {histogram_0:.3f} |", digits),
    Quote(PAPER, "| Gaussian, full covariance (floor 1/12 squared grey level) | {gaussian_0:.3f} |", digits),
    Quote(PAPER, "best of five values on this very test set) | {mixture_0:.3f}, {mixture_1:.3f} |", digits),
    Quote(PAPER, "| `gaussian` head, I-MMSE, best rounding | {gaussian_discrete_best_0:.3f}, "
          "{gaussian_discrete_best_1:.3f} |", digits),
    Quote(PAPER, "| `levels` head, I-MMSE | **{levels_discrete_best_0:.3f}, {levels_discrete_best_1:.3f}** |", digits),
    Quote(PAPER, "| ensemble of both | {ensemble_ensemble_best_0:.3f}, {ensemble_ensemble_best_1:.3f} |", digits),
    Quote(PAPER, "`levels` by {levels_below_0:.2f} and {levels_below_1:.2f} bits/dim, `gaussian` by {gaussian_below_0:.2f} "
          "and {gaussian_below_1:.2f};", digits),
    Quote(PAPER, "(its hard-rounded curve gives {levels_discrete_hard_0:.3f}, {levels_discrete_hard_1:.3f}); the `gaussian` "
          "head needs it at high log-SNR: hard rounding everywhere gives {gaussian_discrete_hard_0:.3f}, "
          "{gaussian_discrete_hard_1:.3f}, the best of raw, hard and soft at each log-SNR {gaussian_discrete_best_0:.3f}, "
          "{gaussian_discrete_best_1:.3f}.", digits),
    Quote(PAPER, "{levels_variational_none_0:.3f}, {levels_variational_none_1:.3f} (`levels`) and "
          "{gaussian_variational_none_0:.3f}, {gaussian_variational_none_1:.3f} (`gaussian`)", digits),
    Quote(PAPER, "{gaussian_dequantized_none_0:.3f}, {gaussian_dequantized_none_1:.3f} (`gaussian`) and "
          "{ensemble_ensemble_none_0:.3f}, {ensemble_ensemble_none_1:.3f} (ensemble).", digits),
]  # fmt: skip
