"""What diffusers' scheduler_config.json says of a model's training: betas, what it predicts, its reverse variance."""

from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.files import DamagedFileError, load_json, reading
from common.schedules import DDPM

MOST_STEPS = 1_000_000
"""Training steps that a file may name; one damaged digit must not take the memory."""
PREDICTS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
"""diffusers' prediction types, in the words of `common.denoise`."""
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "trained_betas")
WHAT, REMEDY = "a scheduler_config.json of diffusers", "copy it again"


def read_scheduler(folder: Path) -> dict[str, Any]:
    """Plain values of the scheduler beside the network in `folder`, or in scheduler/; without one, DDPM's.

    Returns:
        steps, beta_start, beta_end, betas (a kind of `BETAS`), trained_betas (a list, for that kind), predicts ("eps",
        "x0" or "v") and variance ("large" or "small").

    Raises:
        UserError: a damaged file, or a schedule or prediction type that is not read here.
    """
    places = [folder / "scheduler_config.json", folder.parent / "scheduler" / "scheduler_config.json"]
    place = next((place for place in places if place.is_file()), None)
    found = load_json(place, dict, WHAT, REMEDY) if place else {}
    trained = found.get("trained_betas")
    kind = "trained_betas" if trained is not None else found.get("beta_schedule", "linear")
    if kind not in BETAS:
        raise UserError(f"'{folder}' was trained with the noise schedule '{kind}': read are {', '.join(BETAS)}")
    predicts = str(found.get("prediction_type", "epsilon"))
    if predicts not in PREDICTS:
        raise UserError(f"'{folder}' predicts '{predicts}': read are {', '.join(PREDICTS)}")
    if found.get("rescale_betas_zero_snr"):
        raise UserError(
            f"'{folder}' was trained down to a signal of 0 (rescale_betas_zero_snr), where eps says nothing"
        )
    small = str(found.get("variance_type", "fixed_large")).startswith("fixed_small")
    with reading(place or folder, WHAT, REMEDY):
        steps = int(found.get("num_train_timesteps", 1000))
        start, end = float(found.get("beta_start", 1e-4)), float(found.get("beta_end", 0.02))
        if not (2 <= steps <= MOST_STEPS and 0 < start < 1 and 0 < end < 1):
            raise DamagedFileError(f"{steps} steps with betas {start:g} .. {end:g}")
        scheduler = {
            "steps": steps, "beta_start": start, "beta_end": end, "variance": "small" if small else "large",
            "betas": kind, "predicts": PREDICTS[predicts],
        }  # fmt: skip
        if trained is not None:
            scheduler["trained_betas"] = [float(beta) for beta in trained]
        schedule_of(scheduler)  # betas that are none are the file's damage
    return scheduler


def schedule_of(scheduler: dict[str, Any]) -> DDPM:
    """The noise schedule that `read_scheduler` describes; its network is fed the step.

    Runs that were written before other kinds than `linear` were read have no key `betas`.
    """
    steps, start, end = scheduler["steps"], scheduler["beta_start"], scheduler["beta_end"]
    kind = scheduler.get("betas", "linear")
    if kind == "scaled_linear":
        return DDPM(torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2)
    if kind == "squaredcos_cap_v2":
        return DDPM(DDPM.cosine(steps).betas)  # the betas alone: diffusers feeds the step, not IDDPM's time
    if kind == "trained_betas":
        return DDPM(torch.tensor(scheduler["trained_betas"], dtype=torch.float64))
    return DDPM.linear(steps, start, end)
