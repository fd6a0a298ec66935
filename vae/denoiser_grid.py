"""Memorization of a diffusion model: a cross-validation grid of small denoisers, log p(x) by pointwise I-MMSE."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, Positive, RunConfig
from infolab.data import NAMES, ImageSet, load
from infolab.data.images import dequantization_noise, dequantize
from infolab.data.places import default_data_dir
from infolab.denoise import Denoiser
from infolab.device import pick_device, staged
from infolab.errors import UserError, run_main
from infolab.immse import GaussianReference, LogsnrGrid, LogsnrRange, make_grid, pointwise_nll
from infolab.memorization import MeanError, MeanErrors, ScoreSums
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import derive, generator
from infolab.results import write
from infolab.runs import Run
from infolab.schedules import logsnr_to_alpha_sigma
from infolab.sweep import Cost, Experiment, run_sweep
from infolab.training import Training, train
from vae.grids import ScoreRows
from vae.objective import Batches, fold_of
from vae.tables import Memorization

# ----------
# Small diffusion models of vectors, several as one batch: a Gaussian's linear denoiser plus a network.

LOGSNR_SCALE = 10.0
"""What log-SNRs are divided by before the network sees them."""

GAUSSIAN = ("mean", "eigenvalues", "eigenvectors")
"""What makes up a Gaussian; in `Denoisers` each stacks the members' own, (k, ...)."""


class Denoisers(nn.Module):
    """k denoisers eps_hat(z, logsnr) of vectors (d,), in the channel z = sqrt(s(a)) x + sqrt(s(-a)) eps.

    In the eigenbasis of the member's own Gaussian N(mu, V diag(l) V^T), eps_hat is that Gaussian's
    sigma z' / (alpha^2 l + sigma^2), z' = V^T (z - alpha mu), plus sqrt(s(a + log l)), the root of its error, times a
    network of z' / sqrt(alpha^2 l + sigma^2): where data looks Gaussian the network has nothing to do.

    Args:
        hidden: widths of the hidden layers.
        seeds: one seed of the initial weights per member (k,).
        references: one Gaussian per member, of full covariance (k,); fitted on what the member is trained on, or
            else the member knows of images that it never saw.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    def __init__(self, hidden: Sequence[int], seeds: Sequence[int], references: Sequence[GaussianReference]):
        super().__init__()
        d = references[0].d
        self.mlp = EnsembleMLP((d + 1, *hidden, d), seeds)
        for name in GAUSSIAN:
            own = [torch.as_tensor(getattr(reference, name)).float() for reference in references]
            self.register_buffer(name, torch.stack(own))

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat (k, n, d) at z (k, n, d) and log-SNRs (k, n)."""
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        along = (z - alpha * self.mean[:, None]) @ self.eigenvectors
        variance = alpha**2 * self.eigenvalues[:, None] + sigma**2
        root = torch.exp(logsigmoid(logsnr[..., None] + self.eigenvalues.log()[:, None]) / 2)
        out = self.mlp(along / variance.sqrt(), logsnr / LOGSNR_SCALE)
        return (along * sigma / variance + root * out) @ self.eigenvectors.mT

    def member(self, place: int) -> Denoiser:
        """One member, at z (n, d), logsnr (n,), at its present weights."""
        alone = Denoisers.__new__(Denoisers)
        nn.Module.__init__(alone)
        alone.mlp = self.mlp.select([place])
        for name in GAUSSIAN:
            alone.register_buffer(name, getattr(self, name)[place : place + 1])
        return Denoiser.of_eps(lambda z, logsnr: alone(z[None], logsnr[None].to(z.dtype))[0])


class DenoiserObjective:
    """Loss of one step: 1/2 weight |eps - eps_hat|^2, whose mean is the NLL in nats up to a constant, (k,).

    One log-SNR per image, log-SNRs and noise being functions of (seed, step) (Kong et al. 2023, eq. 9, app. B).

    Args:
        denoisers: the networks.
        training: the images (k, b, d) at rows (k, b), dequantised by noise (k b, d).
        noise: that noise of n images in some step, (n, step) -> (n, d), on the CPU.
        batches: which images each network sees, and eps.
        logsnr_range: distribution of the log-SNR.
        seed: seed of the log-SNRs.
    """

    def __init__(
        self,
        denoisers: Denoisers,
        training: Callable[[Tensor, Tensor], Tensor],
        noise: Callable[[int, int], Tensor],
        batches: Batches,
        logsnr_range: LogsnrRange,
        seed: int,
    ):
        self.denoisers, self.training, self.noise, self.batches = denoisers, training, noise, batches
        self.range, self.seed = logsnr_range, seed

    def __call__(self, step: int) -> Tensor:
        """The losses (k,)."""
        batch = self.batches(step)
        u = torch.rand(batch.rows.shape, generator=generator(self.seed, "logsnr", step), dtype=torch.float64)
        drawn = (part.float() for part in self.range.sample(u))
        logsnr, weight, shift = staged(batch.eps.device, *drawn, self.noise(batch.rows.numel(), step))
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        z = alpha * self.training(batch.rows, shift) + sigma * batch.eps
        error = (batch.eps - self.denoisers(z, logsnr)).square().sum(-1)
        return (batch.weight * 0.5 * weight * error).sum(1)


