"""What small feature networks see of spoiled images, as a figure."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from scripts import select, style

SENSITIVITY = "infodiffusion/sensitivity"
DISTORTIONS = {
    "noise": "noise (sd, grey levels of 255)", "blur": "blur (sigma, pixels)", "shift": "shift (pixels)",
    "mode": "share of a class left out",
}  # fmt: skip
"""Distortions in the order of the panels, and what their axes say."""
ASKED = 5.0
"""Standard errors by which noise of 40 must be seen (`infolab.metrics.sensitivity`, which needs torch)."""


def sensitivity(results: Path) -> Figure:
    """Standard errors of the FID by which each data set's network sees each distortion, over its strength."""

    def pick(frame: pd.DataFrame) -> pd.DataFrame:
        if frame.empty:
            raise select.NoRowsError("no rows of what feature networks see")
        return frame

    rows, source = select.rows_or_reference(results, SENSITIVITY, pick)
    rows = rows[rows["seed"] == rows["seed"].min()].drop_duplicates(["dataset", "distortion", "strength"], keep="last")
    fig = style.figure(style.PAGE, 2.5)
    panels = fig.subplots(1, len(DISTORTIONS), sharey=True)
    held_out = []
    for (dataset, own), look in zip(rows.groupby("dataset", sort=False), style.LOOKS, strict=False):
        held_out.append(f"{dataset} {own['n'].max() + own['n_reference'].max():,}")
        for axes, name in zip(panels, DISTORTIONS, strict=True):
            shown = own[own["distortion"] == name].sort_values("strength")
            axes.plot(shown["strength"], shown["standard_errors"], color=look.color, marker=look.marker, label=dataset)
    for axes, (name, text) in zip(panels, DISTORTIONS.items(), strict=True):
        axes.axhline(ASKED, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        ticks = sorted(rows.loc[rows["distortion"] == name, "strength"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=text, yscale="symlog", ylim=(-1, 300))
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    panels[0].set_ylabel("standard errors of FID")
    style.legend_below(fig, list(panels), len(held_out))
    notes = [f"held-out images: {', '.join(held_out)}", "dotted: asked for, of noise 40"]
    style.title(fig, "What small feature networks see", notes, source)
    return fig
