"""The data terms of the bound on one's own array: T1 (mutual information) and T2, at any diffusion time T.

`python -m diffusion.terms --data X.npy --T 1.0 [--outer N] [--draws S]`; `--data` takes a .npy file, examples first, or
the name of a built-in set.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.arrays import read_array
from common.config import default_device, parse_options
from common.data import NAMES, load
from common.data.places import default_data_dir
from common.device import pick_device
from common.empirical import mutual_information
from common.errors import UserError, run_main
from common.schedules import VP
from common.seeds import generator
from common.toy import TOYS, make
from common.transforms import LogitTransform, dequantization_noise, dequantize
from diffusion.bound import kl_to_prior


@dataclass(frozen=True)
class TermsConfig:
    """Options of `python -m diffusion.terms`."""

    data: str = ""
    """A .npy file, examples first (used as it is: no scaling), or a registered set (images: dequantised logits)."""
    T: float = 1.0
    """Diffusion time of the VP SDE."""
    outer: int = 1000
    """Examples over which T1 is averaged; the mixture is always over all of them. 0: all."""
    draws: int = 4
    """Noise draws per example in T1 (at least 2, so that the standard error is known)."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE."""
    n: int = 1000
    """Points drawn where --data names a law (the swiss roll, say)."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder of data sets that are not built in."""
    seed: int = 0
    """Seed of the noise, the outer subsample and the draws from a law."""
    device: str = field(default_factory=default_device)
    """Where the products of T1 are taken: cpu, cuda or auto (mps has no float64: there it is the CPU)."""
    json: bool = False
    """Print one JSON object on standard output and nothing else there."""


def main() -> None:
    """Print the terms."""
    run_main(lambda: _report(parse_options(TermsConfig, "python -m diffusion.terms")))


def data_terms(
    x: Tensor, T: float, schedule: VP, *, outer: int, draws: int, seed: int, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """T1, T2 and what they are made of for the examples x (m, ...), in nats.

    term1 = -I(X; X_T) of the empirical measure; term2 = mean sqrt(KL(E_T(x_i) || N(0, I))); kl_prior =
    KL(p_T || N(0, I)) of the noised empirical measure = mean KL(E_T(x_i) || N(0, I)) - I(X; X_T).

    Args:
        x: examples (m, ...), as the diffusion would see them.
        T: diffusion time.
        schedule: the VP SDE.
        outer: examples in the outer mean of I; 0: all.
        draws: noise draws per example.
        seed: of noise and subsample.
        device: where the products of I are taken.
    """
    level = schedule.at(torch.tensor(T, dtype=torch.float64))
    information = mutual_information(
        x, float(level.alpha), float(level.sigma), outer=outer or None, draws=draws, seed_or_generator=seed,
        device=device,
    )  # fmt: skip
    per_example = torch.cat([kl_to_prior(part.flatten(1), level.alpha) for part in x.split(4096)])
    return {
        "term1_nats": {"value": -information.value, "se": information.se},
        "mi_nats": {"value": information.value, "se": information.se},
        "term2": {"value": float(per_example.sqrt().mean()), "se": 0.0},
        "kl_prior_nats": {"value": float(per_example.mean()) - information.value, "se": information.se},
        "m": len(x),
        "d": x[0].numel(),
        "T": T,
    }


def _report(config: TermsConfig) -> None:
    if config.T <= 0 or config.outer < 0 or config.draws < 2 or config.n < 2:
        raise UserError("--T must be positive, --outer 0 or more, --draws and --n at least 2")
    device = pick_device(config.device)
    x = _examples(config)
    terms = data_terms(
        x, config.T, VP(config.beta_min, config.beta_max), outer=config.outer, draws=config.draws, seed=config.seed,
        device=device,
    )  # fmt: skip
    if config.json:
        sys.stdout.write(json.dumps({**terms, "settings": _plain(config)}) + "\n")
        return
    for name, item in terms.items():
        text = f"{item['value']:.6g} +- {item['se']:.2g}" if isinstance(item, dict) else f"{item:g}"
        sys.stdout.write(f"{name:14} {text}\n")


def _examples(config: TermsConfig) -> Tensor:
    if config.data.endswith(".npy"):
        array = read_array(Path(config.data))
        return array.reshape(len(array), -1)
    if config.data in TOYS:
        return make(config.data).sample(config.n, generator(config.seed, "train", config.n))
    if not config.data:
        raise UserError("--data is missing: give a .npy file (examples first) or the name of a data set")
    if config.data not in NAMES:
        known = ", ".join([*NAMES, *TOYS])
        raise UserError(f"unknown data '{config.data}': give a .npy file (examples first) or one of {known}")
    images = load(config.data, "train", data_dir=config.data_dir)
    u = dequantization_noise(tuple(images.images.shape), config.seed)
    return LogitTransform(images.levels).forward(dequantize(images.images, u, images.levels))[0]


def _plain(config: TermsConfig) -> dict[str, Any]:
    return {name: str(item) if isinstance(item, Path) else item for name, item in dataclasses.asdict(config).items()}


if __name__ == "__main__":
    main()
