"""Rows of the speed table that belong to the VAEs: a training epoch, a grid of folds, importance-weighted log p(x)."""

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks import reference_vae
from benchmarks.timing import Duel, seconds
from infolab.data import load
from infolab.data.places import MissingFilesError
from infolab.noise import generator
from vae import plain
from vae.config import VAEConfig, runs
from vae.evaluate import log_px_of
from vae.images import Inputs, binarize
from vae.logpx import FullCovariance, Points, encoder_proposal
from vae.models import VAE
from vae.objective import Objective, VAEWithGhostDecoder, members_of
from vae.run import build, make_objective

N_Z = 256
LATENT = VAEConfig.latent
SIZES = (reference_vae.PIXELS, *plain.HIDDEN, LATENT)
DECODER_FLOPS = 2.0 * sum(a * b for a, b in itertools.pairwise(SIZES))
"""Operations of one pass through the decoder."""
TRAIN_FLOPS = 3 * 2 * DECODER_FLOPS
"""Operations of one training step per image: three passes through encoder and decoder."""
PUBLISHED = VAEConfig(dataset="fashion-mnist")


def grey_images(n: int) -> np.ndarray:
    """n grey images (n, 28, 28): Fashion-MNIST where it is found, else the built-in sprites without their border."""
    try:
        images = load("fashion-mnist").images[:n, 0]
    except MissingFilesError:
        images = load("sprites").images[:n, 0, 2:-2, 2:-2]
    return images.contiguous().numpy()


def as_inputs(images: np.ndarray) -> Inputs:
    """The same images as our networks see them: padded, binarised once."""
    padded = torch.nn.functional.pad(torch.from_numpy(images)[:, None], (2, 2, 2, 2))
    n = len(images)
    return Inputs("binary", binarize(padded, 256, seed=0), 2, torch.zeros(n), torch.arange(n), seed=0, split="train")


class Networks:
    """VAEs trained as `vae.run` trains them; `run` goes on where the last call stopped."""

    def __init__(self, config: VAEConfig, inputs: Inputs):
        members = members_of(config, len(inputs))
        self.inputs = inputs
        self.trained: VAEWithGhostDecoder = build(config, members, inputs)
        self.objective: Objective = make_objective(config, members, inputs, self.trained)
        self.optimizer = torch.optim.Adam(self.trained.parameters(), lr=config.lr, fused=True)
        self.step = 0

    def run(self, epochs: int) -> None:
        """Train for `epochs` more epochs."""
        for _ in range(epochs * self.objective.batches.steps_per_epoch):
            self.optimizer.zero_grad(set_to_none=True)
            self.objective(self.step).sum().backward()
            self.optimizer.step()
            self.step += 1

    def log_px(self, points: Points, n: int) -> list[Tensor]:
        """log p(x) of the first n images under each network, by the model's own encoder."""
        vae = self.trained.vae.eval()
        count = len(self.objective.batches.rows)
        return [log_px_of(vae, j, encoder_proposal(vae, j), self.inputs, points, 0, n).value for j in range(count)]


