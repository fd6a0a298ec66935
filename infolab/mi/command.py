"""Mutual information between the paired rows of two arrays, from conditional and unconditional denoising errors.

`python -m itdiffusion.mi --x X.npy --y Y.npy [--seed 0] [--minutes M | --steps S] [--blocks N] [--json]`
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from infolab.arrays import read_labels
from infolab.config import called_as, default_device, parse_options
from infolab.device import pick_device
from infolab.errors import UserError, run_main
from infolab.mi import Information, Settings, mutual_information

Z95 = 1.96


@dataclass(frozen=True)
class MiOptions:
    """Mutual information between the paired rows of two arrays, in nats, with its error."""

    x: str = ""
    """A .npy file, examples first: numbers of any shape, or class labels (one number an example, few values)."""
    y: str = ""
    """A .npy file with the same examples in the same order. The estimate is the same with --x and --y exchanged."""
    seed: int = 0
    """Seed of the two halves, of initial weights and of noise."""
    minutes: float = 0.0
    """Wall time aimed at, instead of --steps: decides their number, which is reported."""
    steps: int = 0
    """Optimiser steps; the same steps and seed give the same digits. 0: 2,000, or what fits into --minutes (give only
    one)."""
    form: Literal["difference", "orthogonal"] = "difference"
    """difference of the two errors, or squared distance of the two denoisers (less its floor with y permuted)."""
    blocks: int = 0
    """0: pairs are independent draws. N: rows are a series, whose N blocks of consecutive rows are nearly independent;
    the halves are then the first and the last rows, and the error is over blocks."""
    threads: int = 0
    """CPU threads; 0: as many as torch takes by itself."""
    device: str = field(default_factory=default_device)
    """Where networks are trained and evaluated: cpu, cuda, mps or auto."""
    json: bool = False
    """Print one JSON object on standard output and nothing else there."""

    def settings(self) -> Settings:
        """The estimator's settings.

        Raises:
            UserError: they cannot run, or --steps and --minutes are both given.
        """
        steps = self.steps if self.steps or self.minutes else Settings().steps
        settings = Settings(steps=steps, minutes=self.minutes, form=self.form, seed=self.seed, blocks=self.blocks)
        settings.check()
        settings.check_one_length()
        return settings


def main() -> None:
    """Print the estimate."""
    run_main(lambda: _report(parse_options(MiOptions, called_as("python -m itdiffusion.mi"))))


def as_record(found: Information) -> dict[str, Any]:
    """The estimate as one JSON object; nats."""
    estimate = found.estimate
    return {
        "mi_nats": {
            "value": estimate.value,
            "se": estimate.se,
            "se_data": estimate.se_data,
            "se_training": estimate.se_quadrature,
        },
        "method": found.method,
        "maps": found.maps,
        "parts_nats": found.parts_nats,
        "warnings": list(found.warnings),
        "n": estimate.n,
        "steps": found.steps,
        "evaluations": estimate.evaluations,
        "seconds": round(found.seconds, 2),
    }


def _report(options: MiOptions) -> None:
    settings = options.settings()
    if options.threads < 0:
        raise UserError(f"--threads must be 0 (torch's own choice) or more, not {options.threads}")
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in ("x", "y"):
        if not getattr(options, name):
            raise UserError(f"--{name} is missing: give a .npy file, examples first")
    x, y = (read_labels(Path(path)) for path in (options.x, options.y))
    found = mutual_information(x, y, settings, pick_device(options.device))
    for sentence in found.warnings:
        sys.stderr.write(f"warning: {sentence}\n")
    record = as_record(found)
    if options.json:
        sys.stdout.write(json.dumps({**record, "settings": asdict(options)}) + "\n")
        return
    value, se = found.estimate.value, found.estimate.se
    low, high = value - Z95 * se, value + Z95 * se
    sys.stdout.write(f"mutual information  {value:.4f} +- {se:.4f} nats  (95%: {low:.4f} .. {high:.4f})\n")
    for name in ("method", "maps", "n", "steps", "evaluations", "seconds"):
        sys.stdout.write(f"{name:19} {record[name]}\n")


if __name__ == "__main__":
    main()
