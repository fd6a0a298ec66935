"""Rows of the speed table that belong to the image study: the few-shot loop, and one step of the published U-Net."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import reference_images as plain
from benchmarks.timing import Duel, seconds
from diffusion.image_model import ImageConfig, ImageObjective, ImageScore
from infolab.data import ImageSet
from infolab.data.images import LogitTransform
from infolab.nn.unet import UNet, UNetConfig
from infolab.noise import generator
from infolab.schedules import VP

BATCH = 128
LEVELS = 256


class Loop:
    """A network trained as `diffusion.image` trains it; `run` goes on where the last call stopped.

    Args:
        network: size of the U-Net, see `ImageConfig.network`.
        images: the training set, uint8 (m, 1, 28, 28).
    """

    def __init__(self, network: str, images: Tensor):
        self.config = ImageConfig(dataset="mnist", m=len(images), network=network, batch=BATCH)
        self.score = ImageScore(UNet(self.config.unet(), 0), VP(), self.config.parametrization)
        data = ImageSet("mnist", "train", images, LEVELS)
        self.objective = ImageObjective(self.config, self.score, data, LogitTransform(LEVELS, self.config.logit_A))
        self.optimizer = torch.optim.Adam(self.score.parameters(), lr=self.config.lr, fused=True)
        self.step = 0

    def run(self, steps: int) -> Tensor:
        """Train for `steps` more steps and return the last loss."""
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.objective(self.step)
            loss.backward()
            self.optimizer.step()
            self.step += 1
        return loss.detach()


class PlainLoop:
    """The reference's network, with the weights of `ours`, and its optimiser."""

    def __init__(self, ours: Loop):
        self.config = ours.config
        self.network = as_plain_network(ours.score.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.lr)

    def run(self, loader: DataLoader, epochs: int, source: torch.Generator) -> None:
        """Train for `epochs` epochs, each a new iterator over `loader`."""
        with quiet_about_workers():
            for _ in range(epochs):
                plain.train(self.network, self.optimizer, loader, self.config.T, source)


def synthetic_images(m: int) -> Tensor:
    """m images of MNIST's size: what is in them does not change the time."""
    return torch.randint(0, LEVELS, (m, 1, 28, 28), dtype=torch.uint8, generator=generator(0, "bench", "images"))


def plain_loader(images: Tensor, workers: int) -> DataLoader:
    """The public scripts' loader over `images`, with `workers` worker processes."""
    with quiet_about_workers():
        return DataLoader(plain.Images(images), BATCH, shuffle=True, num_workers=workers)


@contextlib.contextmanager
def quiet_about_workers() -> Iterator[None]:
    """Four workers are what is to be measured, on two cores too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def as_plain_network(network: UNet) -> plain.PlainUNet:
    """The reference's network with the weights of `network`, whose parameters come in the same order."""
    size = network.config
    copy = plain.PlainUNet(size.model_channels, size.channel_mult, size.num_res_blocks, size.norm_groups)
    copy.to(next(network.parameters()).dtype)
    with torch.no_grad():
        for own, theirs in zip(network.parameters(), copy.parameters(), strict=True):
            theirs.copy_(own.view_as(theirs))
    return copy


def fewshot_loop(workers: int, wanted: float, network: str = "mnist-tiny", m: int = 16, epochs: int = 20) -> Duel:
    """Few-shot training: one step on all m images an epoch, milliseconds an epoch.

    The network is small, so that the loop shows beside it, as it does on a GPU. The reference starts its `workers`
    anew every epoch, as iterating over a DataLoader does; ours has the images in memory.
    """
    images = synthetic_images(m)
    ours = Loop(network, images)
    theirs, loader = PlainLoop(ours), plain_loader(images, workers)
    ours.run(3)
    theirs.run(loader, 2, torch.Generator())

    def reference(repeat: int) -> float:
        source = generator(repeat, "reference")
        return 1e3 * seconds(lambda: theirs.run(loader, epochs, source)) / epochs

    return Duel(
        setting=f"m={m} images 28x28; U-Net {_size(ours.config.unet())}; {epochs} epochs of one step; reference: "
        f"DataLoader with {workers} workers",
        unit="ms/epoch",
        wanted=wanted,
        ours=lambda repeat: 1e3 * seconds(lambda: ours.run(epochs)) / epochs,
        reference=reference,
        evaluations_ours=m,
        evaluations_reference=m,
        flops_ours=_flops(ours),
        seconds_per_unit=1e-3,
    )


def image_step(wanted: float = 1.0, network: str = "mnist", batch: int = BATCH) -> Duel:
    """One optimiser step of the published MNIST U-Net on `batch` images in memory, seconds."""
    images = synthetic_images(batch)
    ours = Loop(network, images)
    theirs, scaled = PlainLoop(ours), images.float() / 255
    ours.run(1)

    def reference(repeat: int) -> float:
        source = generator(repeat, "reference")
        return seconds(lambda: plain.train(theirs.network, theirs.optimizer, [scaled], ours.config.T, source))

    reference(0)
    return Duel(
        setting=f"batch {batch} of 28x28; U-Net {_size(ours.config.unet())} (published for MNIST); one step of Adam",
        unit="s",
        wanted=wanted,
        ours=lambda repeat: seconds(lambda: ours.run(1)),
        reference=reference,
        evaluations_ours=batch,
        evaluations_reference=batch,
        flops_ours=_flops(ours),
    )


def _size(config: UNetConfig) -> str:
    multipliers = ",".join(map(str, config.channel_mult))
    return f"{config.model_channels} channels x {multipliers}; {config.num_res_blocks} blocks a level"


def _flops(loop: Loop) -> float:
    with FlopCounterMode(display=False) as counter:
        loop.run(1)
    return float(counter.get_total_flops())


ROWS: dict[str, Callable[[], Duel]] = {
    "diffusion.fewshot_loop": partial(fewshot_loop, 4, 4.0),
    "diffusion.fewshot_loop_inprocess": partial(fewshot_loop, 0, 1.0),
    "diffusion.image_step": image_step,
}
