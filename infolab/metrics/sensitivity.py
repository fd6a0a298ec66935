"""What a feature network detects: FID of images distorted in known ways, by strength, in standard errors."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from infolab.errors import UserError
from infolab.files import DamagedFileError
from infolab.metrics.distances import fid
from infolab.metrics.features import Extractor, Features, extract
from infolab.noise import generator

# ----------
# Ways to spoil images, by strength: what a feature network is asked to see, and what it is trained to measure.

CANVAS = 32
"""Side, in pixels, that shifts are given for; other images are shifted in proportion to their side."""
WHOLE = 0.75
"""Shifts of this many pixels and more are rounded to whole ones, as others blur too."""
LEVELS = 2
"""Numbers that say how far `spoiled` has spoiled an image: noise and blur."""
MOST_NOISE = 100.0


def noised(images: Tensor, sd: float, source: torch.Generator) -> Tensor:
    """uint8 images (n, c, h, w) with Gaussian noise of `sd` grey levels, rounded and clipped to 0 .. 255."""
    return _levels(images.float() + sd * torch.randn(images.shape, generator=source))


def blurred(images: Tensor, sigma: float) -> Tensor:
    """uint8 images (n, c, h, w) under a Gaussian filter of `sigma` pixels; the border's pixels go on beyond it."""
    from scipy import ndimage

    found = ndimage.gaussian_filter(images.numpy().astype(np.float32), (0, 0, sigma, sigma), mode="nearest")
    return _levels(torch.from_numpy(found))


def pixels_of_shift(shift: float, side: int) -> float:
    """Pixels of a shift that is given for `CANVAS`: in proportion to the side, whole from 0.75 on.

    >>> [pixels_of_shift(1, side) for side in (64, 32, 28, 8)]
    [2.0, 1.0, 1.0, 0.25]
    """
    pixels = shift * side / CANVAS
    return float(round(pixels)) if pixels >= WHOLE else pixels


def shifted(images: Tensor, pixels: float) -> Tensor:
    """uint8 images (n, c, h, w) moved to the right, parts of pixels linearly; the border's pixels fill what is left."""
    from scipy import ndimage

    found = ndimage.shift(images.numpy().astype(np.float32), (0, 0, 0, pixels), order=1, mode="nearest")
    return _levels(torch.from_numpy(found))


