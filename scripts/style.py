"""How every figure looks: colours that survive greyscale and colour blindness, line styles, titles, saving."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from infolab import atomic
from scripts.products import SOURCE_NOTE

COLUMN = 3.4
"""Width of one text column of a paper, inches."""
PAGE = 7.0
"""Width of two text columns, inches."""
GREY = "0.55"
PLAIN = FuncFormatter(lambda value, _: f"{value:,.10g}")
"""Tick labels without powers of ten: 20,000."""
LETTER = 0.56
"""Width of a letter of a title, in units of its size: longer lines are broken, lest the figure's edge cut them."""


@dataclass(frozen=True)
class LineStyle:
    """Colour, line style, marker and hatch of one kind of line or bar; no two kinds share any of them."""

    color: str
    line: Any
    marker: str
    hatch: str


# Ordered by lightness, so that neighbours differ in print and to colour-blind eyes too.
LINES = (
    LineStyle("#101f4d", "-", "o", ""),
    LineStyle("#a3262a", "--", "s", "////"),
    LineStyle("#1f83c4", "-.", "^", "...."),
    LineStyle("#ef8f3c", (0, (4, 1, 1, 1, 1, 1)), "D", "\\\\\\\\"),
    LineStyle("#e3d26f", ":", "v", "xxxx"),
)


@contextmanager
def applied() -> Iterator[None]:
    """Fonts, sizes and lines of the lab's figures, for the duration of a `with` block only."""
    settings = {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 6.5,
        "figure.titlesize": 8,
        "lines.linewidth": 1.3,
        "lines.markersize": 3.5,
        "axes.linewidth": 0.7,
        "hatch.linewidth": 0.5,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "pdf.fonttype": 42,
        "font.family": ["DejaVu Sans"],
        "figure.dpi": 200,
    }
    with sns.axes_style("ticks"), mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure (inches) whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def title(fig: Figure, text: str, notes: Sequence[str], source: str) -> None:
    """Write the title, and under it the notes (what a band is, how many epochs) and whose data these are."""
    lines = [text, *[note for note in (*notes, SOURCE_NOTE[source]) if note]]
    size = FontProperties(size=mpl.rcParams["figure.titlesize"]).get_size_in_points()
    most = int(72 * fig.get_figwidth() / (LETTER * size))
    fig.suptitle("\n".join(textwrap.fill(line, most, break_long_words=False, break_on_hyphens=False) for line in lines))


def curve(axes: Axes, summary: pd.DataFrame, look: LineStyle, label: str, *, floor: float | None = None) -> None:
    """Draw means over seeds against `x`, with their intervals as a band (or as bars where there is one seed).

    Args:
        axes: where to draw.
        summary: what `select.over_seeds` returns: x, mean, half (half-width of the interval, may be NaN), n.
        look: colour, line style and marker.
        label: legend entry.
        floor: on a logarithmic axis, the lowest value that a band is drawn to.
    """
    x, mean, half = (summary[name].to_numpy(float) for name in ("x", "mean", "half"))
    low = mean - half if floor is None else np.maximum(mean - half, floor)
    axes.plot(x, mean, color=look.color, linestyle=look.line, marker=look.marker, label=label)
    if (summary["n"] > 1).any():
        axes.fill_between(x, low, mean + half, color=look.color, alpha=0.18, linewidth=0)
    else:
        axes.vlines(x, low, mean + half, color=look.color, linewidth=0.9)


