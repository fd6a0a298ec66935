"""Features of images, by name: what an extractor is, the arrays and moments that it leaves, and pixels as features."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from infolab import atomic
from infolab.errors import UserError
from infolab.files import DamagedFileError, load_npz, reading
from infolab.metrics.measured import Array, as_tensor

# ----------
# Features of images, by name: what an extractor is, and the arrays and moments that it leaves.

NONE = "none"
"""Name of no extractor: arrays are their own features."""

BATCH = 64

WHAT = "a readable STATS.npz of the features' mean and covariance"
REMEDY = "make it with python -m infodiffusion.metrics stats --images DIR --out STATS.npz"


class Extractor(Protocol):
    """Maps images to features; the names say which network it is and how images are resized for it."""

    name: str
    resize: str

    @property
    def device(self) -> torch.device:
        """Where its network lies."""

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, d) of uint8 images (n, c, h, w)."""


@dataclass(frozen=True)
class Features:
    """Features of a sample.

    Attributes:
        values: (n, d), without a graph.
        extractor: name of the network, `none` where arrays are their own features.
        resize: how images were resized for it.

    Raises:
        UserError: values that are no finite real numbers.
    """

    values: Tensor
    extractor: str = NONE
    resize: str = NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", as_tensor(self.values, "features"))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of the features of a reference sample, kept by name.

    Attributes:
        mean: (d,) float64.
        cov: (d, d) float64, divided by n - 1.
        n: examples; 0 where a file of another tool does not say.
        extractor, resize: as in `Features`.
        reference: which sample it was, for example `train`.

    Mean and covariance are contiguous, computed or read from any file: products round differently in another layout.

    Raises:
        UserError: a mean or covariance that is not finite.
    """

    mean: Tensor
    cov: Tensor
    n: int
    extractor: str = NONE
    resize: str = NONE
    reference: str = "train"

    def __post_init__(self) -> None:
        for name in ("mean", "cov"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), "moments of the features").contiguous())


def extract(extractor: Extractor, images: Array, batch: int = BATCH) -> Features:
    """Features of uint8 images (n, c, h, w), in batches.

    Raises:
        UserError: images of another type or shape.
    """
    # Samples come from files, their reference may be a transposed view.
    images = as_tensor(images, "images").contiguous()
    if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise UserError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: expected uint8 (n, 1 or 3, height, "
            "width), levels 0 .. 255"
        )
    with torch.no_grad():
        values = torch.cat([extractor(part.to(extractor.device)).float().cpu() for part in images.split(batch)])
    return Features(values, extractor.name, extractor.resize)


def moments(features: Features, reference: str = "train") -> Moments:
    """Mean and covariance of features, in float64.

    Raises:
        UserError: fewer than two examples.
    """
    n = len(features)
    if features.values.ndim != 2 or n < 2:
        raise UserError(f"features of shape {tuple(features.values.shape)}: expected (n, d) with n >= 2")
    values = features.values.double()
    mean = values.mean(0)
    centred = values - mean
    return Moments(mean, centred.T @ centred / (n - 1), n, features.extractor, features.resize, reference)


def save_moments(kept: Moments, path: Path) -> None:
    """Write STATS.npz: mu and sigma as other tools name them, with n, extractor, resize and reference beside."""
    import io

    out = io.BytesIO()
    np.savez(
        out,
        mu=kept.mean.numpy(),
        sigma=kept.cov.numpy(),
        n=kept.n,
        extractor=kept.extractor,
        resize=kept.resize,
        reference=kept.reference,
    )
    atomic.write_bytes(path, out.getvalue())


def load_moments(path: Path, extractor: str = NONE, resize: str = NONE) -> Moments:
    """Read STATS.npz; one of another tool (mu and sigma alone) is taken to be of `extractor` and `resize`.

    Raises:
        UserError: no such file, or not one of moments: a mean and a covariance (symmetric, no negative eigenvalue).
    """
    found = load_npz(path, ("mu", "sigma"), ("n", "extractor", "resize", "reference"), WHAT, REMEDY)
    with reading(path, WHAT, REMEDY):
        if any(found[name].dtype.kind not in "fiu" for name in ("mu", "sigma")):
            raise DamagedFileError(f"mu of type {found['mu'].dtype}, sigma of type {found['sigma'].dtype}")
        mean, cov = (torch.from_numpy(found[name].astype(np.float64)) for name in ("mu", "sigma"))
        plain = mean.ndim == 1 and cov.shape == (len(mean), len(mean)) and bool(mean.isfinite().all())
        if not plain or not _is_covariance(cov):
            raise DamagedFileError("it does not hold a mean mu (d,) and a covariance sigma (d, d)")
        n = found.get("n", np.array(0))
        if n.shape or n.dtype.kind not in "iu" or n < 0:
            raise DamagedFileError(f"n is of shape {n.shape} and type {n.dtype}, no number of examples")
        names = {"extractor": extractor, "resize": resize, "reference": path.stem}
        said = {name: found.get(name, np.array(default)) for name, default in names.items()}
        if any(name.shape or name.dtype.kind != "U" for name in said.values()):
            raise DamagedFileError(f"{', '.join(said)} are no names")
        return Moments(mean, cov, int(n), **{name: str(value) for name, value in said.items()})


def _is_covariance(cov: Tensor) -> bool:
    """Finite, symmetric and without negative eigenvalues, up to the rounding of float32."""
    if not cov.numel() or not bool(cov.isfinite().all()):
        return False
    values = torch.linalg.eigvalsh((cov + cov.T) / 2)
    largest = float(values.abs().max())
    return float((cov - cov.T).abs().max()) <= 1e-5 * largest and float(values[0]) >= -1e-5 * largest


def described(features: Features | Moments, reference: str, n: int) -> str:
    """`[extractor,resize=..,ref=..,n=..]`, what a metric of features depends on."""
    return f"[{features.extractor},resize={features.resize},ref={reference},n={n}]"


def check_comparable(real: Features | Moments, generated: Features) -> None:
    """Refuse features of different networks or sizes.

    Raises:
        UserError: they differ.
    """
    if (real.extractor, real.resize) != (generated.extractor, generated.resize):
        raise UserError(
            f"reference features are {real.extractor} (resize {real.resize}), those of the samples "
            f"{generated.extractor} (resize {generated.resize}): take the same --features and --resize for both"
        )
    d = real.values.shape[-1] if isinstance(real, Features) else len(real.mean)
    if d != generated.values.shape[-1]:
        raise UserError(f"reference features have {d} dimensions and those of the samples {generated.values.shape[-1]}")


# ----------
# An image's own pixels as its features, for where no network is wanted.

PIXELS = "pixels"
"""Name of these features, as `--features` takes it and metrics' names have it."""


class Pixels:
    """Levels over 255, in [0, 1], as a flat vector: distances are those of the images themselves, pixel by pixel."""

    name, resize = PIXELS, NONE
    device = torch.device("cpu")

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, c h w) in [0, 1] of uint8 images (n, c, h, w)."""
        return images.flatten(1).float() / 255
