"""The calibration figure: every estimator minus the known truth, in units of its standard error."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts import products, select, style

TABLE = "calibration/estimators"
CLIP = 6.0
"""Points beyond this many standard errors stand at the edge, with their value written beside them."""


def deviations(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds z = (estimate - truth) / se, allowed = 2 + bias_bound / se, and `exact` where se is 0.

    Without sampling error (se 0) the unit is half the bias bound, so that these too should stay within 2.
    """
    difference = frame["estimate_nats"] - frame["truth_nats"]
    exact = frame["se"] <= 0
    unit = np.where(exact, np.maximum(frame["bias_bound"] / 2, np.finfo(float).tiny), frame["se"])
    allowed = np.where(exact, 2.0, 2.0 + frame["bias_bound"] / unit)
    return frame.assign(z=difference / unit, allowed=allowed, exact=exact)


@products.figure("estimators", TABLE, how="make calibrate")
def estimators(results: Path) -> Figure:
    """One line for each estimator and case; its seeds are points that should lie within the grey bar."""
    frame, source = select.rows_or_reference(results, TABLE, lambda rows: rows)
    rows = deviations(frame)
    snr = rows["snr"].map(lambda value: "" if pd.isna(value) else f", snr {value:g}")
    rows["label"] = rows["case"] + ", d = " + rows["d"].astype(str) + snr
    lines = rows.drop_duplicates(["estimator", "label"]).sort_values(["estimator", "case", "d", "snr"], kind="stable")
    lines = lines.reset_index(drop=True)
    fig = style.figure(style.PAGE, 0.9 + 0.155 * (len(lines) + lines["estimator"].nunique()))
    axes = fig.subplots()
    places, names = [], []
    place = 0.0
    for estimator, block in lines.groupby("estimator", sort=False):
        axes.text(-CLIP, place, str(estimator), fontweight="bold", fontsize=6.5, va="center")
        for label in block["label"]:
            place += 1
            places.append(place)
            names.append(label)
            points = select.only(rows, estimator=estimator, label=label)
            _draw_line(axes, place, points)
        place += 1
    axes.axvline(0, color="black", linewidth=0.6)
    for edge in (-2, 2):
        axes.axvline(edge, color=style.GREY, linewidth=0.6, linestyle="--")
    axes.set_yticks(places, names, fontsize=6)
    axes.set(ylim=(place, -1), xlim=(-CLIP - 0.3, CLIP + 0.3))
    axes.set_xlabel("(estimate - truth) / standard error")
    inside = int((rows["z"].abs() <= rows["allowed"]).sum())
    notes = [
        f"grey bar: 2 standard errors and the stated bias bound; {inside} of {len(rows)} estimates within it "
        "(about 95% expected)"
    ]
    if rows["exact"].any():
        notes.append("hollow: no sampling error, in units of half the bias bound")
    style.title(fig, "Estimators against known answers", notes, source)
    return fig


def _draw_line(axes: Axes, place: float, points: pd.DataFrame) -> None:
    allowed = min(float(points["allowed"].max()), CLIP + 0.3)
    axes.barh(place, 2 * allowed, left=-allowed, height=0.7, color="0.9")
    for z, exact in zip(points["z"], points["exact"], strict=True):
        face = "white" if exact else style.LINES[0].color
        axes.plot(np.clip(z, -CLIP, CLIP), place, "o", markersize=3, color=style.LINES[0].color, markerfacecolor=face)
    for sign, align in ((1, "right"), (-1, "left")):
        beyond = points.loc[sign * points["z"] > CLIP, "z"]
        if len(beyond):
            axes.annotate(
                ", ".join(f"{z:+.3g}" for z in beyond), (sign * CLIP, place), (-5 * sign, 0),
                textcoords="offset points", fontsize=5.5, va="center", ha=align,
            )  # fmt: skip