def train_epoch(part: int = 6_400, whole: int = 60_000) -> Duel:
    """One epoch of the MLP VAE over 60,000 images in batches of 64; both sides run a part, whose time is scaled up."""
    images = grey_images(part)
    ours = Networks(PUBLISHED, as_inputs(images))
    model = plain.VAE(SIZES[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = reference_vae.loader(reference_vae.Binarized(images))
    source = generator(0, "reference")
    ours.run(1)
    plain.train(model, optimizer, itertools.islice(batches, 10), source)
    factor = whole / part
    return Duel(
        setting=f"{whole:,} images, batch 64, 1024-512-256-16; both sides: {part:,} images, time x {factor:g}",
        unit="s/epoch",
        wanted=1.8,
        ours=lambda repeat: factor * seconds(lambda: ours.run(1)),
        reference=lambda repeat: factor * seconds(lambda: plain.train(model, optimizer, batches, source)),
        evaluations_ours=whole,
        evaluations_reference=whole,
        flops_ours=TRAIN_FLOPS * whole,
    )


def grid(n: int = 320, K: int = 10, part: int = 2, epochs: int = 5) -> Duel:
    """A grid of ten folds for five epochs, then log p(x) of all images under all networks, the published cadence.

    The reference trains and measures the first `part` folds, and its time is multiplied by K / part.
    """
    images = grey_images(n)
    inputs, readers = as_inputs(images), reference_vae.Binarized(images)
    (config,) = runs(VAEConfig(dataset="fashion-mnist", mode="cv", K=K, repeat=0, epochs=epochs, logpx_every=epochs))
    points = Points("random", N_Z, LATENT, seed=0)
    warm = Networks(config, inputs)
    warm.run(1)
    warm.log_px(points, 16)

    def ours(repeat: int) -> None:
        networks = Networks(config, inputs)
        networks.run(epochs)
        networks.log_px(points, n)

    def reference(repeat: int) -> None:
        for member in members_of(config, n)[:part]:
            assert member.held_out is not None
            reference_vae.fold(readers, member.rows.tolist(), member.held_out.tolist(), epochs, epochs, N_Z)

    images_trained = float(K * epochs * (n - n // K))
    return Duel(
        setting=f"K={K}, {n} images, {epochs} epochs, then log p(x) of all with N_z={N_Z}; reference: {part} folds, "
        f"time x {K // part}",
        unit="s",
        wanted=2.5,
        ours=lambda repeat: seconds(lambda: ours(repeat)),
        reference=lambda repeat: K / part * seconds(lambda: reference(repeat)),
        evaluations_ours=int(images_trained) + K * n * N_Z,
        evaluations_reference=int(images_trained) + K * n * N_Z,
        flops_ours=TRAIN_FLOPS * images_trained + DECODER_FLOPS * K * n * N_Z,
    )


def as_plain(vae: VAE) -> plain.VAE:
    """The reference's network with the weights of the first of ours."""
    model = plain.VAE(SIZES[0], LATENT)
    copy_weights(vae, model)
    return model


def copy_weights(vae: VAE, model: plain.VAE, member: int = 0) -> None:
    """Give the reference's network the weights of one of ours."""
    encoder, decoder = (part.mlp.member(member) for part in (vae.encoder, vae.decoder))  # type: ignore[union-attr,operator]
    linear = [layer for part in (model.encoder, model.decoder) for layer in part if isinstance(layer, torch.nn.Linear)]
    (weight, bias), latent = encoder[-1], model.latent
    pairs = [*zip(linear, [*encoder[:-1], *decoder], strict=True)]
    pairs += [
        (model.mu, (weight[:, :latent], bias[:latent])),
        (model.log_variance, (weight[:, latent:], bias[latent:])),
    ]
    with torch.no_grad():
        for layer, (w, b) in pairs:
            layer.weight.copy_(w.T)
            layer.bias.copy_(b)


def iw_logpx(n: int = 64) -> Duel:
    """log p(x) with the same 256 codes per image."""
    ours = Networks(PUBLISHED, as_inputs(grey_images(640)))
    ours.run(1)
    model = as_plain(ours.trained.vae)
    points, x = Points("random", N_Z, LATENT, seed=0), ours.inputs.evaluation(0, n)
    ours.log_px(points, n)
    reference_vae.log_px(model, x, N_Z)
    return Duel(
        setting=f"{n} images, N_z={N_Z}, float32, decoder 16-256-512-1024",
        unit="ms/image",
        wanted=2.0,
        ours=lambda repeat: 1e3 / n * seconds(lambda: ours.log_px(points, n)),
        reference=lambda repeat: 1e3 / n * seconds(lambda: reference_vae.log_px(model, x, N_Z)),
        evaluations_ours=N_Z,
        evaluations_reference=N_Z,
        flops_ours=DECODER_FLOPS * N_Z,
        seconds_per_unit=1e-3,
    )


def iw_logpx_same_error(n: int = 64, m: int = 12_800, evaluated: int = 70_000, replicates: int = 12) -> Duel:
    """log p(x) at the Monte Carlo variance of the published estimator with 256 codes (mean over images).

    Ours: a second encoder with full covariance and randomly shifted Sobol points, as many as it takes. The second
    encoder is trained again in every repeat, on the decoder's own training images; its time is shared by the images
    that the published protocol evaluates with one decoder, `evaluated` of them after training on 60,000.
    """
    ours = Networks(PUBLISHED, as_inputs(grey_images(m)))
    ours.run(5)
    vae = ours.trained.vae.eval()
    model, rows = as_plain(vae), torch.arange(m)
    x = ours.inputs.evaluation(0, n)
    second = FullCovariance(vae, 0, seed=0)
    second.train(ours.inputs, rows, epochs=1)

    def spread(estimate: Callable[[int], Tensor]) -> float:
        return float(torch.stack([estimate(replicate) for replicate in range(replicates)]).double().var(0).mean())

    def estimate(n_z: int, replicate: int) -> Tensor:
        points = Points("sobol", n_z, LATENT, seed=replicate)
        return log_px_of(vae, 0, second, ours.inputs, points, 0, n).value

    torch.manual_seed(0)
    theirs = spread(lambda replicate: reference_vae.log_px(model, x, N_Z))
    tried = ((n_z, spread(partial(estimate, n_z))) for n_z in (16, 32, 48, 64, 96, 128, 256))
    n_z, found = next((n_z, value) for n_z, value in tried if value <= theirs or n_z == N_Z)
    times: list[float] = []

    def run_ours(repeat: int) -> float:
        start = time.perf_counter()
        FullCovariance(vae, 0, seed=repeat).train(ours.inputs, rows, epochs=1)
        times.append(time.perf_counter() - start)
        training = times[-1] * 60_000 / m / evaluated
        return 1e3 * (training + seconds(lambda: estimate(n_z, repeat)) / n)

    def note() -> str:
        share = 1e3 * statistics.median(times) * 60_000 / m / evaluated
        return (
            f"Variance of log p(x), mean over {n} images: ours {found:.3f}, reference {theirs:.3f} nats^2; training "
            f"of the second encoder is {share:.2f} ms of ours per image."
        )

    return Duel(
        setting=f"{n} images, variance of N_z={N_Z}; ours: N_z={n_z}, full covariance, shifted Sobol points; second "
        f"encoder: 1 epoch of 60,000 images for {evaluated:,} evaluated ({m:,} run, scaled)",
        unit="ms/image",
        wanted=4.0,
        ours=run_ours,
        reference=lambda repeat: 1e3 / n * seconds(lambda: reference_vae.log_px(model, x, N_Z)),
        evaluations_ours=n_z,
        evaluations_reference=N_Z,
        flops_ours=DECODER_FLOPS * n_z + TRAIN_FLOPS * 60_000 / evaluated,
        seconds_per_unit=1e-3,
        note=note,
    )


ROWS: dict[str, Callable[[], Duel]] = {
    "vae.train_epoch": train_epoch,
    "vae.grid": grid,
    "vae.iw_logpx": iw_logpx,
    "vae.iw_logpx_same_error": iw_logpx_same_error,
}
