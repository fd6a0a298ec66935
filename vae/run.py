"""One run of VAEs: config, data, networks, loop, results. The sweeps are in `vae.full` and `vae.cv`."""

import dataclasses
import itertools

import torch

from infolab.device import pick_device, set_arithmetic
from infolab.noise import derive
from infolab.results import is_written, write, write_arrays
from infolab.runs import Run
from infolab.sweep import Cost
from infolab.training import Training, train
from vae.config import VAEConfig
from vae.evaluate import Evaluation, MeasuredBeforeError, bound_rows
from vae.images import Inputs, load_inputs
from vae.models import build_decoder, build_vae
from vae.objective import Batches, Member, Objective, VAEWithGhostDecoder, halves, members_of
from vae.tables import Bounds, Curves


def run_vae(preset: str, config: VAEConfig) -> None:
    """One run: train the networks of `config`, measure them on the way, write tables and the log p(x) of each image."""
    run = Run("vae", "cv" if config.mode == "cv" else "full", preset, config)
    try:
        _train_and_measure(run, config)
    except MeasuredBeforeError as error:  # its results were deleted or damaged after it had ended, say
        if is_written(config.results_dir, Curves, run.id) and not config.force:
            run.say("finished by another process meanwhile")
            return
        run.say(f"{error}: trained again from the start")
        _train_and_measure(dataclasses.replace(run, anew=True), config)


def _train_and_measure(run: Run, config: VAEConfig) -> None:
    device = pick_device(config.device)
    inputs, test = load_inputs(config, device)
    members = members_of(config, len(inputs))
    with run.open():
        trained = build(config, members, inputs).to(device)
        set_arithmetic(trained, config)
        objective = make_objective(config, members, inputs, trained)
        evaluation = Evaluation(run, config, inputs, test, members)
        per_epoch = objective.batches.steps_per_epoch
        every = range(config.evaluate_every, config.epochs + 1, config.evaluate_every)
        training = Training(
            model=trained,
            optimizer=torch.optim.Adam(trained.parameters(), lr=config.lr, fused=True),
            objective=objective,
            steps=config.epochs * per_epoch,
            evaluate=lambda step: evaluation.rows(trained, step // per_epoch),
            evaluate_after=[epoch * per_epoch for epoch in every],
            row_type=Curves,
        )
        rows = train(run, training)
        _write_results(run, config, rows, evaluation)


def build(config: VAEConfig, members: list[Member], inputs: Inputs) -> VAEWithGhostDecoder:
    """The networks that are trained, at their initial weights."""
    seeds = [member.seed for member in members]
    vae = build_vae(config, seeds, inputs.shape, inputs.levels)
    ghost = [derive(seed, "ghost") for seed in seeds]
    return VAEWithGhostDecoder(vae, build_decoder(config, ghost, inputs.shape) if config.mode == "ghost" else None)


def make_objective(config: VAEConfig, members: list[Member], inputs: Inputs, trained: VAEWithGhostDecoder) -> Objective:
    """The loss of a step. The number of steps of an epoch is that of the largest training set of the whole grid."""
    device, n = inputs.pixels.device, len(inputs)
    largest = n - n // config.K if config.mode == "cv" else 0
    if config.mode == "ghost":
        largest = n - n // 2
    rows, seeds = [member.rows for member in members], [member.seed for member in members]
    batches = Batches(rows, seeds, config.batch, config.latent, largest, device)
    if config.mode != "ghost":
        return Objective(trained, inputs, batches)
    ghost_seeds = [derive(seed, "ghost") for seed in seeds]
    others = Batches([halves(config, n)[1]], ghost_seeds, config.batch, config.latent, largest, device)
    return Objective(trained, inputs, batches, others)


def _write_results(run: Run, config: VAEConfig, rows: list[Curves], evaluation: Evaluation) -> None:
    provenance = run.provenance()
    if config.logpx_every:
        epochs = range(config.logpx_every, config.epochs + 1, config.logpx_every)
        write_arrays(config.results_dir, "vae", run.id, evaluation.log_px.arrays(epochs), provenance)
    bounds = bound_rows(rows)
    if bounds:
        write(config.results_dir, Bounds, run.id, bounds, provenance)
    path = write(config.results_dir, Curves, run.id, rows, provenance)  # last: it marks the run as finished
    last = rows[-1]
    run.say(
        f"{config.mode}, lr {config.lr:g}, epoch {last.epoch}: {last.loss_nats:.2f} nats on images not seen (negative "
        f"ELBO), {len(rows)} rows in {path} after {run.seconds:.0f} s"
    )


def cost(config: VAEConfig) -> Cost:
    """Expected cost of one run: training, evaluations, and log p(x), which is most of it."""
    k, n_train, n_test, d = config.n_members, *_sizes(config)
    n_train = config.m or n_train
    per_image, parameters = _network(config, d)
    trained = float(config.epochs) * n_train * k
    checks = config.epochs // config.evaluate_every
    plain = float(checks) * (n_train + n_test) * k
    measured = (config.logpx_images or n_train) + (0 if config.mode == "cv" else n_test)
    times = config.epochs // config.logpx_every if config.logpx_every else 0
    weighed = float(times) * k * measured * config.n_z
    memory = 16.0 * k * parameters + (n_train + n_test) * d * 2 + 4.0 * 2048 * d * 3
    return Cost(k * parameters, memory, trained + plain + weighed, per_image * (3 * trained + plain + weighed / 2))


def _network(config: VAEConfig, d: int) -> tuple[float, int]:
    """Floating-point operations of one pass through encoder and decoder, and the number of their parameters."""
    if config.model == "bernoulli-mlp":
        sizes = (d, *config.hidden, config.latent)
        half = sum(a * b for a, b in itertools.pairwise(sizes))
        return 4.0 * half, 2 * half
    f = config.features
    kernels = 16 * (2 + 8 + 32) * f * f
    # Each level has four times the weights of the one before and a quarter of its pixels.
    return 2.0 * 2 * 16 * 2 * f * f * 64 * 3, 2 * kernels + 12 * f * config.latent * 4


def _sizes(config: VAEConfig) -> tuple[int, int, int]:
    """Images of the training and test sets and dimensions of one image, without reading files."""
    known = {"mnist": (60_000, 10_000, 28), "fashion-mnist": (60_000, 10_000, 28), "cifar10": (50_000, 10_000, 32),
             "celeba": (162_770, 19_962, 32), "digits": (1_437, 360, 8), "patches": (7_776, 600, 32)}  # fmt: skip
    n_train, n_test, side = known.get(config.dataset, (20_000, 4_000, 32))
    colours = 3 if config.dataset in ("cifar10", "celeba", "patches") else 1
    return n_train, n_test, colours * max(side, config.canvas) ** 2
