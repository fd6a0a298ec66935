"""Rows of the speed table that belong to the 2-D study of itdiffusion: training, and training with contours."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.timing import Duel, seconds
from infolab.epochs import ChannelEpochs
from infolab.immse import GaussianReference, LogsnrRange, make_grid
from infolab.noise import generator
from itdiffusion import plain
from itdiffusion.shapes import CONTOUR_PAIRS, CONTOUR_POINTS, make_networks, nll_losses, split_data
from itdiffusion.shapes_evaluate import density_grid, grid_axis
from itdiffusion.shapes_model import Gaussians, ShapesConfig, ShapesModel

CONFIG = ShapesConfig(seeds=(0,))
PIXELS = CONFIG.grid**2
POINTS_PER_PIXEL = 200
"""Log-SNR points of a pixel, as published."""
PER_PIXEL = 2 * CONTOUR_PAIRS * CONTOUR_POINTS
"""Network evaluations of ours for a pixel."""
PART = 8
"""The reference measures every PART-th pixel."""


class Sweep:
    """The networks of all shapes trained as `itdiffusion.shapes` trains them, with the published settings.

    Args:
        config: which shapes and seeds.
    """

    def __init__(self, config: ShapesConfig = CONFIG):
        laws = config.laws()
        self.members = [(name, seed) for seed in config.seeds for name in laws]
        seeds = [seed for _, seed in self.members]
        self.data, _ = split_data(config, laws, self.members)
        network = make_networks(config, seeds)
        references = [GaussianReference.fit(points) for points in self.data]
        self.model = ShapesModel(network, Gaussians(references), config.precondition)
        self.range = LogsnrRange(config.logsnr_loc, config.logsnr_scale, config.logsnr_clip)
        self.batches = ChannelEpochs(self.data, self.range, seeds, config.batch, stratified=config.stratified)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, fused=True)
        self.step = 0

    def train(self, epochs: int = 1) -> None:
        """Train for `epochs` more epochs."""
        for _ in range(epochs * self.batches.steps_per_epoch):
            self.optimizer.zero_grad(set_to_none=True)
            nll_losses(self.model, self.batches, self.step).sum().backward()
            self.optimizer.step()
            self.step += 1

    def contours(self, seed: int = 0) -> Tensor:
        """-log p (k, r, r) of every network on the grid."""
        grid = make_grid(self.range, CONTOUR_POINTS)
        return density_grid(self.model, grid_axis(CONFIG.grid), grid, pairs=CONTOUR_PAIRS, seed=seed)[0]


@torch.no_grad()
def plain_density(network: torch.nn.Module, pixels: Tensor, points: int, source: torch.Generator) -> Tensor:
    """-log p (n,) at each of `pixels` (n, 2), one after the other as published, from `points` random log-SNRs each."""
    values = []
    for pixel in pixels:
        x, eps = pixel.expand(points, 2), torch.randn(points, 2, generator=source)
        values.append(plain.nll(network, x, plain.draw_logsnr(points, source), eps).mean())
    return torch.stack(values)


class Plain:
    """One network of the reference on the first shape; its times are multiplied by the number of shapes."""

    def __init__(self, sweep: Sweep):
        self.x = sweep.data[0]
        self.network = plain.Denoiser()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=CONFIG.lr)
        self.pixels = torch.cartesian_prod(grid_axis(CONFIG.grid), grid_axis(CONFIG.grid))[::PART]

    def train(self, repeat: int) -> None:
        """One more epoch."""
        source = generator(repeat, "reference")
        plain.train(self.network, self.optimizer, plain.epoch(self.x, CONFIG.batch, source))

    def contours(self, repeat: int) -> None:
        """The density at every PART-th pixel."""
        plain_density(self.network, self.pixels, POINTS_PER_PIXEL, generator(repeat, "contours"))


def train_2d(wanted: float = 3.0) -> Duel:
    """One epoch of all shapes; the reference trains one of them, its time is multiplied by their number."""
    sweep = Sweep()
    alone = Plain(sweep)
    sweep.train()
    alone.train(99)
    k, used = len(sweep.members), sweep.batches.steps_per_epoch * CONFIG.batch
    return Duel(
        setting=f"{k} shapes, {len(sweep.data[0])} points each, batch {CONFIG.batch}; reference: one shape, time x {k}",
        unit="s/epoch",
        wanted=wanted,
        ours=lambda repeat: seconds(sweep.train),
        reference=lambda repeat: k * seconds(lambda: alone.train(repeat)),
        evaluations_ours=k * used,
        evaluations_reference=k * used,
        flops_ours=k * used * training_flops(),
    )


def train_2d_with_contours(wanted: float = 8.0) -> Duel:
    """One epoch of all shapes, then -log p of each on a 40 x 40 grid.

    The reference measures every PART-th pixel of one shape, and that part of its time is multiplied by PART.
    """
    sweep = Sweep()
    alone = Plain(sweep)
    for one in range(3):  # a network that has seen something has a density worth a look
        sweep.train()
        alone.train(100 + one)
    sweep.contours()
    k, used = len(sweep.members), sweep.batches.steps_per_epoch * CONFIG.batch

    def ours() -> None:
        sweep.train()
        sweep.contours()

    def reference(repeat: int) -> float:
        trained = seconds(lambda: alone.train(repeat))
        return k * (trained + PART * seconds(lambda: alone.contours(repeat)))

    return Duel(
        setting=f"{k} shapes, grid {CONFIG.grid} x {CONFIG.grid}; ours {PER_PIXEL} evaluations a pixel, "
        f"reference {POINTS_PER_PIXEL} on every {PART}th pixel of one shape, time of it x {PART}, all x {k}",
        unit="s/epoch",
        wanted=wanted,
        ours=lambda repeat: seconds(ours),
        reference=reference,
        evaluations_ours=k * (used + PIXELS * PER_PIXEL),
        evaluations_reference=k * (used + PIXELS * POINTS_PER_PIXEL),
        flops_ours=k * (used * training_flops() + 2.0 * PIXELS * PER_PIXEL * hidden_parameters()),
        note=lambda: _errors(sweep),
    )


def contour_errors(sweep: Sweep, pixels: int = 100) -> tuple[float, float]:
    """Root mean square noise of -log p at a pixel over repetitions, ours and the reference's, of one network."""
    ours = torch.stack([sweep.contours(seed) for seed in range(4)])
    network = as_plain_network(sweep.model, 0)
    axis = grid_axis(CONFIG.grid)
    some = torch.cartesian_prod(axis, axis)[:: PIXELS // pixels]
    theirs = torch.stack(
        [plain_density(network, some, POINTS_PER_PIXEL, generator(seed, "noise")) for seed in range(4)]
    )
    at = ours[:, 0].flatten(1)[:, :: PIXELS // pixels]
    return tuple(math.sqrt(float(values.double().var(0).mean())) for values in (at, theirs))  # type: ignore[return-value]


def _errors(sweep: Sweep) -> str:
    mine, other = contour_errors(sweep)
    verdict = "no larger" if mine <= other else "LARGER"
    return f"Noise of -log p at a pixel: ours {mine:.3f} nats, reference {other:.3f} nats ({verdict})."


def sizes() -> list[tuple[int, int]]:
    """(in, out) of each layer."""
    widths = (3 * CONFIG.embedding, *[CONFIG.hidden] * (CONFIG.layers - 1), 2)
    return list(itertools.pairwise(widths))


def training_flops() -> float:
    """Arithmetic of a point in a training step: layers forward, their weights' gradients, all but the first back."""
    products = [2.0 * fan_in * fan_out for fan_in, fan_out in sizes()]
    return 3 * sum(products) - products[0]


def hidden_parameters() -> float:
    """Weights behind the first layer, whose cost on a grid is small."""
    return float(sum(fan_in * fan_out for fan_in, fan_out in sizes()[1:]))


def as_plain_network(model: ShapesModel, index: int) -> plain.Denoiser:
    """The reference's network with the weights of member `index`."""
    network = plain.Denoiser(model.network.size, model.network.sizes[1])
    linear = [layer for layer in network.layers if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(linear, model.network.weights, model.network.biases, strict=True):
            layer.weight.copy_(weight[index].T)
            layer.bias.copy_(bias[index, 0])
    return network


ROWS: dict[str, Callable[[], Duel]] = {
    "itdiffusion.train_2d": train_2d,
    "itdiffusion.train_2d_with_contours": train_2d_with_contours,
}
