"""Pictures of images: the most, middle and least memorized ones, and the closest pairs of training images."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infolab import results as tables
from scripts import select, style
from scripts import vae_parts as parts
from scripts.registry import Product
from scripts.vae_curves import how_grid

PRESETS = {"paper": 2, "quick": 1}
SHOWN = 15
GROUPS = ("most", "middle", "least")

Arrays = dict[str, np.ndarray]


def memorized(results: Path, dataset: str) -> Figure:
    """Fifteen images each, with their scores, of the grid at its largest learning rate."""
    provenance, arrays, source = _chosen(results, dataset)
    fig = style.figure(style.PAGE, 2.5)
    grid = fig.subplots(len(GROUPS), SHOWN)
    for line, name in zip(grid, GROUPS, strict=True):
        for axes, image, score in zip(line, _unit(arrays, name), arrays[f"{name}_score"], strict=False):
            _show(axes, image, f"{score:.2f}")
        line[0].set_ylabel(name, fontsize=7)
        for axes in line[len(arrays[name]) :]:
            axes.set_axis_off()
    config = provenance["config"]
    text = f"{config['model']}, learning rate {config['lr']:g}, epoch {config['epochs']}"
    style.title(fig, f"Most, middle and least memorized images, scores in nats: {dataset}", [text], source)
    return fig


def duplicates(results: Path, dataset: str) -> Figure:
    """The ten closest pairs of training images, with their distances."""
    _, arrays, source = _chosen(results, dataset)
    fig = style.figure(style.PAGE, 1.9)
    pairs = len(arrays["pair_a"])
    grid = fig.subplots(2, 10)
    for axes in grid.flat:
        axes.set_axis_off()
    for name, line in zip(("pair_a", "pair_b"), grid, strict=True):
        for axes, image, distance in zip(line, _unit(arrays, name), arrays["pair_distance"], strict=False):
            _show(axes, image, f"{distance:.3f}" if name == "pair_a" else "")
    near = int((arrays["pair_distance"] <= float(arrays["within"])).sum())
    found = f"at least {near}" if near == pairs else f"{near}"
    notes = [f"root mean square difference, fraction of the grey range; {found} within {float(arrays['within']):g}"]
    style.title(fig, f"The {pairs} closest pairs of training images: {dataset}", notes, source)
    return fig


def _show(axes: Axes, image: np.ndarray, text: str) -> None:
    axes.set_axis_on()
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(text, fontsize=6, labelpad=1.5)


def _chosen(results: Path, dataset: str) -> tuple[dict[str, Any], Arrays, str]:
    for root, source in ((results, "yours"), (results / "reference", "reference")):
        files = tables.read_arrays(root, "vae", "memorization") if (root / "vae/images").is_dir() else []
        mine = [one for one in files if one[0]["config"]["dataset"] == dataset and one[0]["preset"] in PRESETS]
        if mine:
            return *max(mine, key=_rank), source
    raise select.NoRowsError(f"no pictures of {dataset}")


def _rank(one: tuple[dict[str, Any], Arrays]) -> tuple[int, int, float]:
    provenance, arrays = one
    return PRESETS[provenance["preset"]], int(arrays["m"]), provenance["config"]["lr"]


def _unit(arrays: Arrays, name: str) -> np.ndarray:
    """Images (n, c, h, w) as pixels in [0, 1], (n, h, w) or (n, h, w, 3)."""
    images = arrays[name] / (int(arrays["levels"]) - 1)
    return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)


def products() -> list[Product]:
    """The pictures of each data set."""
    kinds = {"memorized": memorized, "duplicates": duplicates}
    return [
        Product(f"vae_{kind}_{name}", "vae", ("vae/images:memorization",), how_grid(name), partial(build, dataset=name))
        for name in parts.DATASETS
        for kind, build in kinds.items()
    ]
