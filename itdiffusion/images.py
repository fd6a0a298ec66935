"""The image study, one run: train or fine-tune denoisers on the NLL itself, then measure their NLL and the ensemble's.

The sweeps are in `itdiffusion.digits` and its neighbours, one module per data set. On several GPUs: `torchrun
--nproc-per-node 4 -m itdiffusion.cifar10 paper`.
"""

import copy

import torch

from infolab import distributed
from infolab.device import pick_device, set_arithmetic
from infolab.nn.unet import unet_size
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.storage import Pieces
from infolab.sweep import Cost, Experiment
from infolab.training import Training, train
from itdiffusion.checkpoint import write_architectures
from itdiffusion.images_evaluate import ImagesEvaluation, baselines, pictures
from itdiffusion.images_model import HEADS, ImagesConfig, load_images, reference_of, training_range
from itdiffusion.images_train import ImagesObjective, make_members
from itdiffusion.tables import ImageBaseline, MseCurve, Nll


def run_images(preset: str, config: ImagesConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("itdiffusion", config.dataset, preset, config)
    distributed.join()
    device = pick_device(config.device)
    with distributed.first_goes_ahead():  # one download
        data, test = load_images(config, device)
    with run.open():
        with distributed.first_goes_ahead():
            reference = reference_of(data, config.runs_dir / "itdiffusion" / "references")
        law = training_range(config, reference)
        members = make_members(config, data, reference, law).to(device)
        if distributed.is_first():
            write_architectures(run.folder, members)
        averaged = copy.deepcopy(members).eval().requires_grad_(False)
        for networks in (members, averaged):
            set_arithmetic(networks, config)
        evaluation = ImagesEvaluation(config, test, reference, law)
        optimizer = torch.optim.Adam(members.parameters(), lr=config.lr, fused=device.type != "mps")
        objective = ImagesObjective(config, members, data, law, optimizer)

        def evaluate(step: int) -> list[dict]:
            averaged.load_state_dict(training.averaged(), strict=False)
            last = step == training.steps
            epoch = step // objective.per_epoch
            points = config.points if last else config.points_while_training
            return evaluation.rows(averaged, epoch, points, last, Pieces(run.folder, averaged))

        every = config.evaluate_every * objective.per_epoch
        training = Training(
            model=members,
            optimizer=optimizer,
            objective=objective,
            steps=objective.steps,
            ema_decay=config.ema_decay,
            parts=config.parts,
            evaluate=evaluate,
            evaluate_after={*(range(every, objective.steps, every) if every else ()), objective.steps},
        )
        rows = train(run, training) if config.epochs else evaluate(0)
        if distributed.is_first():
            averaged.load_state_dict(training.averaged(), strict=False)
            provenance = run.provenance()
            if arrays := pictures(config, averaged, data, law, Pieces(run.folder, averaged)):
                write_arrays(config.results_dir, "itdiffusion", run.id, arrays, provenance)
            curves = [MseCurve(**row) for one in rows for row in one["curve"]]
            write(config.results_dir, MseCurve, run.id, curves, provenance)
            write(config.results_dir, ImageBaseline, run.id, baselines(config, data, test), provenance)
            path = write(
                config.results_dir, Nll, run.id, [Nll(**row) for one in rows for row in one["nll"]], provenance
            )
            run.say(f"{rows[-1]['discrete_bpd']:.3f} bits/dim (discrete), in {path} after {run.seconds:.0f} s")


def cost(config: ImagesConfig) -> Cost:
    """Expected cost of one run: training and the evaluation's curves, of all members."""
    size = config.unet()
    parameters, per_image = unet_size(size)
    n = {"digits": 1437, "patches": 7776, "cifar10": 50_000}.get(config.dataset, 50_000)
    images = float(config.epochs) * n
    evaluated = (config.test_images or n / 5) * config.points * 2 + config.samples * config.sample_steps
    many = len(config.members)
    memory = 16.0 * parameters + min(config.batch, 4096) / config.parts * size.model_channels * size.image_size**2 * 240
    return Cost(
        many * parameters, many * memory, many * (images + evaluated), many * per_image * (3 * images + evaluated)
    )


def experiment(command: str, sweeps: dict[str, list[ImagesConfig]]) -> Experiment:
    """The image study on one data set's sweeps; runs are of one kind where their pre-trained members are the same."""
    return Experiment(
        command, sweeps, Nll, ImagesConfig.check, run_images, cost, kind=_pretrained, several_processes=True
    )


def _pretrained(config: ImagesConfig) -> tuple[str, ...]:
    return tuple(member for member in config.members if member not in HEADS)
