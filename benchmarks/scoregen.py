"""Rows of the speed table that belong to the score-model paper: the whole 1-D folder, and its wide networks alone."""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from benchmarks import reference_scoregen as reference
from benchmarks.timing import Duel, seconds
from infolab.kl import flow_steps, mode_grid
from infolab.toy import two_modes
from scoregen import plain
from scoregen.batch import NetworkBatch
from scoregen.network import ScoreConfig

LAW = two_modes(3.0)
REACH = float(mode_grid(3.0)[-1])
EVERY = 50
"""Epochs between looks at the KL, on both sides."""
WIDE = 512
GROUP_POINTS = 3_000_000
"""Hidden values (networks x points x units) of about as many epochs as one measurement trains."""


@dataclass(frozen=True)
class Part:
    """Networks of the folder's paper preset that train alike; `epochs` follow the stopping rule of the capacity study.

    Attributes:
        width: hidden units.
        networks: how many of them.
        epochs: epochs each is trained.
        optimizer: adam or sgd.
        batch: points of one step; 0: all 1,000.
    """

    width: int
    networks: int
    epochs: int
    optimizer: str = "adam"
    batch: int = 0


# A capacity network stops once epoch 1,000 is past and a KL <= 0.1 was seen, else after 10,000: where the three seeds
# of the paper preset stopped in the mean (results/reference/scoregen/capacity).
STOPPED = {
    2: 10_000, 4: 9700, 8: 6400, 16: 2950, 32: 2650, 64: 2350, 128: 1750, 256: 1500, 512: 1200, 1024: 2550, 2048: 2100,
}  # fmt: skip
CAPACITY = [Part(width, 3, epochs) for width, epochs in STOPPED.items()]
FOLDER = [
    *CAPACITY,
    Part(1024, 10, 2000),  # KL against epoch, Adam
    *(Part(256, 10, 2000, "sgd", batch) for batch in (0, 100, 500)),
    Part(256, 45, 2000),  # the distance of the modes
]


@dataclass
class Measured:
    """One part in training on both sides; `ours` and `reference` give seconds for all its networks and epochs."""

    part: Part
    ours_epochs: int = field(init=False)
    plain_epochs: int = field(init=False)

    def __post_init__(self) -> None:
        part = self.part
        members = [(3.0, seed) for seed in range(part.networks)]
        lr = 0.5 if part.optimizer == "sgd" else 1e-3
        config = ScoreConfig(
            width=part.width,
            optimizer=part.optimizer,
            lr=lr,
            batch=part.batch,
            seeds=tuple(range(part.networks)),
            init="uniform" if part.optimizer == "sgd" else "normal",
        )
        self.slots = max(1, min(10, 2048 // part.width))
        self.batch = NetworkBatch(config, members, EVERY, self.slots)
        self.optimizer, self.step = self.batch.optimizer(), 0
        self.network = as_plain_network(self.batch, 0)
        kind = torch.optim.SGD if part.optimizer == "sgd" else torch.optim.Adam
        self.plain_optimizer = kind(self.network.parameters(), lr=lr)
        self.source = torch.Generator().manual_seed(0)
        points = config.n * part.width
        self.ours_epochs = max(1, min(200, GROUP_POINTS // (points * part.networks)))
        self.plain_epochs = max(1, min(100, GROUP_POINTS // points // 3))
        self.train_ours()
        self.train_plain()

    def train_ours(self) -> None:
        """Train all networks for `ours_epochs` more epochs."""
        for _ in range(self.ours_epochs * self.batch.per_epoch):
            self.optimizer.zero_grad(set_to_none=True)
            self.batch.objective(self.step).sum().backward()
            self.optimizer.step()
            self.step += 1

    def train_plain(self) -> None:
        """Train one network for `plain_epochs` more epochs."""
        size = self.batch.config.points_per_step
        for _ in range(self.plain_epochs):
            plain.train_epoch(self.network, self.plain_optimizer, plain.draw(self.batch.data[0], size, self.source))

    def look_ours(self) -> None:
        """The KL of all networks at all remembered snapshots."""
        networks = self.batch.model.past(range(self.slots), range(self.part.networks))
        density, log_p0 = self.batch.density(networks, 3.0)
        density.kl(log_p0)

    def ours(self) -> float:
        """Seconds of the part: its epochs, and its looks, `slots` of them at a time."""
        epoch = seconds(self.train_ours) / self.ours_epochs
        return self.part.epochs * (epoch + seconds(self.look_ours) / self.slots / EVERY)

    def reference(self) -> float:
        """Seconds of the part, one network at a time."""
        epoch = seconds(self.train_plain) / self.plain_epochs
        look = seconds(lambda: reference.kl(self.network, log_p0, REACH))
        return self.part.networks * self.part.epochs * (epoch + look / EVERY)


def log_p0(x: Tensor) -> Tensor:
    """True log density at x (g,)."""
    return LAW.log_prob(x[:, None])


def as_plain_network(batch: NetworkBatch, index: int) -> plain.ScoreNetwork:
    """Network `index` of a batch as the reference has it."""
    networks = batch.model.networks
    alone = plain.ScoreNetwork(networks.width).to(networks.out)
    with torch.no_grad():
        alone.hidden.weight.copy_(networks.hidden[index, :2].T)
        alone.hidden.bias.copy_(networks.hidden[index, 2])
        alone.out.weight.copy_(networks.out[index].T)
    return alone


def folder(parts: list[Part], wanted: float) -> Duel:
    """All networks of `parts`, seconds on one thread for the whole of their training and looks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    measured = [Measured(part) for part in parts]
    torch.set_num_threads(threads)

    def total(side: str) -> float:
        # The launcher runs one process a core; a network of this size gains nothing from a second thread.
        torch.set_num_threads(1)
        found = sum(float(getattr(one, side)()) for one in measured)
        torch.set_num_threads(threads)
        return found

    network_epochs = sum(part.networks * part.epochs for part in parts)
    looks = network_epochs // EVERY
    points = sum(part.networks * part.epochs * 1000 for part in parts)
    flow = 4 * flow_steps(3.0) * len(mode_grid(3.0))
    return Duel(
        setting=f"{sum(part.networks for part in parts)} networks of {len(parts)} settings, {network_epochs:,} "
        f"epochs of n=1000, KL every {EVERY}; one thread; some epochs and one look of each setting, times their number",
        unit="s",
        wanted=wanted,
        ours=lambda repeat: total("ours"),
        reference=lambda repeat: total("reference"),
        evaluations_ours=points + looks * flow,
        evaluations_reference=points + looks * flow,
        note=lambda: "Ours: 128 evaluations of a look in one batch; the reference's solver chooses its own number.",
    )


ROWS = {
    "scoregen.folder": partial(folder, FOLDER, 5.0),
    "scoregen.folder_narrow": partial(folder, [part for part in FOLDER if part.width < WIDE], 5.0),
    "scoregen.folder_wide": partial(folder, [part for part in FOLDER if part.width >= WIDE], 1.0),
}
