"""Summary tables of the vae paper: bounds at the published epochs, and the scores of every grid."""

from functools import partial
from pathlib import Path

import pandas as pd

from infolab.quantiles import quantile
from scripts import select, style
from scripts import vae_parts as parts
from scripts.registry import Product, Sheet
from scripts.summaries import number
from scripts.vae_curves import how, how_grid

EPOCHS = (6, 10, 20, 50, 100)
"""Epochs of the published table; the nearest measured ones are shown."""


def bounds(results: Path, dataset: str) -> Sheet:
    """Ours, previous and test at the epochs of the published table."""
    frame, source = parts.full_rows(results, dataset, parts.BOUNDS)
    lines = []
    for (lr, estimator), rows in frame.groupby(["lr", "mi_estimator"]):
        measured = rows["epoch"].unique()
        wanted = sorted(
            {min(measured, key=lambda epoch, aim=aim: abs(epoch - aim)) for aim in (*EPOCHS, max(measured))}
        )
        for epoch in wanted:
            row = rows[rows["epoch"] == epoch].iloc[-1]
            values = {
                name: number(row[f"{name}_nats"], row[f"{name}_se"]) for name in ("ours", "previous", "test", "mi")
            }
            lines.append(
                {"learning rate": f"{lr:g}", "MI": parts.ESTIMATORS[str(estimator)], "m": f"{row['m']:,}",
                 "epoch": f"{epoch}", "ours (nats)": values["ours"], "previous (nats)": values["previous"],
                 "test (nats)": values["test"], "MI (nats)": values["mi"]}
            )  # fmt: skip
    note = "per image; ± standard error over images"
    return Sheet(f"Bounds: {dataset}, {frame['model'].iloc[0]}", _note(note, source), pd.DataFrame(lines))


def scores(results: Path, dataset: str) -> Sheet:
    """Mean and quantiles of the last epoch's scores of every grid, VAEs and diffusion models."""
    frame, source = parts.rows(results, parts.SCORES, dataset, lambda rows: rows)
    lines = []
    for keys, rows in frame.groupby([*parts.GRID, "lr"]):
        named = dict(zip([*parts.GRID, "lr"], keys, strict=True))
        last = rows[rows["epoch"] == rows["epoch"].max()]
        found = last["score"].to_numpy(float)
        cells = {"model": str(named["model"]), "log p(x) by": str(named["estimator"]), "m": f"{named['m']:,}"}
        cells |= {"K x L": f"{named['K']} x {named['L']}", "learning rate": f"{named['lr']:g}"}
        cells |= {
            "epoch": f"{last['epoch'].iloc[0]}",
            "mean (nats)": number(found.mean(), found.std(ddof=1) / len(found) ** 0.5),
        }
        for q in (0.5, 0.95, 0.999):
            band = quantile(found, q)
            high = "open" if band.open_above else f"{band.high:.2f}"
            cells[f"quantile {q:g} (nats)"] = f"{band.value:.2f} [{band.low:.2f}, {high}]"
        lines.append(cells)
    if not lines:
        raise select.NoRowsError(f"no scores of {dataset}")
    note = (
        "mean ± standard error over images, the networks as they are (the run says the error over networks too); "
        "quantiles with 95% bands over images, open where the images are too few to bound one"
    )
    return Sheet(f"Memorization scores: {dataset}", _note(note, source), pd.DataFrame(lines))


def _note(text: str, source: str) -> str:
    return "; ".join(part for part in (text, style.SOURCE_NOTE[source]) if part)


def products() -> list[Product]:
    """The tables of each data set."""
    kinds = (("bounds", parts.BOUNDS, how, bounds), ("scores", parts.SCORES, how_grid, scores))
    return [
        Product(f"vae_table_{kind}_{name}", "vae", (table,), command(name), partial(build, dataset=name), "tables")
        for name in parts.DATASETS
        for kind, table, command, build in kinds
    ]
