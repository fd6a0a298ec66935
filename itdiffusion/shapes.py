"""The 2-D study: denoisers trained on the negative log likelihood itself, and measured against exact densities.

`python -m itdiffusion.shapes [smoke|quick|paper] [--flags]`; `sh itdiffusion/run_2d.sh` does the same from any folder.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from infolab.device import pick_device
from infolab.epochs import ChannelEpochs
from infolab.errors import run_main
from infolab.immse import GaussianReference
from infolab.nn.mlp import FourierMLPs
from infolab.noise import generator
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.storage import Keep, Pieces, unkept
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.toy import Toy
from infolab.training import Training, learning_rate, set_learning_rate, train
from itdiffusion.shapes_evaluate import ShapesEvaluation, density_grid, grid_axis
from itdiffusion.shapes_model import SWEEPS, Gaussians, ShapesConfig, ShapesModel
from itdiffusion.tables import DensityGrid, MseCurve, Nll, ShapeSamples

CONTOUR_POINTS, CONTOUR_PAIRS = 20, 2
"""Log-SNR points of the density on the grid, and antithetic pairs of noise at each."""
POINTS_ON_TOP = 200
"""Training points that the contour figure draws over the density, as published."""


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


class Study(nn.Module):
    """The k denoisers and the densities measured so far, which a checkpoint keeps together.

    Args:
        model: the denoisers.
        contours: zeros (evaluations, 2, members shown, r, r) for -log p and its standard error.
    """

    contours: Tensor

    def __init__(self, model: ShapesModel, contours: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("contours", contours)


def run_shapes(preset: str, config: ShapesConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("itdiffusion", "2d", preset, config)
    with run.open():
        device = pick_device(config.device)
        laws = config.laws()
        members = [(name, seed) for seed in config.seeds for name in laws]
        seeds = [seed for _, seed in members]

        training_set, validation = (part.to(device) for part in split_data(config, laws, members))
        references = [GaussianReference.fit(points) for points in training_set]
        model = ShapesModel(make_networks(config, seeds), Gaussians(references), config.precondition)
        shown = len(laws) if config.contours else 0  # the networks of the first seed
        study = Study(model, torch.zeros(config.shown_epochs, 2, shown, config.grid, config.grid)).to(device)
        evaluation = ShapesEvaluation(config, members, laws, validation, references)
        batches = ChannelEpochs(training_set, evaluation.range, seeds, config.batch, stratified=config.stratified)

        steps = config.epochs * batches.steps_per_epoch
        every = steps // config.shown_epochs
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)

        def objective(step: int) -> Tensor:
            set_learning_rate(optimizer, learning_rate(config.lr_schedule, config.lr, step, steps))
            return nll_losses(model, batches, step)

        def evaluate(step: int) -> list[Nll]:
            averaged = _averaged(study, training).model
            keep = Pieces(run.folder, averaged)
            add_contours(study, averaged, evaluation, step // every - 1, keep)
            return evaluation.nll_rows(evaluation.curves(averaged, keep=keep), step // batches.steps_per_epoch)

        training = Training(
            model=study,
            optimizer=optimizer,
            objective=objective,
            steps=steps,
            ema_decay=config.ema_decay,
            evaluate=evaluate,
            evaluate_after=range(every, steps, every),
            row_type=Nll,
        )
        nll = train(run, training)
        write_results(run, config, _averaged(study, training), evaluation, nll, training_set)


def make_networks(config: ShapesConfig, seeds: list[int]) -> FourierMLPs:
    """One network of the config's size for each seed."""
    scales = {"input_scale": config.input_scale, "logsnr_scale": config.logsnr_multiplier}
    return FourierMLPs(seeds, 2, config.embedding, config.hidden, config.layers, **scales)


def split_data(config: ShapesConfig, laws: dict[str, Toy], members: list[tuple[str, int]]) -> tuple[Tensor, Tensor]:
    """Training (k, 9n/10, 2) and validation points (k, n/10, 2): a function of data set and seed."""
    data = torch.stack([laws[name].sample(config.n, generator(seed, "shapes", name)) for name, seed in members])
    held_out = config.n // 10
    return data[:, held_out:], data[:, :held_out]


def nll_losses(model: ShapesModel, batches: ChannelEpochs, step: int) -> Tensor:
    """1/2 E weight |eps - eps_hat|^2 of each network (k,): its NLL in nats, up to the Gaussian's constant."""
    batch = batches(step)
    errors = (batch.eps - model(batch.z, batch.logsnr)).square().sum(-1)
    return 0.5 * (batch.weight * errors).mean(-1)


