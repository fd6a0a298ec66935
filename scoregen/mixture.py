"""KL over training time, learned densities and the distance of the modes, for 1-D two-mode mixtures."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infolab.device import pick_device
from infolab.errors import UserError, check_choice, run_main
from infolab.kl import flow_steps, mode_grid
from infolab.results import write
from infolab.runs import Run
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.training import Training, train
from scoregen.batch import NetworkBatch, kl_columns
from scoregen.network import ScoreConfig
from scoregen.tables import ScoreColumns, ScoreDensity, ScoreKl

# ----------
# Settings of the 1-D mixture study: KL dynamics, batch sizes, scalings, densities, and the distance of the modes.

SWEEPS_OF_ROWS = ("dynamics", "distance", "samples_m=n", "samples_fixed_m")


@dataclass(frozen=True)
class MixtureConfig(ScoreConfig):
    """One batch of networks: every mu with every seed."""

    sweep: str = "dynamics"
    """What the rows are for: dynamics (KL over epochs), distance (of the modes), samples_m=n or samples_fixed_m."""
    mu: tuple[float, ...] = (3.0,)
    """Modes at -mu and mu, one network each (per seed)."""
    evaluate_every: int = 50
    """Epochs between exact KLs."""
    density_epochs: tuple[int, ...] = ()
    """Epochs at which the learned density is kept."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        check_choice("sweep", self.sweep, SWEEPS_OF_ROWS)
        if not self.mu or len(set(self.mu)) < len(self.mu) or not all(0 <= mu <= 100 for mu in self.mu):
            raise UserError("--mu needs at least one value between 0 and 100, and none twice")
        if self.evaluate_every < 1 or self.epochs % self.evaluate_every:
            raise UserError(f"--evaluate-every must divide --epochs ({self.epochs}), not be {self.evaluate_every}")
        if any(epoch % self.evaluate_every or not 0 < epoch <= self.epochs for epoch in self.density_epochs):
            raise UserError("--density-epochs must be multiples of --evaluate-every, up to --epochs")

    @property
    def slots(self) -> int:
        """Snapshots measured together: as many as a few seconds of training."""
        return max(1, min(10, self.epochs // self.evaluate_every))


TEN = tuple(range(10))
EPOCHS = (100, 1000, 1900)
PAPER_MU = tuple(float(mu) for mu in range(1, 16))
# The paper's optimisers. Its width, batch and scaling are not given. At the scaling 1/sqrt(m) SGD at 0.5 learns within
# some hundred epochs at any width; Adam at 1e-3 gets faster with it, and 1,024 units come near the published curve.
_ADAM = MixtureConfig(density_epochs=EPOCHS, seeds=TEN)
_SGD = MixtureConfig(optimizer="sgd", lr=0.5, init="uniform", width=256, batch=500, density_epochs=EPOCHS, seeds=TEN)
_FEATURES = MixtureConfig(network="features", lr=1e-2)
_STANDARD = MixtureConfig(
    optimizer="sgd", lr=0.5, init="uniform", width=256, batch=500, scaling="standard", epochs=20, evaluate_every=1
)
_DISTANCE = MixtureConfig(sweep="distance", width=256, mu=PAPER_MU, evaluate_every=100)


def _few(config: MixtureConfig, **changes: object) -> MixtureConfig:
    return dataclasses.replace(config, seeds=(0, 1, 2), **changes)  # type: ignore[arg-type]


_SMOKE = MixtureConfig(width=8, n=30, mu=(3.0,), seeds=(0, 1), epochs=20, evaluate_every=5, density_epochs=(10,))

SWEEPS: dict[str, list[MixtureConfig]] = {
    "paper": [
        _ADAM,
        _SGD,
        dataclasses.replace(_SGD, batch=100, density_epochs=()),
        dataclasses.replace(_SGD, batch=0, density_epochs=()),
        _few(_ADAM, mu=(15.0,)),
        _FEATURES,
        _STANDARD,
        _DISTANCE,
    ],
    "quick": [
        _few(_ADAM, width=512),
        _few(_SGD, width=128),
        _few(_ADAM, width=256, mu=(15.0,), evaluate_every=100),
        _STANDARD,
        _few(_DISTANCE, width=128, mu=(1.0, 3.0, 6.0, 10.0, 15.0)),
    ],
    "smoke": [_SMOKE, dataclasses.replace(_SMOKE, sweep="distance", mu=(1.0, 2.0), density_epochs=())],
}


# ----------
# KL over training time, learned densities and the distance of the modes, for 1-D two-mode mixtures.
#
# `python -m scoregen.mixture [smoke|quick|paper] [--flags]`; `sh scoregen/run_mixture.sh` does the same from any
# folder.


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
