"""What a mode has made: arrays, images as .png files, codes as .npy files, and a row about each."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infodiffusion.checkpoint import folder_of
from infodiffusion.config import InfoConfig, canonical_config
from infodiffusion.data import attributes_or_factors
from infodiffusion.networks import Autoencoder
from infodiffusion.tables import InfoOutput
from infolab.data import ImageSet
from infolab.data.images import ScaleTransform
from infolab.errors import UserError
from infolab.files import load_npy
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.storage import Keep

# ----------
# What a mode has made: arrays beside its run or among the pictures, images as .png files, and a row about each.


def to_pixels(x: Tensor, levels: int) -> np.ndarray:
    """Images x (n, c, h, w) in [-1, 1] as grey levels, uint8 of the same shape."""
    return ScaleTransform(levels).to_pixels(x).cpu().numpy()


def for_figures(pixels: np.ndarray, levels: int) -> np.ndarray:
    """Pixels (n, c, h, w) as uint8 (n, h, w[, 3]) of 256 levels, as figures and files show them."""
    shown = np.round(pixels.astype(np.float32) * (255 / (levels - 1))).astype(np.uint8)
    return shown.transpose(0, 2, 3, 1).squeeze(-1) if shown.shape[1] == 1 else shown.transpose(0, 2, 3, 1)


def spread_over(images: ImageSet, n: int) -> ImageSet:
    """n images, evenly spread over the set (all where it has fewer)."""
    return images.take(torch.linspace(0, len(images) - 1, min(n, len(images))).round().long())


def keep_pictures(run: Run, config: InfoConfig, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays that figures lay out, results/infodiffusion/images/<id>.npz, and their rows."""
    named = {**arrays, "model": np.array(config.model_name), "seed": np.array(config.seed)}
    path = write_arrays(config.results_dir, "infodiffusion", run.id, named, run.provenance())
    finish(run, config, arrays, dict.fromkeys(arrays, path.name))


def keep_arrays(run: Run, config: InfoConfig, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as .npy files into the run's folder, and their rows."""
    for name, array in arrays.items():
        save_npy(run.folder / f"{name}.npy", array)
    finish(run, config, arrays, {name: f"{name}.npy" for name in arrays})


def finish(run: Run, config: InfoConfig, arrays: dict[str, np.ndarray], where: dict[str, str]) -> None:
    """Write a row about each array, which marks the run as done, and tell the user."""
    rows = [
        InfoOutput(
            dataset=config.dataset,
            model=config.model_name,
            seed=config.seed,
            mode=config.mode,
            name=name,
            where=where[name],
            shape="x".join(map(str, array.shape)),
            least=float(array.min()),
            greatest=float(array.max()),
            sd=float(array.astype(np.float64).std()),
        )
        for name, array in arrays.items()
    ]
    write(config.results_dir, InfoOutput, run.id, rows, run.provenance())
    made = ", ".join(f"{row.name} {row.shape}" for row in rows)
    run.say(f"{config.model_name}, {config.mode}: {made} in '{run.folder}' after {run.seconds:.0f} s")


def write_pngs(folder: Path, shown: np.ndarray) -> None:
    """One file an image, image-00000.png, ..., from uint8 (n, h, w[, 3])."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(shown):
        Image.fromarray(pixels).save(folder / f"image-{number:05d}.png")


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write an array in C order, whole or not at all; large ones do not pass through memory a second time."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    aside.replace(path)


# ----------
# Codes of images: encoded without noise, and kept as .npy files beside what they are scored against.

BATCH = 500  # images of one network call and of one piece
SPLITS = ("train", "test")


@torch.inference_mode()
def encode(model: Autoencoder, images: ImageSet, keep: Keep, name: str) -> np.ndarray:
    """The code of each image without noise, float32 (n, a_dim): mu where the decoder is given samples, else a.

    `keep` keeps the codes as pieces called `name`.
    """
    scale = ScaleTransform(images.levels)
    parts = [
        keep(f"codes-{name}-{number:05d}", lambda: {"codes": model.code(scale.forward(block))})  # noqa: B023 (called at once)
        for number, block in enumerate(images.images.split(BATCH))
    ]
    return torch.cat([part["codes"] for part in parts]).numpy()


def code_arrays(model: Autoencoder, train: ImageSet, test: ImageSet, keep: Keep) -> dict[str, np.ndarray]:
    """`codes_train` (n, a_dim), `factors_train` (n, f), `labels_train` (n,), and the same of the test images.

    Factors are the set's known factors (CelebA: its attributes); labels its classes. What a set has not is left out.
    """
    found = {}
    for split, images in zip(SPLITS, (train, test), strict=True):
        found[f"codes_{split}"] = encode(model, images, keep, split)
        factors = attributes_or_factors(images)
        if factors is not None:
            found[f"factors_{split}"] = factors.cpu().numpy()
        if images.labels is not None:
            found[f"labels_{split}"] = images.labels.cpu().numpy()
    return found


def saved(config: InfoConfig, name: str) -> np.ndarray:
    """The array `name` that save_latent has kept of the model of `config`.

    Raises:
        UserError: it has not been saved, or the data set has nothing of the kind.
    """
    folder = folder_of(canonical_config(config, "save_latent"))
    if not (folder / "codes_test.npy").is_file():
        raise UserError(f"no codes of this model in '{folder}': run the same command with --mode save_latent first")
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise UserError(
            f"{config.dataset} has no {name.split('_')[0]}, so its codes cannot be scored: choose another set"
        )
    return load_npy(path, remedy="run the same command with --mode save_latent --force again")
