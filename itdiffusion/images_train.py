"""The members of one image run side by side, and their loss: the NLL's integral, one log-SNR for each image."""

import torch
from torch import Tensor, nn

from infolab import distributed
from infolab.data import ImageSet, epoch_permutation
from infolab.denoise import Denoiser
from infolab.device import precision_label, staged
from infolab.errors import UserError
from infolab.immse import GaussianReference, LogsnrRange
from infolab.nn.blocks import Dropout, set_dropout_generator
from infolab.noise import derive, generator
from infolab.pretrained import load_denoiser
from infolab.schedules import append_dims, logsnr_to_alpha_sigma
from infolab.training import learning_rate, set_learning_rate
from itdiffusion.images_model import HEADS, ImageDenoiser, ImagesConfig, make_head, step_of, to_unit

MOST_LEVELS = 64


class Members(nn.ModuleDict):
    """The denoisers of one run by their keys m0, m1, ..., in the order of `--members` (paths make no module names)."""

    def names(self) -> list[str]:
        """What tables call them."""
        return [str(member.name) for member in self.values()]


def make_members(config: ImagesConfig, train: ImageSet, reference: GaussianReference, law: LogsnrRange) -> Members:
    """Build the members of `config`: from scratch, or pre-trained.

    Raises:
        UserError: a path without a checkpoint, or a `levels` member for images of very many levels.
    """
    members = Members()
    for index, member in enumerate(config.members):
        if member not in HEADS:
            members[f"m{index}"] = _with_dropout(load_denoiser(config.path_of(member), train.shape), config.dropout)
            continue
        if member == "levels" and train.levels > MOST_LEVELS:
            raise UserError(
                f"member 'levels' predicts each of {train.levels} grey levels of every pixel: it is for at most "
                f"{MOST_LEVELS}; choose noise or gaussian"
            )
        head = make_head(member, train, reference)
        name = f"unet[{config.network},{member}]"
        seed = derive(config.seed, "member", member)
        members[f"m{index}"] = ImageDenoiser(config.unet(), head, seed, law, name, train.levels)
    for denoiser in members.values():
        denoiser.name += precision_label(config.precision)
    return members.train()


def _with_dropout(denoiser: Denoiser, p: float) -> Denoiser:
    for layer in denoiser.modules():
        if isinstance(layer, Dropout):
            layer.p = p
    return denoiser


class ImagesObjective:
    """Loss of one optimiser step for each member (k,): mean of 1/2 weight(a) |eps - eps_hat|^2, nats.

    Its expectation over a ~ law, x and eps is 1/2 Int mse_eps(a) da, so that it differs from the continuous NLL by a
    constant and is the discrete NLL up to its tails (Kong et al. 2023, eqs. 9 and 12). All members see the same images
    and noise. What image j of the batch of a step gets is a function of (seed, step, j): parts and processes take rows
    of one batch.

    Args:
        config: the run's settings.
        members: the denoisers, on the device of the images.
        train: the training images.
        law: of the log-SNR.
        optimizer: its learning rate is set at each step.
    """

    def __init__(
        self,
        config: ImagesConfig,
        members: Members,
        train: ImageSet,
        law: LogsnrRange,
        optimizer: torch.optim.Optimizer,
    ):
        self.config, self.members, self.train, self.law, self.optimizer = config, members, train, law, optimizer
        self.batch = min(config.batch, len(train))
        self.per_epoch = len(train) // self.batch
        self.steps = config.epochs * self.per_epoch
        self.device = train.images.device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)
        if self.batch % (config.parts * distributed.world_size()):
            raise UserError(
                f"a batch of {self.batch} does not divide into {config.parts} parts on {distributed.world_size()} "
                "processes: change --batch or --parts"
            )

    def __call__(self, step: int, part: int = 0) -> Tensor:
        """The losses (k,) of this process's rows of one part of the step's batch, divided by the number of parts."""
        config = self.config
        set_learning_rate(self.optimizer, learning_rate(config.lr_schedule, config.lr, step, self.steps))
        source = generator(config.seed, "step", step)
        shape = (self.batch, *self.train.shape)
        u = (torch.randperm(self.batch, generator=source) + torch.rand(self.batch, generator=source)) / self.batch
        logsnr, weight = self.law.sample(u.double().clamp(1e-9, 1 - 1e-9))
        eps = torch.randn(shape, generator=source)
        shift = torch.rand(shape, generator=source) - 0.5 if config.dequantize else torch.zeros(shape)
        mine = distributed.share(torch.arange(part, self.batch, config.parts))
        drawn = (item[mine].float() for item in (logsnr, weight, eps, shift))
        rows, logsnr, weight, noise, shift = staged(self.device, self._index(step)[mine], *drawn)
        x = to_unit(self.train.images[rows], self.train.levels)
        x = x + step_of(self.train.levels) * shift
        alpha, sigma = logsnr_to_alpha_sigma(logsnr)
        z = append_dims(alpha, x) * x + append_dims(sigma, x) * noise
        if config.dropout:
            rank = distributed.rank()
            set_dropout_generator(self.members, generator(config.seed, "dropout", step, part, rank, device=self.device))
        losses = []
        for member in self.members.values():
            losses.append((weight * (noise - member.eps(z, logsnr)).square().flatten(1).sum(1)).mean() / 2)
        return torch.stack(losses) / config.parts

    def _index(self, step: int) -> Tensor:
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = epoch_permutation(len(self.train), self.config.seed, epoch)
        return self._order[place * self.batch : (place + 1) * self.batch]
