"""Networks that serve every T up to the largest, with T as a parameter beside their weights, and their training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from common.ensemble import EnsembleMLP
from common.epochs import NoisedEpochs
from common.precision import on_cpu
from common.schedules import VP, expand
from diffusion.bound_in_T import BoundInT, NormInT
from diffusion.choose_T_config import ChooseTConfig
from diffusion.toy import dsm_loss

MEASURED = ("log_T", "log_norm", "slope")


class SharedNetworks(nn.Module):
    """One network per seed for all t in (0, T_max), and one T = T_max sigmoid(u) per seed.

    The last measurement of the score norm is kept in buffers, so that a checkpoint holds it.
    """

    log_T: Tensor
    log_norm: Tensor
    slope: Tensor

    def __init__(self, config: ChooseTConfig):
        super().__init__()
        k, h = len(config.seeds), config.hidden
        self.T_max, self.schedule = max(config.T), VP(config.beta_min, config.beta_max)
        self.network = EnsembleMLP((3, h, h, h, 2), config.seeds)
        start = torch.tensor(config.T_start / self.T_max, dtype=torch.float64)
        self.u = nn.Parameter(torch.logit(start).float().repeat(k))
        for name in MEASURED:
            self.register_buffer(name, torch.zeros(k, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SharedNetworks":
        """Move or convert the networks and u; the measurement stays on the CPU in float64, which MPS has not."""
        kept = {name: self._buffers.pop(name) for name in MEASURED}
        super()._apply(fn, recurse)
        self._buffers.update(kept)
        return self

    @property
    def T(self) -> Tensor:
        """The diffusion times (k,) float64, in (0, T_max), on the CPU, where the terms of the bound are added up."""
        return self.T_max * torch.sigmoid(on_cpu(self.u))

    @property
    def norm(self) -> NormInT:
        """The score norm near T as last measured."""
        return NormInT(self.log_T, self.log_norm, self.slope)

    def remember(self, norm: NormInT) -> None:
        """Keep a measurement of the score norm."""
        self.log_T.copy_(norm.log_T)
        self.log_norm.copy_(norm.log_norm)
        self.slope.copy_(norm.slope)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores of x (k, n, 2) at t (k, n), differentiable in x and t; the weights are held fixed."""
        weights = {name: item.detach() for name, item in self.network.named_parameters()}
        return functional_call(self.network, weights, (x, t)) / expand(self.schedule.beta(t).sqrt(), x)


class SharedObjective:
    """Loss of one optimiser step: denoising score matching of the weights, t ~ U(0, T_max), and the bound of T.

    The bound takes the weights as they stand, so neither changes what the other minimises. T enters through T1, T2,
    the factor of T3, the upper end of the score loss, and L, whose size and slope in T are measured on the sampler's
    path every `norm_every` epochs and held between.

    Args:
        config: the run's settings.
        model: networks and T.
        bound: the bound as a function of T.
        optimizer: its second parameter group holds T; the group's learning rate falls linearly to 0.
    """

    def __init__(self, config: ChooseTConfig, model: SharedNetworks, bound: BoundInT, optimizer: torch.optim.Optimizer):
        self.config, self.model, self.bound, self.optimizer = config, model, bound, optimizer
        longest = torch.full((len(config.seeds),), model.T_max)
        self.batches = NoisedEpochs(bound.data, model.schedule, longest, list(config.seeds), config.batch)

    def __call__(self, step: int) -> Tensor:
        """Losses (k,) of the networks; the gradient in T is the bound's."""
        loss = dsm_loss(self.model.network, self.batches, step)
        epoch, part = divmod(step, self.batches.steps_per_epoch)
        if part == 0 and epoch % self.config.norm_every == 0:
            self.model.remember(self.bound.norm_near(self.model.score, self.model.T.detach(), self.model.T_max))
        if part == 0 and epoch % self.config.T_every == 0:
            self.optimizer.param_groups[1]["lr"] = self.config.T_lr * (1 - epoch / self.config.epochs)
            nats = self.bound_of_T(epoch)
            loss = loss + (nats - nats.detach()).to(loss)
        return loss

    def bound_of_T(self, epoch: int) -> Tensor:
        """The bound (k,) at the present T, with fresh noise for each epoch, differentiable in T alone."""
        T = self.model.T
        norm = self.model.norm.at(T)
        draws, points = self.config.mi_draws, self.bound.m
        return self.bound.terms(self.model.score, T, norm, "T", epoch, draws=draws, points=points).nats
