"""Codes of images: encoded without noise, and kept as .npy files beside what they are scored against."""

import numpy as np
import torch

from common.data import ImageSet
from common.errors import UserError
from common.files import load_npy
from common.pieces import Keep
from common.transforms import ScaleTransform
from infodiffusion.checkpoint import folder_of
from infodiffusion.config import InfoConfig, settled
from infodiffusion.data import attributes_or_factors
from infodiffusion.networks import Autoencoder

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
    folder = folder_of(settled(config, "save_latent"))
    if not (folder / "codes_test.npy").is_file():
        raise UserError(f"no codes of this model in '{folder}': run the same command with --mode save_latent first")
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise UserError(
            f"{config.dataset} has no {name.split('_')[0]}, so its codes cannot be scored: choose another set"
        )
    return load_npy(path, remedy="run the same command with --mode save_latent --force again")