def spoiled(images: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images for training, a third as they are, a third with noise and a third blurred, and how far each was spoiled.

    Noise has sd s = 100 u^2 grey levels, blur mixes a share w of the mean over 3 x 3 pixels into the image, u and w
    uniform in [0, 1].

    Args:
        images: uint8 (n, c, h, w).
        source: of the draws.

    Returns:
        The images, float32 of whole levels, and (n, 2): log(1 + s/10) and 2 w.
    """
    n = len(images)
    kind = torch.randint(3, (n,), generator=source)
    strength = torch.rand(n, generator=source)
    sd = torch.where(kind == 1, MOST_NOISE * strength.square(), 0.0)
    share = torch.where(kind == 2, strength, 0.0)
    shown = images.float()
    near = F.avg_pool2d(F.pad(shown, (1, 1, 1, 1), mode="replicate"), 3, 1)
    shown = shown + share[:, None, None, None] * (near - shown)
    shown = shown + sd[:, None, None, None] * torch.randn(shown.shape, generator=source)
    return shown.round().clamp(0, 255), torch.stack([(sd / 10).log1p(), 2 * share], 1)


def _levels(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


# ----------
# What a feature network sees: the FID of images that were spoiled in known ways, in standard errors.

VERSION = 1
"""Of the table in a network's file."""
HELD_OUT = 3_000
"""Most held-out images that are measured; half of them are the reference."""
LEAST_HELD_OUT = 100
"""Fewer than these say nothing: no table is made of them."""
NOISE, BLUR, SHIFT, MODE = "noise", "blur", "shift", "mode"
STRENGTHS = {NOISE: (20.0, 40.0, 80.0), BLUR: (0.5, 1.0, 2.0), SHIFT: (1.0, 2.0, 4.0), MODE: (0.25, 0.5, 1.0)}
UNITS = {NOISE: "grey levels of 255", BLUR: "pixels", SHIFT: "pixels", MODE: "share left out"}
ASKED = (40.0, 5.0)
"""Noise, in grey levels, that a network must see, and by how many standard errors of the FID."""


@dataclass(frozen=True)
class Seen:
    """The FID of one distortion, against that of as many images without it.

    Attributes:
        distortion, strength, unit: what was done; of a shift the pixels of these images.
        n: images measured, against `n_reference` others.
        n_reference: clean images of the reference.
        fid, fid_se: of the spoiled images, with its standard error.
        clean_fid, clean_fid_se: of the same number of images of the same half, not spoiled.
    """

    distortion: str
    strength: float
    unit: str
    n: int
    n_reference: int
    fid: float
    fid_se: float
    clean_fid: float
    clean_fid_se: float

    @property
    def standard_errors(self) -> float:
        """(fid - clean_fid) / sqrt(fid_se^2 + clean_fid_se^2): as if both came from samples of their own."""
        error = math.hypot(self.fid_se, self.clean_fid_se)
        return (self.fid - self.clean_fid) / error if error else 0.0


@dataclass(frozen=True)
class Sensitivity:
    """What a network sees.

    Attributes:
        rows: each distortion at each strength; without labels no mode is left out.
    """

    rows: tuple[Seen, ...]

    @property
    def n(self) -> int:
        """Held-out images in all, both halves."""
        return max(row.n for row in self.rows) + self.rows[0].n_reference

    @property
    def asked(self) -> float:
        """Standard errors by which the noise of `ASKED` is seen."""
        (found,) = (row for row in self.rows if (row.distortion, row.strength) == (NOISE, ASKED[0]))
        return found.standard_errors

    def as_record(self) -> dict[str, Any]:
        """In short, for JSON: standard errors by distortion and strength, and n.

        >>> Sensitivity((Seen("noise", 40.0, "", 50, 50, 9.0, 0.3, 1.0, 0.4),)).as_record()
        {'n': 100, 'noise': {'40': 16.0}}
        """
        short: dict[str, Any] = {"n": self.n}
        for row in self.rows:
            short.setdefault(row.distortion, {})[f"{row.strength:g}"] = round(row.standard_errors, 1)
        return short

    def __str__(self) -> str:
        record = self.as_record()
        n = record.pop("n")
        parts = [f"{name} {'/'.join(found)}: {'/'.join(map(str, found.values()))}" for name, found in record.items()]
        return f"standard errors of FID with {n:,} held-out images: {'; '.join(parts)}"

    def as_json(self) -> dict[str, Any]:
        """Every number, as a network's file keeps it."""
        return {"version": VERSION, "rows": [dataclasses.asdict(row) for row in self.rows]}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Sensitivity":
        """What `as_json` gave.

        Raises:
            DamagedFileError: something else.
        """
        if kept["version"] != VERSION:
            raise DamagedFileError(f"its sensitivity table is of version {kept['version']}, this code reads {VERSION}")
        types = {item.name: item.type for item in dataclasses.fields(Seen)}
        rows = tuple(Seen(**row) for row in kept["rows"])
        for row in rows:
            values = dataclasses.asdict(row)
            if any(type(values[name]) is not kind for name, kind in types.items()) or not all(
                math.isfinite(value) for value in values.values() if isinstance(value, float)
            ):
                raise DamagedFileError("its sensitivity table holds something else than numbers")
        found = cls(rows)
        found.asked  # noqa: B018 (a table without that row says nothing)
        return found


def measure(extractor: Extractor, images: Tensor, modes: Tensor | None, seed: int = 0) -> Sensitivity | None:
    """FID of held-out images of which one half is spoiled and the other is the reference.

    Noise, blur and shifts are of `STRENGTHS`; of the first mode that there is (value 0 of `modes`, the least there is)
    a share is left out, and the clean images that this is compared with are as many, drawn from all.

    Args:
        extractor: the network.
        images: uint8 (n, c, h, w) that it was not trained on; `HELD_OUT` of them are drawn.
        modes: (n,) labels, or (n, f) of which the first column is taken; None: no mode is left out.
        seed: of the halves and the noise.

    Returns:
        The table; None for fewer than `LEAST_HELD_OUT` images.
    """
    if len(images) < LEAST_HELD_OUT:
        return None
    order = torch.randperm(len(images), generator=generator(seed, "sensitivity", "halves"))[:HELD_OUT]
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    reference, half = extract(extractor, images[first]), images[second].contiguous()
    clean = extract(extractor, half)

    def seen(name: str, strength: float, spoiled: Features, plain: Features) -> Seen:
        found, base = (fid(reference, one, force=True) for one in (spoiled, plain))
        assert found.se is not None and base.se is not None  # noqa: PT018 (FID always has one)
        n = (len(spoiled), len(reference))
        return Seen(name, strength, UNITS[name], *n, found.value, found.se, base.value, base.se)

    rows = [
        seen(name, strength, extract(extractor, spoiled), clean) for name, strength, spoiled in _spoiled(half, seed)
    ]
    if modes is not None:
        labels = (modes if modes.ndim == 1 else modes[:, 0])[second]
        members = torch.nonzero(labels == labels.min())[:, 0]
        for share in STRENGTHS[MODE]:
            kept = torch.ones(len(labels), dtype=torch.bool)
            kept[members[: round(share * len(members))]] = False
            if 2 <= kept.sum() < len(kept):
                parts = (clean.values[kept], clean.values[: int(kept.sum())])  # the order is random already
                rows.append(seen(MODE, share, *(dataclasses.replace(clean, values=part) for part in parts)))
    return Sensitivity(tuple(rows))


def _spoiled(images: Tensor, seed: int) -> Iterator[tuple[str, float, Tensor]]:
    """Name, strength and images of each distortion of `images` but the modes."""
    ways: dict[str, Callable[[float], Tensor]] = {
        NOISE: lambda sd: noised(images, sd, generator(seed, "sensitivity", NOISE)),
        BLUR: lambda sigma: blurred(images, sigma),
        SHIFT: lambda pixels: shifted(images, pixels),
    }
    for name, way in ways.items():
        for given in STRENGTHS[name]:
            strength = pixels_of_shift(given, images.shape[-1]) if name == SHIFT else given
            yield name, strength, way(strength)


def require(extractor: Extractor, force: bool, say: Callable[[str], object] | None = None) -> Sensitivity | None:
    """Say what a network sees, and refuse one that is blind or not known to see.

    Args:
        extractor: a network that keeps its table (`SmallNetwork`); of others nothing is known, and they pass.
        force: refuse nothing.
        say: is told in a line; None: standard error is.

    Returns:
        The table, where there is one.

    Raises:
        UserError: noise of 40/255 is seen by fewer than 5 standard errors, or there is no table; without `force`.
    """
    if not hasattr(extractor, "sensitivity"):
        return None
    found: Sensitivity | None = extractor.sensitivity
    sd, least = ASKED
    if found is None:
        wrong = (
            f"nobody measured what {extractor.name} sees (its file is older than such tables, or fewer than "
            f"{LEAST_HELD_OUT} images were held out)"
        )
        remedy = "make it again with python -m infodiffusion.metrics features"
    elif found.asked < least:
        wrong = (
            f"{extractor.name} sees noise of {sd:g}/255 by {found.asked:.1f} standard errors of FID with {found.n:,} "
            f"held-out images, and {least:g} are asked for"
        )
        remedy = "train it with more --steps or on more images"
    else:
        wrong = remedy = ""
    if wrong and not force:
        raise UserError(f"{wrong}: {remedy}, or take it all the same with --force-features")
    tell = say or (lambda text: sys.stderr.write(f"{text}\n"))
    tell(f"warning: {wrong}" if wrong else f"{extractor.name}: {found}")
    if wrong and found is not None:
        tell(f"{extractor.name}: {found}")
    return found
