"""Rows of the speed table that belong to the models with a code: a training step, and sampling by DDIM."""

import dataclasses
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import infodiffusion_metrics
from benchmarks.timing import Duel, seconds
from infodiffusion import plain
from infodiffusion.checkpoint import build
from infodiffusion.config import InfoConfig
from infodiffusion.networks import Diff
from infodiffusion.objective import Objective, schedule_of
from infodiffusion.sampling import denoiser
from infolab.data import ImageSet, load
from infolab.denoise import Denoiser
from infolab.mmd import mmd2
from infolab.nn.blocks import set_dropout_generator
from infolab.noise import generator
from infolab.sample import SampleNoise, ddim, grid

FMNIST = InfoConfig(dataset="fashion-mnist", epochs=20)
SAMPLES = 16
BEST = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"
"""Precision of our sampler on this processor: bfloat16 where it has instructions for it."""


class OurTraining:
    """The training of `infodiffusion.train` on images in memory; `run` goes on where the last call stopped.

    Args:
        config: the run's settings.
        images: uint8 (n, 1, side, side).
    """

    def __init__(self, config: InfoConfig, images: Tensor):
        self.config = config
        self.model = build(config).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        data = ImageSet(config.dataset, "train", images, 256)
        self.objective = Objective(config, self.model, data, self.optimizer)
        self.step = 0

    def run(self, steps: int = 1) -> Tensor:
        """Train for `steps` more steps and return the last loss."""
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.objective(self.step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
        return loss.detach()


def as_plain(model: Diff, config: InfoConfig) -> plain.InfoDiff:
    """The reference's model with the weights of `model`."""
    size = config.unet()
    copy = plain.InfoDiff(
        size.model_channels, size.channel_mult, size.num_res_blocks, config.a_dim, size.image_size, config.T
    )
    ours = [*model.network.parameters(), *model.encoder.parameters()]
    theirs = [*copy.backbone.parameters(), *copy.encoder.parameters()]
    assert config.mmd_weight == plain.MMD_WEIGHT
    assert len(ours) - len(theirs) == 4  # the encoder's mu and log-variance, which are for a KL
    with torch.no_grad():
        for own, other in zip(ours, theirs, strict=False):
            other.copy_(own.view_as(other))
    return copy


def synthetic_images(n: int, side: int) -> Tensor:
    """n grey images: what is in them does not change the time."""
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=generator(0, "bench", "images"))


def train_step(config: InfoConfig = FMNIST) -> Duel:
    """One optimiser step at the published settings of Fashion-MNIST: 32 channels, a code of 32, MMD 0.1, batch 64."""
    images = synthetic_images(2 * config.batch, config.shape[1])
    ours = OurTraining(config, images)
    assert isinstance(ours.model, Diff)
    theirs = as_plain(ours.model, config).train()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    x = images[: config.batch].float() / 127.5 - 1

    def reference(repeat: int) -> float:
        return seconds(lambda: plain.train_step(theirs, optimizer, x, torch.default_generator))

    ours.run()
    reference(0)
    with FlopCounterMode(display=False) as counter:
        ours.run()
    return Duel(
        setting=f"{_size(config)}; batch {config.batch}; one step of AdamW",
        unit="s",
        wanted=1.0,
        ours=lambda repeat: seconds(ours.run),
        reference=reference,
        evaluations_ours=config.batch,
        evaluations_reference=config.batch,
        flops_ours=float(counter.get_total_flops()),
    )