# ----------
# Memorization of a diffusion model: a cross-validation grid of small denoisers, log p(x) by pointwise I-MMSE.
#
# `python -m vae.denoiser_grid [smoke|quick|paper] [--flags]`; `sh vae/run_memorization_diffusion.sh` does the same.
# The K x L networks train as one batch; the rows stand beside the VAEs' in vae/memorization.


@dataclass(frozen=True)
class DenoiserGridConfig(RunConfig):
    """A grid of K x L denoisers of flattened images; pixels are dequantised and scaled to [-1, 1]."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in."""
    dataset: Annotated[str, OneOf("data set", NAMES)] = "digits"
    """Image set (`python -m infolab.data doctor` lists them)."""
    m: Annotated[int, AtLeast(0)] = 0
    """Training images, chosen by the seed; 0: all."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers of the networks."""
    epochs: Annotated[int, AtLeast(1)] = 60
    """Passes over the training images."""
    batch: Annotated[int, AtLeast(1)] = 64
    """Largest number of images of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate of Adam."""
    seed: int = 42
    """Seed of the folds, the initial weights, the noise and the evaluation."""
    K: Annotated[int, AtLeast(2)] = 10
    """Folds of the grid."""
    L: Annotated[int, AtLeast(1)] = 1
    """Repeats of the grid: partitions into K folds that are drawn anew."""
    evaluate_every: Annotated[int, AtLeast(1)] = 20
    """Epochs between evaluations of log p(x)."""
    points: Annotated[int, AtLeast(4)] = 32
    """Log-SNR points of log p(x), by the deterministic rule."""
    draws: Annotated[int, AtLeast(2)] = 2
    """Scramblings of the noise along the curve, at least 2."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if not self.hidden or min(self.hidden) < 1:
            raise UserError("--hidden needs at least one layer of at least one unit")
        if self.epochs % self.evaluate_every:
            raise UserError(f"--evaluate-every must divide --epochs ({self.epochs})")

    @property
    def model_name(self) -> str:
        """What the table calls the model."""
        return f"denoiser-mlp[{'-'.join(map(str, self.hidden))}]"


def run_denoiser_grid(preset: str, config: DenoiserGridConfig) -> None:
    """One run: config, data, networks, loop, results."""
    run = Run("vae", "denoiser-grid", preset, config)
    device = pick_device(config.device)
    images, index = choose_images(config)
    levels, n = images.levels, len(images)
    folds = torch.stack([fold_of(n, config.K, config.seed, repeat) for repeat in range(config.L)])
    with run.open():
        # All images enter the law of the log-SNRs only: the Gaussian of a network is that of its training images.
        logsnr_range = LogsnrRange.from_spectrum(reference_of(images).spectrum)
        members = [(repeat, fold) for repeat in range(config.L) for fold in range(config.K)]
        seeds = [derive(config.seed, "denoiser", config.K, *member) for member in members]
        rows = [torch.nonzero(folds[repeat] != fold)[:, 0] for repeat, fold in members]
        references = [reference_of(images.take(own)) for own in rows]
        denoisers = Denoisers(config.hidden, seeds, references).to(device)
        batches = Batches(rows, seeds, config.batch, images.d, device=device)
        pixels = images.to(device).images.flatten(1)

        def training_noise(count: int, step: int) -> Tensor:
            return dequantization_noise((count, images.d), derive(config.seed, "training", step))

        def training_images(chosen: Tensor, u: Tensor) -> Tensor:
            return scaled(pixels[chosen.flatten()], u, levels).view(*chosen.shape, -1)

        x = scaled(pixels, dequantization_noise((n, images.d), derive(config.seed, "evaluation")).to(device), levels)
        grid = make_grid(logsnr_range, config.points)
        measure = Measurement(config, x, references, grid, folds, levels)
        training = Training(
            model=denoisers,
            optimizer=torch.optim.Adam(denoisers.parameters(), lr=config.lr, fused=True),
            objective=DenoiserObjective(denoisers, training_images, training_noise, batches, logsnr_range, config.seed),
            steps=config.epochs * batches.steps_per_epoch,
            evaluate=lambda step: measure.rows(denoisers, step // batches.steps_per_epoch, index, images.labels),
            evaluate_after=[
                epoch * batches.steps_per_epoch
                for epoch in range(config.evaluate_every, config.epochs + 1, config.evaluate_every)
            ],
            row_type=Memorization,
        )
        found = train(run, training)
        path = write(config.results_dir, Memorization, run.id, found, run.provenance())
    last = [row.score for row in found[-n:]]
    said = f" +- {measure.error}" if measure.error else ""
    run.say(
        f"epoch {config.epochs}: mean score {sum(last) / n:.2f}{said} nats, {len(found):,} rows in {path} after "
        f"{run.seconds:.0f} s"
    )


class Measurement:
    """log p(x) of all images under all networks, and the scores.

    Args:
        config: the grid.
        x: dequantised images in [-1, 1], one draw each (n, d).
        references: each network's own Gaussian, in the order of repeats, then folds (L K,). It is the control variate
            too, so that what a network leaves of it counts as exactly as its likelihood in closed form.
        grid: log-SNR points.
        folds: fold of each image in each repeat (L, n).
        levels: Q.
    """

    def __init__(
        self,
        config: DenoiserGridConfig,
        x: Tensor,
        references: Sequence[GaussianReference],
        grid: LogsnrGrid,
        folds: Tensor,
        levels: int,
    ):
        self.config, self.x, self.references, self.grid, self.folds = config, x, references, grid, folds
        self.log_bin = x.shape[1] * math.log(2 / levels)
        self.error: MeanError | None = None  # of the mean score, as last measured by this process

    def rows(self, denoisers: Denoisers, epoch: int, index: Tensor, labels: Tensor | None) -> ScoreRows:
        """The rows of one epoch."""
        config, n = self.config, len(self.x)
        sums, errors, repeats = ScoreSums(n, (1,)), MeanErrors(n), torch.zeros(config.L, config.K, 1, n).double()
        for place in range(config.L * config.K):
            repeat, fold = divmod(place, config.K)
            nll = pointwise_nll(
                denoisers.member(place), self.x, self.references[place], self.grid, draws=config.draws,
                seed=derive(config.seed, "i-mmse"),
            )  # fmt: skip
            # A density times the size of a grey level's bin: a lower bound, on average, of the log mass of the pixels.
            repeats[repeat, fold] = self.log_bin - nll.nll_nats
            sums.add(repeats[repeat, fold].numpy(), (self.folds[repeat] != fold).numpy())
        for logpx, folds in zip(repeats.numpy(), self.folds.numpy(), strict=True):
            errors.add(logpx, folds)
        (self.error,) = errors.found()
        settings = {
            "dataset": config.dataset, "model": config.model_name, "seed": config.seed, "m": n, "lr": config.lr,
            "K": config.K, "L": config.L, "estimator": f"i-mmse[{config.points} x {config.draws}]",
        }  # fmt: skip
        classes = torch.full((n,), -1) if labels is None else labels
        return ScoreRows(settings, torch.tensor([epoch]).numpy(), index.numpy(), classes.numpy(), sums.scores())


def choose_images(config: DenoiserGridConfig) -> tuple[ImageSet, Tensor]:
    """The training images of the grid, in the order of the data set, and their positions in it."""
    images = load(config.dataset, "train", data_dir=config.data_dir)
    if not config.m:
        return images, torch.arange(len(images))
    if not 2 <= config.m <= len(images):
        raise UserError(f"--m must lie in 2 .. {len(images)} (or be 0 for all), not {config.m}")
    index = torch.randperm(len(images), generator=generator(config.seed, "data", "subset"))[: config.m].sort().values
    return images.take(index), index


def scaled(pixels: Tensor, u: Tensor, levels: int) -> Tensor:
    """Dequantised grey levels in [-1, 1], 2 (k + u)/Q - 1."""
    return 2 * dequantize(pixels, u, levels) - 1


def reference_of(images: ImageSet) -> GaussianReference:
    """The Gaussian with the mean and covariance of the dequantised images."""
    step = 2 / images.levels
    middle = step * (images.images.flatten(1).double() + 0.5) - 1
    return GaussianReference.fit(middle).dequantized(step)


def cost(config: DenoiserGridConfig) -> Cost:
    """Expected cost of one run."""
    n, d = config.m or 1437, 64
    sizes = (d + 1, *config.hidden, d)
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    k = config.K * config.L
    trained = float(config.epochs) * n * k
    measured = float(config.epochs // config.evaluate_every) * n * k * config.points * config.draws
    return Cost(k * parameters, 16.0 * k * parameters, trained + measured, 2.0 * parameters * (3 * trained + measured))


BASE = DenoiserGridConfig()
SWEEPS: dict[str, list[DenoiserGridConfig]] = {
    # No paper has this: `paper` is a longer training with more repeats.
    "paper": [dataclasses.replace(BASE, epochs=400, evaluate_every=40, L=5, points=64, draws=4)],
    "quick": [BASE],
    "smoke": [dataclasses.replace(BASE, m=64, hidden=(16,), epochs=2, K=2, L=2, evaluate_every=1, points=4)],
}
EXPERIMENT = Experiment(
    "python -m vae.denoiser_grid", SWEEPS, Memorization, DenoiserGridConfig.check, run_denoiser_grid, cost
)


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(EXPERIMENT))


if __name__ == "__main__":
    main()