def legend_below(fig: Figure, axes: Sequence[Axes], columns: int) -> None:
    """One legend under the whole figure, each label once."""
    entries: dict[str, Any] = {}
    for part in axes:
        for handle, label in zip(*part.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    fig.legend(handles=list(entries.values()), labels=list(entries), loc="outside lower center", ncols=columns)


def mosaic(images: np.ndarray, side: int = 4) -> np.ndarray:
    """At most side x side images (n, h, w[, 3]) as one picture, a white line between them."""
    side = min(side, int(np.sqrt(len(images))))
    h, w = images.shape[1:3]
    out = np.ones((side * (h + 1) - 1, side * (w + 1) - 1, *images.shape[3:]))
    for index in range(side * side):
        top, left = (index // side) * (h + 1), (index % side) * (w + 1)
        out[top : top + h, left : left + w] = images[index]
    return out


def picture(axes: Axes, image: np.ndarray, text: str = "", *, interpolation: str | None = "nearest") -> None:
    """A picture without axes, grey or in colours: of 256 levels, or in [0, 1]."""
    top = 255 if image.max() > 1 else 1
    axes.imshow(image, cmap="gray", vmin=0, vmax=top, interpolation=interpolation)
    axes.set_title(text, fontsize=6.5)
    axes.set_axis_off()


def cloud(axes: Axes, points: np.ndarray, half: float, name: str) -> None:
    """Points (n, 2) in red in a square from -half to half, and how many lie outside it."""
    axes.scatter(*points.T, s=1.2, color=LINES[1].color, linewidth=0, rasterized=True)
    axes.set(title=name, xlim=(-half, half), ylim=(-half, half), aspect="equal")
    outside = float((np.abs(points) > half).any(axis=1).mean())
    if outside:
        axes.text(0.03, 0.03, f"{outside:.1%} outside", transform=axes.transAxes, fontsize=5.5)


def color_axis(axes: Axes, side: str, color: str) -> None:
    """Tie one of two y axes to the colour of its lines."""
    axes.spines[side].set_color(color)
    axes.spines[side].set_linewidth(1.4)
    axes.tick_params(axis="y", colors=color)
    axes.yaxis.label.set_color(color)


def ticks_at(axes: Axes, values: Sequence[float] | np.ndarray) -> None:
    """Put the x ticks at the measured values, at most twelve of them."""
    shown = np.sort(np.asarray(values, float))
    shown = shown[:: -(-len(shown) // 12)]
    axes.set_xticks(shown, [f"{value:g}" for value in shown])


def log_ticks(axes: Axes, values: Sequence[float] | np.ndarray) -> None:
    """Make the x axis logarithmic with the measured values as its ticks (crowded ones are left out)."""
    axes.set_xscale("log")
    shown: list[float] = []
    for value in sorted(values, reverse=True):
        # In a panel of half a page a digit takes about 2% of the axis.
        room = 0.0 if not shown else max(0.09, 0.021 * len(f"{shown[-1]:,g}")) * np.log10(max(values) / min(values))
        if not shown or np.log10(shown[-1] / value) > room:
            shown.append(value)
    axes.set_xticks(shown, [f"{value:,g}" for value in shown])
    axes.xaxis.set_minor_locator(NullLocator())


def log_if_wide(axes: Axes, values: np.ndarray, ratio: float = 30.0) -> None:
    """Make the y axis logarithmic when positive `values` span more than `ratio`."""
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() / finite.min() > ratio:
        log_y(axes)
        return
    axes.yaxis.set_major_formatter(PLAIN)


def log_y(axes: Axes) -> None:
    """Make the y axis logarithmic, its ticks written out where it spans under three decades (call after drawing)."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    if decades < 3:
        axes.yaxis.set_major_locator(MaxNLocator(6) if decades < 0.5 else LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_formatter(NullFormatter())


def save(fig: Figure, paths: Sequence[Path]) -> None:
    """Write the figure (200 dpi) as .pdf and .png, each whole or not at all; the same figure gives the same bytes."""
    fig.draw_without_rendering()
    # Both files share one layout, which takes as long to find as the rest of the drawing.
    fig.set_layout_engine("none")
    for path in paths:
        buffer, kind = io.BytesIO(), path.suffix[1:]
        fig.savefig(buffer, format=kind, dpi=200, metadata={"CreationDate" if kind == "pdf" else "Software": None})
        atomic.write_bytes(path, buffer.getvalue())
