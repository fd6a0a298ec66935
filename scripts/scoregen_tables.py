"""Summary tables of the score models: the U of the KL by seed, capacity, slopes, clusters."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from scripts import scoregen_clusters as clusters
from scripts import scoregen_dynamics as dynamics
from scripts import scoregen_parts as parts
from scripts import scoregen_sweeps as sweeps
from scripts import select, slopes, style
from scripts.registry import Product, Sheet
from scripts.summaries import number


def _note(text: str, source: str) -> str:
    return "; ".join(part for part in (text, style.SOURCE_NOTE[source]) if part)


def minima(results: Path) -> Sheet:
    """For each optimiser: epoch and value of the least KL, and the KL at the end, by seed and over seeds."""
    curves, source = dynamics.by_optimizer(results)
    lines = []
    for rows in curves.values():
        best = parts.at_best(rows, ["seed"]).set_index("seed")
        last = rows[rows["epoch"] == rows["epoch"].max()].set_index("seed")
        before = int((best["epoch"] < rows["epoch"].max()).sum())
        rise = last["kl_nats"] / best["kl_nats"]
        lines.append(
            {
                "setting": parts.setting(rows),
                "seeds": str(len(best)),
                "least KL (nats)": _mean(best["kl_nats"]),
                "at epoch": f"{best['epoch'].median():,.0f} ({best['epoch'].min():,.0f} to {best['epoch'].max():,.0f})",
                "before the end": f"{before} of {len(best)}",
                "last / least": f"{rise.median():.2f} ({rise.min():.2f} to {rise.max():.2f})",
                "right mode, last": _mean(last["mass_right"]),
            }
        )
    note = "mean ± standard error over seeds; median (range) of epochs and ratios"
    return Sheet("Least KL over training and at its end", _note(note, source), pd.DataFrame(lines))


def capacity(results: Path) -> Sheet:
    """KL at epoch 1,000 and the first epoch with a small KL, by width."""
    rows, source = select.rows_or_reference(results, sweeps.CAPACITY, sweeps.capacity_rows)
    lines = []
    for width, own in rows.groupby("width"):
        first = [f"{value:,.0f}" if np.isfinite(value) else "never" for value in own["first_epoch_below"]]
        lines.append(
            {
                "width": f"{width:,}",
                "seeds": str(len(own)),
                "KL at epoch 1,000 (nats)": _mean(own["kl_at_1000"].dropna()),
                "first epoch below": ", ".join(first),
                "least KL seen (nats)": _mean(own["kl_least"].dropna()),
            }
        )
    threshold, most = rows["threshold"].iloc[0], rows["max_epochs"].iloc[0]
    note = f"mean ± standard error over seeds; small: KL <= {threshold:g} nats; never: not within {most:,} epochs"
    return Sheet("Capacity", _note(note, source), pd.DataFrame(lines))


def slope_sheet(results: Path) -> Sheet:
    """Log-log slopes of the early-stopped KL in n, with 95% intervals, beside -2/5."""
    found, source = sweeps.all_samples(results)
    lines = []
    for (sweep, network), best in found.items():
        n = best["n"].to_numpy(float)
        kl, time = (slopes.power_law(n, best[column].to_numpy(float)) for column in ("kl_nats", "time"))
        lines.append(
            {
                "model": sweeps.MODELS[network],
                "sweep": sweeps.SWEEPS[sweep],
                "n": f"{n.min():,.0f} to {n.max():,.0f}",
                "slope of the least KL": _slope(kl),
                "is it a line (p)": _p(kl),
                "slope of its time": _slope(time),
                "is that a line (p)": _p(time),
                "theorem": "KL <= c n^(-2/5) at time n^(2/5)" if sweep == "samples_m=n" else "",
            }
        )
    note = f"{slopes.NOTE}; p from the spread over seeds; the theorem bounds the KL from above, at m = n"
    return Sheet("Slopes of the early-stopped KL in the sample size", _note(note, source), pd.DataFrame(lines))


def _slope(law: slopes.PowerLaw) -> str:
    return "none" if law.slope is None else str(law.slope)


def _p(law: slopes.PowerLaw) -> str:
    return f"{law.p:.2g}" if np.isfinite(law.p) else ""


def cluster_sheet(results: Path) -> Sheet:
    """Both pairs of each data set: clusters, distance, last losses, NLL, and the difference of the pairs."""
    by_set, source = clusters.rows_by_set(results)
    lines = []
    for name, rows in by_set.items():
        last = rows[rows["epoch"] == rows["epoch"].max()]
        for pair in clusters.PAIRS:
            own = last[last["pair"] == pair]
            lines.append(
                {
                    "data set": name,
                    "pair": pair,
                    "clusters": own["clusters"].iloc[0],
                    "centre distance": f"{own['centre_distance'].iloc[0]:.2f}",
                    "loss": _mean(own["loss"]),
                    "loss, held out": _mean(own["loss_test"]),
                    "bits/dim, held out": _mean(own["nll_bpd"].dropna()),
                    "histogram": _mean(own["histogram_bpd"].dropna()),
                }
            )
        gaps = [number(*clusters.difference(rows, column)[:2]) for column in ("loss", "loss_test", "nll_bpd")]
        labels = {"data set": name, "pair": "farthest - nearest", "clusters": "", "centre distance": ""}
        lines.append(
            {**labels, "loss": gaps[0], "loss, held out": gaps[1], "bits/dim, held out": gaps[2], "histogram": ""}
        )
    note = "mean ± standard error over seeds, differences paired by seed; NLL by I-MMSE, an upper bound"
    return Sheet("Farthest and nearest pair of clusters", _note(note, source), pd.DataFrame(lines))


def _mean(values: pd.Series) -> str:
    if values.empty:
        return ""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return number(float(values.mean()), float(error))


def products() -> list[Product]:
    """The tables, Markdown and LaTeX."""
    drawn: list[tuple[str, str, str, Callable[[Path], Sheet]]] = [
        ("score_table_minima", parts.KL, "mixture", minima),
        ("score_table_capacity", sweeps.CAPACITY, "capacity", capacity),
        ("score_table_slopes", parts.KL, "samples", slope_sheet),
        ("score_table_clusters", clusters.TABLE, "clusters", cluster_sheet),
    ]
    return [
        Product(name, "scoregen", (table,), f"sh scoregen/run_{run}.sh", build, "tables")
        for name, table, run, build in drawn
    ]
