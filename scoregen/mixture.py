"""KL over training time, learned densities and the distance of the modes, for 1-D two-mode mixtures.

`python -m scoregen.mixture [smoke|quick|paper] [--flags]`; `sh scoregen/run_mixture.sh` does the same from any folder.
"""

import dataclasses
from pathlib import Path
from typing import Any

from common.device import pick_device
from common.errors import run_main
from common.results import write
from common.results.tables.scoregen import ScoreColumns, ScoreDensity, ScoreKl
from common.runs import Run
from common.sweep import Cost, Experiment, run_sweep
from common.training import Training, train
from scoregen.batch import NetworkBatch, kl_columns
from scoregen.density import flow_steps, mode_grid
from scoregen.mixture_config import SWEEPS, MixtureConfig


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


def run_mixture(preset: str, config: MixtureConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("scoregen", "mixture", preset, config)
    with run.open():
        members = [(mu, seed) for mu in config.mu for seed in config.seeds]
        batch = NetworkBatch(config, members, config.evaluate_every, config.slots, pick_device(config.device))
        training = Training(
            model=batch.model,
            optimizer=batch.optimizer(),
            objective=batch.objective,
            steps=config.epochs * batch.per_epoch,
            evaluate=lambda step: measured(config, batch, step, run.folder),
            evaluate_after=batch.evaluate_after(),
        )
        found = train(run, training)

        provenance = run.provenance()
        curves = [row.pop("curve") for row in found]
        densities = [density for row, curve in zip(found, curves, strict=True) for density in density_rows(row, curve)]
        if densities:
            write(config.results_dir, ScoreDensity, run.id, densities, provenance)
        rows = [ScoreKl(**row) for row in found]
        path = write(config.results_dir, ScoreKl, run.id, rows, provenance)
        run.say(f"{config.sweep}, {config.optimizer}: {len(rows)} rows in {path} after {run.seconds:.0f} s")


def measured(config: MixtureConfig, batch: NetworkBatch, step: int, folder: Path | None = None) -> list[dict[str, Any]]:
    """Rows of `scoregen/kl` for the snapshots since the last call; `curve`: x, p_theta and p0 where they are kept."""
    rows = []
    for epoch, member, density, place, log_p0 in batch.measure(step, folder=folder):
        columns = kl_columns(density, place, log_p0, batch.data[member].cpu())
        curve = []
        if epoch in config.density_epochs and not columns["diverged"]:
            x = density.x.round(decimals=9)  # 0.2 times whole numbers, without the rounding of the product
            curve = [item.tolist() for item in (x, density.log_p[place].exp(), log_p0.exp())]
        time = config.lr * epoch * batch.per_epoch
        shared = {**config.columns(*batch.members[member]), "sweep": config.sweep, "epoch": epoch, "time": time}
        rows.append({**shared, **columns, "curve": curve})
    return rows


def density_rows(row: dict[str, Any], curve: list[list[float]]) -> list[ScoreDensity]:
    """One row of `scoregen/density` for each point of a curve that was kept."""
    settings = {name: row[name] for name in (*(item.name for item in dataclasses.fields(ScoreColumns)), "epoch")}
    return [ScoreDensity(**settings, x=x, density=p, target=p0) for x, p, p0 in zip(*curve, strict=True)]


def cost(config: MixtureConfig) -> Cost:
    """Expected cost of one run: training, and the flow of every snapshot."""
    k, m = len(config.mu) * len(config.seeds), config.width
    trained = float(k) * config.epochs * config.n
    flows = sum(4.0 * flow_steps(mu) * len(mode_grid(mu)) for mu in config.mu) * len(config.seeds)
    evaluated = config.epochs // config.evaluate_every * flows
    # Adam keeps two more copies of the 4 m weights; what a unit costs is a tanh and few products.
    return Cost(
        4 * k * m, 16.0 * 4 * k * m + 2e6, trained + evaluated, (40.0 * trained + 20.0 * evaluated) * max(m, 16)
    )


EXPERIMENT = Experiment(
    "python -m scoregen.mixture", SWEEPS, ScoreKl, MixtureConfig.check, run_mixture, cost, kind=lambda one: one.sweep
)


if __name__ == "__main__":
    main()
