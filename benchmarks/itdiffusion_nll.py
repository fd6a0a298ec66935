"""Rows of the speed table that belong to the test NLL of images: at the same points, and at the same error."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from benchmarks import reference_itdiffusion_nll as reference
from benchmarks.timing import Duel, seconds
from infolab.data import load
from infolab.denoise import Denoiser
from infolab.immse import (
    Bins,
    Curve,
    GaussianReference,
    LogsnrRange,
    discrete_nll,
    make_grid,
    measure_curve,
    widen_range,
)
from infolab.immse.measure import ELEMENTS
from infolab.nn.unet import NETWORKS, UNet
from infolab.noise import generator
from infolab.schedules import append_dims, logsnr_to_alpha_sigma
from itdiffusion import plain

IMAGES = 256
PUBLISHED_POINTS = 1000
FINE_POINTS = 48


@dataclass(frozen=True)
class Setting:
    """What both sides evaluate: images, a denoiser, the spectrum and the range of log-SNRs."""

    x: Tensor
    denoiser: Denoiser
    reference: GaussianReference
    range: LogsnrRange
    bins: Bins


def small_denoiser(reference: GaussianReference, seed: int = 0) -> Denoiser:
    """A small U-Net on top of the linear denoiser of independent pixels, so that its curve is that of a real model.

    The U-Net is the image study's `cifar10-narrow` with random weights (its output layer too, which is 0 at the start
    of training): how well it denoises is of no matter here; both sides spend their calls on it.
    """
    network = UNet(NETWORKS["cifar10-narrow"](), seed).eval()
    head = network.out[2]
    assert isinstance(head, torch.nn.Conv2d)
    with torch.no_grad():
        head.weight.copy_(0.02 * torch.randn(head.weight.shape, generator=generator(seed, "head")))
    variance = float(reference.eigenvalues.mean())

    def denoiser(z: Tensor, logsnr: Tensor) -> Tensor:
        alpha, sigma = (append_dims(v, z) for v in logsnr_to_alpha_sigma(logsnr))
        linear = sigma * z / (alpha**2 * variance + sigma**2)
        return linear + 0.01 * network(z, torch.sigmoid(-logsnr / 4))

    return Denoiser.of_eps(denoiser)


@cache
def prepare(images: int = IMAGES) -> Setting:
    """The first test patches (32x32x3) on [-1, 1], the spectrum of 4,000 training patches."""
    x, train = (load("patches", split).images for split in ("test", "train"))
    bins = Bins.of_levels(256)
    spread = torch.linspace(0, len(train) - 1, 4000).long()
    reference = GaussianReference.fit(train[spread].float() / 127.5 - 1, floor=bins.step**2 / 12)
    chosen = torch.linspace(0, len(x) - 1, images).long()
    return Setting(
        x[chosen].float() / 127.5 - 1, small_denoiser(reference), reference,
        LogsnrRange.from_spectrum(reference.spectrum), bins,
    )  # fmt: skip


def ours(
    setting: Setting, points: int, seed: int, logsnr_range: LogsnrRange | None = None, *, dequantized: bool
) -> Curve:
    """Our curve with raw, hard, soft and (if wanted) dequantised errors."""
    grid = make_grid(logsnr_range or setting.range, points)
    return measure_curve(
        setting.denoiser, setting.x, grid, setting.reference, bins=setting.bins, dequantized=dequantized, seed=seed
    )


def theirs(setting: Setting, points: int, seed: int) -> dict[str, Tensor]:
    """The reference's errors of all three variants at random log-SNRs."""
    source = generator(seed, "reference nll")
    logsnr = plain.draw_logsnr(points, source, setting.range.loc, setting.range.scale)
    return reference.measure(setting.denoiser.eps, setting.x, logsnr, source)