def sample(
    steps: int, wanted: float, config: InfoConfig = FMNIST, precision: str = "fp32", part: int = 25, train: int = 0
) -> Duel:
    """16 images by DDIM, eta 0.01: ours in `steps` steps, the reference in all 1,000, each timed over a part of them.

    The note gives the MMD to held-out digits of both sample sets, all their steps, from a small network that is
    trained for `train` steps; the timed networks are of the published size, at their initial weights.

    Args:
        steps: DDIM steps of ours.
        wanted: least ratio.
        config: the timed model.
        precision: of ours, fp32 or bf16; the reference's is fp32.
        part: steps that are timed; the time is scaled to all of them.
        train: optimiser steps of the network whose samples are compared; 0: none are.
    """
    model = build(config).eval().requires_grad_(False)
    assert isinstance(model, Diff)
    theirs = as_plain(model, config).eval()
    side = config.shape[1]
    noise = SampleNoise(0, "bench", SAMPLES, (1, side, side))
    code = torch.randn(SAMPLES, config.a_dim, generator=generator(0, "bench", "codes"))
    schedule = schedule_of(config)
    visited = grid(schedule, steps)
    timed = min(part, steps)

    def ours(repeat: int) -> float:
        prepared: list[Denoiser] = []
        once = seconds(lambda: prepared.append(denoiser(model, schedule, code, visited, precision)))
        x = noise.start()

        def run() -> None:
            nonlocal x
            for step in visited[:timed]:
                x = torch.add(x, prepared[0].eps_at_step(x, torch.full((SAMPLES,), step), schedule), alpha=-1e-3)

        return once + seconds(run) * steps / timed

    def reference(repeat: int) -> float:
        path, source = range(config.T - 1, config.T - 2 - part, -1), torch.default_generator
        return seconds(lambda: plain.ddim(theirs, noise.start(), code, path, 0.01, source)) * config.T / part

    ours(0)
    reference(0)
    with FlopCounterMode(display=False) as counter:
        model(noise.start(), torch.zeros(SAMPLES, dtype=torch.long), code)
    return Duel(
        setting=f"{_size(config)}; {SAMPLES} images, {steps} DDIM steps ({precision}) to 1,000; {timed}, {part} timed",
        unit="s",
        wanted=wanted,
        ours=ours,
        reference=reference,
        evaluations_ours=SAMPLES * steps,
        evaluations_reference=SAMPLES * config.T,
        flops_ours=float(counter.get_total_flops()) * steps,
        note=lambda: compared_samples(steps, train, precision) if train else "",
    )


def compared_samples(steps: int, train: int, precision: str, n: int = 128) -> str:
    """MMD^2 of n samples of ours and of the reference's to digits held out, one trained network, as a sentence."""
    config = InfoConfig(
        dataset="digits", channels=16, mult=(1, 2), blocks=1, dropout=0.0, a_dim=16, epochs=1_000_000, lr=1e-3,
        lr_schedule="constant",
    )  # fmt: skip
    images = load("digits", "train")
    scaled = (images.images.float() * (255 / 16)).round().to(torch.uint8)
    training = OurTraining(config, scaled)
    training.run(train)
    model = training.model.eval().requires_grad_(False)
    assert isinstance(model, Diff)
    set_dropout_generator(model, None)
    theirs = as_plain(model, config).eval()
    noise, code = SampleNoise(0, "mmd", n, (1, 8, 8)), torch.randn(n, config.a_dim, generator=generator(0, "mmd"))
    schedule = schedule_of(config)
    drawn = ddim(
        denoiser(model, schedule, code, grid(schedule, steps), precision), schedule, noise.start(), steps, 0.01, noise
    )
    every_step = range(config.T - 1, -2, -1)
    plain_drawn = plain.ddim(theirs, noise.start(), code, every_step, 0.01, torch.default_generator)
    held_out = (load("digits", "test").images.float() / 8 - 1).flatten(1)
    both = [mmd2(x.clamp(-1, 1).flatten(1), held_out) for x in (drawn, plain_drawn)]
    told = [f"{one.value:.4f} +- {one.se:.4f}" for one in both]
    return (
        f"MMD^2 to 360 held-out digits, {n} samples of one small network trained for {train} steps: ours {told[0]} "
        f"({steps} steps, {precision}), reference {told[1]} (1,000 steps)."
    )


def _size(config: InfoConfig) -> str:
    size = config.unet()
    mult = ",".join(map(str, size.channel_mult))
    return (
        f"diff, {size.image_size}x{size.image_size} grey, {size.model_channels} channels x {mult}, code {config.a_dim}"
    )


def small(config: InfoConfig) -> InfoConfig:
    """The same model in a size for tests."""
    return dataclasses.replace(config, image_size=0, dataset="digits", channels=4, mult=(1, 2), blocks=1, batch=8, T=20)


ROWS: dict[str, Callable[[], Duel]] = {
    "infodiffusion.train_step": train_step,
    "infodiffusion.ddim_1000": partial(sample, 1000, 1.5, precision=BEST, train=300),
    "infodiffusion.ddim_1000_fp32": partial(sample, 1000, 1.0, train=300),
    "infodiffusion.ddim_50_against_1000": partial(sample, 50, 16.0, train=300),
    **infodiffusion_metrics.ROWS,
}
