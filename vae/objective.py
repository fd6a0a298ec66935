"""Which images each network of a run sees, and the loss of one step as a function of (seed, step)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infolab.data import epoch_permutation
from infolab.device import staged
from infolab.errors import UserError
from infolab.noise import derive, generator
from vae.config import VAEConfig
from vae.images import Inputs
from vae.models import VAE

# ----------
# The folds of the cross-validation grid: a partition of the training images for each repeat.


def fold_of(n: int, K: int, seed: int, repeat: int) -> Tensor:
    """The fold 0 .. K - 1 of each of n training images, int64 (n,): a function of (n, K, seed, repeat) alone.

    Each fold has n // K images or one more. Image i is held out by the network of its own fold, and in the training
    set of the K - 1 others.

    Raises:
        UserError: fewer than two images a fold.

    >>> torch.bincount(fold_of(11, 5, seed=0, repeat=0)).tolist()
    [3, 2, 2, 2, 2]
    """
    if n < 2 * K:
        raise UserError(f"{n} training images make no {K} folds of at least two: use more images or a smaller --K")
    order = torch.randperm(n, generator=generator(seed, "folds", repeat))
    folds = torch.empty(n, dtype=torch.int64)
    folds[order] = torch.arange(n) % K
    return folds


# ----------
# The networks of one run: the seed of each, the images that it is trained on and those that it never sees.


@dataclass(frozen=True)
class Member:
    """One network of a run.

    Attributes:
        seed: seed of its initial weights, its training noise and the order of its images.
        fold: the fold that it holds out, -1 outside of a grid.
        rows: rows of the training images that it is trained on, int64.
        held_out: rows that it never sees (cv); None: the test images are what it never sees.
    """

    seed: int
    fold: int
    rows: Tensor
    held_out: Tensor | None = None


def members_of(config: VAEConfig, n: int) -> list[Member]:
    """The networks of `config` on n training images, in the order of `config.folds` (cv), or the only one.

    A network's seed and images do not depend on which folds are trained beside it. In the mode ghost the network has
    the first half of the images, see `halves`.
    """
    if config.mode == "cv":
        folds = fold_of(n, config.K, config.seed, config.repeat)
        return [
            Member(
                derive(config.seed, "cv", config.K, config.repeat, fold),
                fold,
                torch.nonzero(folds != fold)[:, 0],
                torch.nonzero(folds == fold)[:, 0],
            )
            for fold in config.folds
        ]
    rows = halves(config, n)[0] if config.mode == "ghost" else torch.arange(n)
    return [Member(derive(config.seed, config.mode), -1, rows)]


def halves(config: VAEConfig, n: int) -> tuple[Tensor, Tensor]:
    """Rows of the two disjoint halves of n training images, of the model and of its ghost, each sorted."""
    order = torch.randperm(n, generator=generator(config.seed, "halves"))
    return order[: n // 2].sort().values, order[n // 2 :].sort().values


# ----------
# The loss of one optimiser step of the VAEs: which images, which noise, all functions of (seed, step).


@dataclass(frozen=True)
class Batch:
    """The images of one step: rows (k, b) of the inputs, noise (k, b, L), weight (k, b), which sums to 1 per network.

    Networks whose batch is smaller by one image have a padded row of weight 0.
    """

    rows: Tensor
    eps: Tensor
    weight: Tensor


class Batches:
    """The batches of k networks, each with training images of its own.

    Each epoch visits a network's images once, in an order of its own, in `steps_per_epoch` batches of nearly equal size
    (so that networks with a few images more or less keep step). What a network gets depends on its seed, the epoch and
    its own images alone, not on the networks beside it.

    Args:
        rows: rows of the inputs (n_j,) of each network.
        seeds: one seed per network.
        batch: largest number of images of one step.
        largest: the size of the largest training set, of these networks and of those trained elsewhere.
        latent: L.
        device: where the indices and the noise go.
    """

    def __init__(
        self,
        rows: Sequence[Tensor],
        seeds: Sequence[int],
        batch: int,
        latent: int,
        largest: int = 0,
        device: torch.device | str = "cpu",
    ):
        self.rows, self.seeds, self.latent, self.device = list(rows), list(seeds), latent, device
        sizes = [len(found) for found in rows]
        self.steps_per_epoch = -(-max(largest, *sizes, 1) // batch)
        parts = self.steps_per_epoch
        self.ends = [[size * part // parts for part in range(parts + 1)] for size in sizes]
        self._epoch = -1
        self._order: tuple[Tensor, ...] = ()
        self._eps: tuple[Tensor, ...] = ()
        self._weights = staged(device, *(self._weight(part) for part in range(parts)))

    def __call__(self, step: int) -> Batch:
        """The batch of optimiser step `step`."""
        epoch, part = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            order = [
                found[epoch_permutation(len(found), seed, epoch)]
                for found, seed in zip(self.rows, self.seeds, strict=True)
            ]
            eps = [
                torch.randn(len(found), self.latent, generator=generator(seed, "eps", epoch))
                for found, seed in zip(self.rows, self.seeds, strict=True)
            ]
            drawn = staged(self.device, *order, *eps)
            self._order, self._eps = drawn[: len(order)], drawn[len(order) :]
        stretches = [slice(ends[part], ends[part + 1]) for ends in self.ends]
        width = max(stretch.stop - stretch.start for stretch in stretches)
        orders = [_padded(order[here], width) for order, here in zip(self._order, stretches, strict=True)]
        noises = [_padded(eps[here], width) for eps, here in zip(self._eps, stretches, strict=True)]
        return Batch(torch.stack(orders), torch.stack(noises), self._weights[part])

    def _weight(self, part: int) -> Tensor:
        """1 / b for the b images that each network has in this part of an epoch, 0 for rows that pad it, (k, b)."""
        sizes = torch.tensor([ends[part + 1] - ends[part] for ends in self.ends])[:, None]
        return (torch.arange(int(sizes.max())) < sizes) / sizes.clamp(min=1)


def _padded(found: Tensor, width: int) -> Tensor:
    return found if len(found) == width else torch.cat([found, found.new_zeros(width - len(found), *found.shape[1:])])


class VAEWithGhostDecoder(nn.Module):
    """What a run trains: the VAEs and, in the mode ghost, a second decoder."""

    def __init__(self, vae: VAE, ghost: nn.Module | None = None):
        super().__init__()
        self.vae, self.ghost = vae, ghost


class Objective:
    """Loss of one step: the negative ELBO of each network, nats per image, (k,).

    With a ghost, a second entry: -log p_ghost(x | z) on images of the other half, z from the first half's encoder, into
    which no gradient of it flows.

    Args:
        trained: the networks.
        inputs: the training images.
        batches: which of them, for each network.
        ghost_batches: the other half's.
    """

    def __init__(
        self, trained: VAEWithGhostDecoder, inputs: Inputs, batches: Batches, ghost_batches: Batches | None = None
    ):
        self.trained, self.inputs, self.batches, self.ghost_batches = trained, inputs, batches, ghost_batches

    def __call__(self, step: int) -> Tensor:
        """The losses, (k,), or (2,) with a ghost."""
        batch = self.batches(step)
        x = self._images(self.batches, batch, step)
        loss = (batch.weight * self.trained.vae.negative_elbo(x, batch.eps)).sum(1)
        if self.ghost_batches is None:
            return loss
        return torch.cat([loss, self._ghost_loss(step)])

    def _ghost_loss(self, step: int) -> Tensor:
        vae, ghost, batches = self.trained.vae, self.trained.ghost, self.ghost_batches
        assert ghost is not None
        assert batches is not None
        batch = batches(step)
        x = self._images(batches, batch, step)
        vae.encoder.eval()  # these images must not enter the first half's batch norm
        with torch.no_grad():
            z = vae.encode(x).sample(batch.eps)
        vae.encoder.train()
        return -(batch.weight * vae.likelihood.log_prob(ghost(z), x)).sum(1)

    def _images(self, batches: Batches, batch: Batch, step: int) -> Tensor:
        return self.inputs.training(batch.rows, step // batches.steps_per_epoch, step)