def add_contours(
    study: Study, model: ShapesModel, evaluation: ShapesEvaluation, place: int, keep: Keep = unkept
) -> None:
    """Measure -log p on the grid for the networks that are shown, and keep it as evaluation number `place`."""
    shown = study.contours.shape[2]
    if shown:
        grid, axis = evaluation.thin_grid(CONTOUR_POINTS), grid_axis(evaluation.config.grid)

        def measure() -> dict[str, Tensor]:
            chosen, seed = model.select(range(shown)), evaluation.config.seeds[0]
            return {"nats": density_grid(chosen, axis, grid, pairs=CONTOUR_PAIRS, seed=seed)}

        study.contours[place] = keep("contours", measure)["nats"].to(study.contours)


def write_results(
    run: Run, config: ShapesConfig, study: Study, evaluation: ShapesEvaluation, nll: list[Nll], training_set: Tensor
) -> None:
    """Measure the trained networks in full and write every table; the table of NLLs comes last."""
    model, epoch = study.model, config.epochs
    keep = Pieces(run.folder, model)
    add_contours(study, model, evaluation, -1, keep)
    curves = evaluation.curves(model, antithetic=True, keep=keep)
    nll += [*evaluation.nll_rows(curves, epoch), *evaluation.ode_rows(model, epoch, keep)]
    samples = evaluation.samples(model, keep)
    distances = evaluation.sample_rows(samples, epoch)
    provenance = run.provenance()
    pictures = {
        "samples": samples.numpy().astype(np.float32),
        "points": training_set[:, :POINTS_ON_TOP].cpu().numpy().astype(np.float32),
        "dataset": np.array([name for name, _ in evaluation.members]),
        "seed": np.array(evaluation.seeds),
        "model": np.array(config.model_name()),
    }
    write_arrays(config.results_dir, "itdiffusion", run.id, pictures, provenance)
    write(config.results_dir, ShapeSamples, run.id, distances, provenance)
    write(config.results_dir, MseCurve, run.id, evaluation.curve_rows(curves, epoch), provenance)
    if config.contours:
        write(config.results_dir, DensityGrid, run.id, grid_rows(config, study, evaluation), provenance)
    path = write(config.results_dir, Nll, run.id, nll, provenance)
    run.say(f"{config.model_name()}: {len(nll)} rows in {path} after {run.seconds:.0f} s")


def grid_rows(config: ShapesConfig, study: Study, evaluation: ShapesEvaluation) -> list[DensityGrid]:
    """The densities measured along the way as rows."""
    axis = grid_axis(config.grid).tolist()
    every = config.epochs // config.shown_epochs
    rows = []
    for place, (values, errors) in enumerate(study.contours.cpu().tolist()):
        for member in range(len(values)):
            shared = evaluation.settings(member, every * (place + 1))
            rows += [
                DensityGrid(**shared, x=x, y=y, nll_nats=values[member][i][j], nll_se=errors[member][i][j])
                for i, x in enumerate(axis)
                for j, y in enumerate(axis)
            ]
    return rows


def _averaged(study: Study, training: Training) -> Study:
    """A copy of the study with the weights that are evaluated."""
    copied = copy.deepcopy(study)
    copied.load_state_dict(training.averaged(), strict=False)
    return copied


def cost(config: ShapesConfig) -> Cost:
    """Expected cost of one run: training, curves, densities on the grid, ODE and sampler."""
    k = (len(config.datasets) + bool(config.points_file)) * len(config.seeds)
    first, h = 3 * config.embedding * config.hidden, config.hidden
    parameters = k * (first + (config.layers - 2) * h * h + 2 * h + (config.layers - 1) * h + 2)
    trained = k * float(config.epochs) * (config.n - config.n // 10)
    held_out = config.n // 10
    curves = k * float(held_out) * config.points * (config.shown_epochs + 1)
    last = k * (6.0 * config.ode_steps * held_out + config.sampler_steps * config.samples)
    shown = (
        k
        / len(config.seeds)
        * config.shown_epochs
        * CONTOUR_POINTS
        * 2
        * CONTOUR_PAIRS
        * config.grid**2
        * config.contours
    )
    memory = 16 * parameters + 4.0 * k * max(config.batch, held_out) * (3 * config.embedding + 4 * h) * 2
    evaluations = trained + curves + last + shown
    flops = 2 * parameters / k * (2.5 * trained + curves + last + shown / 4)
    return Cost(parameters, memory, evaluations, flops)


EXPERIMENT = Experiment("python -m itdiffusion.shapes", SWEEPS, Nll, ShapesConfig.check, run_shapes, cost)


if __name__ == "__main__":
    main()
