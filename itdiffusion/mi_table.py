"""The table of mutual information: laws with known answers, digits, and how often the interval covers the truth.

`python -m itdiffusion.mi_table [smoke|quick|paper] [--flags]`; `make mi-table` runs `paper`.
"""

import numpy as np

from common.data import load
from common.device import pick_device
from common.errors import run_main
from common.mi import mutual_information
from common.results import write
from common.results.tables.mi import MutualInformation
from common.runs import Run
from common.seeds import derive
from common.sweep import Cost, Experiment, run_sweep
from itdiffusion.mi_config import DIGITS, SWEEPS, MiConfig
from itdiffusion.mi_laws import LAWS


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_mi(preset: str, config: MiConfig) -> None:
    """One run: config, pairs, estimate, row."""
    run = Run("itdiffusion", "mi", preset, config)
    with run.open():
        dataset, x, y, truth = pairs(config)
        found = mutual_information(x, y, config.settings(), pick_device(config.device))
        estimate, parts = found.estimate, found.parts_nats
        row = MutualInformation(
            dataset=dataset, case=config.case, n=len(x), d_x=x[0].size, d_y=y[0].size, seed=config.seed,
            form=config.form, minutes=config.minutes, method=found.method, maps=found.maps, truth_nats=truth,
            mi_nats=estimate.value, se_nats=estimate.se, se_data_nats=estimate.se_data,
            gaussian_nats=parts.get("gaussian"), squared_nats=parts.get("squared"), floor_nats=parts.get("floor"),
            steps=found.steps, evaluations=estimate.evaluations, seconds=found.seconds,
        )  # fmt: skip
        write(config.results_dir, MutualInformation, run.id, [row], run.provenance())
        known = "" if truth is None else f" (true {truth:.4f})"
        run.say(f"{config.case}: {estimate.value:.4f} +- {estimate.se:.4f} nats{known} after {run.seconds:.0f} s")


def pairs(config: MiConfig) -> tuple[str, np.ndarray, np.ndarray, float | None]:
    """Kind of law or data set, x, y and the true information in nats (None: not known)."""
    if config.case not in DIGITS:
        law = LAWS[config.case]
        x, y = law.sample(config.n, np.random.default_rng(derive(config.seed, "mi", config.case)))
        return law.family, x, y, law.truth_nats
    sets = [load("digits", split, data_dir=config.data_dir) for split in ("train", "test")]
    images = np.concatenate([part.images.squeeze(1).numpy() for part in sets])
    if config.case == "digits-image-label":
        labels = [part.labels.numpy() for part in sets if part.labels is not None]
        return "digits", images, np.concatenate(labels), None
    half = images.shape[2] // 2
    return "digits", images[:, :, :half], images[:, :, half:], None


def cost(config: MiConfig) -> Cost:
    """Expected cost of one run: the head and the denoiser of both halves, and the evaluation."""
    d = 1 if config.case in DIGITS else LAWS[config.case].sample(2, np.random.default_rng(0))[0].shape[1]
    inputs, width = 4 * d + 13, config.width
    parameters = 2 * (inputs * width + 2 * width * width + 2 * d * width + 70 * 64 * 2)
    steps = config.steps or int(config.minutes * 1500)
    trained = 2.0 * steps * config.batch
    evaluated = 2.0 * config.n * config.points
    return Cost(parameters, 64e6 + 40.0 * config.n * d, evaluated, parameters * (3 * trained + evaluated))


EXPERIMENT = Experiment("python -m itdiffusion.mi_table", SWEEPS, MutualInformation, MiConfig.check, run_mi, cost)


if __name__ == "__main__":
    main()