def same_points(points: int = 6) -> Duel:
    """Raw, rounded (ours also hard) and dequantised NLL of 256 images at as many log-SNRs; time is linear in them."""
    setting = prepare()
    ours(setting, 3, 0, dequantized=True)
    theirs(setting, 1, 0)

    def note() -> str:
        alone = 2 * points * seconds(lambda: network_alone(setting))
        whole = seconds(lambda: ours(setting, points, 0, dequantized=True))
        return f"Calls of the network, 2 at each log-SNR where the reference makes 3, are {alone / whole:.0%} of ours."

    return Duel(
        setting=f"{IMAGES} images 32x32x3, U-Net cifar10-narrow, {points} log-SNR points, three variants",
        unit="s",
        wanted=3.0,
        ours=lambda repeat: seconds(lambda: ours(setting, points, repeat, dequantized=True)),
        reference=lambda repeat: seconds(lambda: theirs(setting, points, repeat)),
        evaluations_ours=2 * IMAGES * points,
        evaluations_reference=3 * IMAGES * points,
        note=note,
    )


@torch.no_grad()
def network_alone(setting: Setting) -> None:
    """One call for each image, in the batches that a curve is measured in."""
    for batch in setting.x.split(ELEMENTS // setting.reference.d):
        setting.denoiser.eps(batch, torch.zeros(len(batch)))


def same_error(points: int = 16, part: int = 2) -> Duel:
    """The discrete NLL with a total error no larger: few equal steps against 1,000 random points.

    Both errors are those of the NLL of these 256 images under this denoiser (noise and integral, not the choice of the
    images). Ours is measured over the repeats against many more points; the reference's is the exact standard deviation
    of its random integral, from the finely measured curve, without its noise. The reference runs `part` of its points.
    """
    setting = prepare()
    truth = own_nll(setting, FINE_POINTS, 1000)
    random = random_error(ours(setting, FINE_POINTS, 1000, dequantized=False)) / math.sqrt(PUBLISHED_POINTS)
    found: list[float] = []

    def note() -> str:
        mine = math.sqrt(sum((value - truth) ** 2 for value in found) / len(found))
        verdict = "no larger" if mine <= random else "LARGER"
        return (
            f"Error of the NLL of the same images: ours {mine:.2f} nats (root mean square over the repeats), reference "
            f"{random:.2f} nats ({verdict}), of {truth:.0f}."
        )

    return Duel(
        setting=f"{IMAGES} images 32x32x3, U-Net cifar10-narrow; ours {points} points, raw, hard and soft; "
        f"reference {PUBLISHED_POINTS} random points, raw, rounded and dequantised (timed on {part}, time x "
        f"{PUBLISHED_POINTS // part})",
        unit="s",
        wanted=20.0,
        ours=lambda repeat: seconds(lambda: found.append(own_nll(setting, points, repeat))),
        reference=lambda repeat: PUBLISHED_POINTS / part * seconds(lambda: theirs(setting, part, repeat)),
        evaluations_ours=IMAGES * points + 64,
        evaluations_reference=3 * IMAGES * PUBLISHED_POINTS,
        note=note,
    )


def own_nll(setting: Setting, points: int, seed: int) -> float:
    """Our discrete NLL, the search for the range included."""
    wide = widen_range(
        setting.denoiser, setting.x, setting.reference, setting.range, bins=setting.bins, seed=seed
    )  # fmt: skip
    return discrete_nll(ours(setting, points, seed, wide, dequantized=False)).value


def random_error(curve: Curve) -> float:
    """Standard deviation of weight * integrand / 2 at one random log-SNR: the random rule's error times sqrt(J)."""
    mean = torch.stack([curve.mean(kind) for kind in curve.kinds]).amin(0) / 2
    p = torch.sigmoid((curve.grid.logsnr - curve.grid.range.loc) / curve.grid.range.scale)
    weight = curve.grid.range.scale * math.tanh(curve.grid.range.clip / 2) / (p * (1 - p))
    total = float(curve.grid.integrate(mean))
    second = float(curve.grid.integrate(mean.square() * weight))
    return math.sqrt(max(0.0, second - total**2))


ROWS: dict[str, Callable[[], Duel]] = {
    "itdiffusion.nll_same_points": same_points,
    "itdiffusion.nll_same_error": partial(same_error),
}
