"""One network that denoises x with and without y: the Gaussian denoiser of each, plus a correction that is learned."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.ensemble import EnsembleMLP
from common.mi.fitting import Best, Trainer, log_size, zero_last_layer
from common.mi.levels import Levels, strata
from common.mi.pairs import Pairs, rows_of
from common.schedules import expand, logsnr_to_alpha_sigma
from common.seeds import generator
from common.staging import staged

INPUT_SCALE = 3.0
"""Inputs are multiplied by this: networks that start rougher find sharp edges sooner."""
UNCONDITIONAL = 0.4
"""Share of a batch in which y is dropped."""
CHECKS = 20
"""Looks at the pairs held back."""
HELD, HELD_DRAWS = 2048, 8
"""Of these pairs at most so many are used, each so many times."""


@dataclass(frozen=True)
class Conditioned:
    """Pairs with the moments of their conditional Gaussian: x, y, mean m(y) and scale s(y), each (k, n, .)."""

    pairs: Pairs
    mean: Tensor
    scale: Tensor

    def take(self, rows: Tensor) -> "Conditioned":
        """The entries in these rows (k, b) of each member."""
        return Conditioned(self.pairs.take(rows), rows_of(self.mean, rows), rows_of(self.scale, rows))

    def __getitem__(self, part: slice) -> "Conditioned":
        return Conditioned(self.pairs[part], self.mean[:, part], self.scale[:, part])


class Denoiser:
    """eps_hat(z, y, a) = sigma (z - alpha m)/v + c(a) (b + g w), with (b, g) the network, v = alpha^2 s^2 + sigma^2.

    The first term is optimal if x | y ~ N(m(y), s(y)^2); w = (z - alpha m)/sqrt(v) is white under it, and
    c = alpha s/sqrt(v). Without y: m = 0, s = 1. The network starts at 0.

    Args:
        dx: dimensions of x.
        dy: dimensions of y.
        width: of the three hidden layers.
        seeds: of the initial weights, one a member.
        device: where the network is put.
    """

    def __init__(self, dx: int, dy: int, width: int, seeds: list[int], device: torch.device | str = "cpu"):
        self.dx = dx
        self.net = EnsembleMLP((3 * dx + dy + 13, width, width, width, 2 * dx), seeds).to(device)
        self.frequencies = torch.tensor([0.125, 0.25, 0.5, 1.0]).to(device)
        zero_last_layer(self.net)

    def __call__(self, z: Tensor, data: Conditioned, a: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian's eps_hat and the correction, (k, n, dx) each.

        Args:
            z: noised x (k, n, dx).
            data: what x is conditioned on; its x is not looked at.
            a: log-SNR (k, n).
            given: (k, n, 1), 1 where y is given and 0 where it is dropped.
        """
        alpha, sigma = (expand(item, z) for item in logsnr_to_alpha_sigma(a))
        variance = 1 + given * (data.scale.square() - 1)
        total = alpha.square() * variance + sigma.square()
        w = (z - alpha * (given * data.mean)) / total.sqrt()
        y = data.pairs.y
        local = torch.tanh((expand(a, z) + variance.log()) / 4)
        turns = expand(a, z) * self.frequencies
        parts = [z, w, given * y, local, turns.sin(), turns.cos(), log_size(z), log_size(w), given * log_size(y), given]
        b, g = self.net(INPUT_SCALE * torch.cat(parts, -1), a * (INPUT_SCALE / 8)).chunk(2, dim=-1)
        return sigma * w / total.sqrt(), alpha * (variance / total).sqrt() * (b + g * w)


def noised(x: Tensor, a: Tensor, eps: Tensor) -> Tensor:
    """z = alpha x + sigma eps at log-SNR a."""
    alpha, sigma = logsnr_to_alpha_sigma(a)
    return expand(alpha, x) * x + expand(sigma, x) * eps


def train_denoiser(
    data: Conditioned, held: Conditioned, levels: Levels, *, steps: int, batch: int, width: int, lr: float, seed: int,
    checks: int = CHECKS,
) -> Denoiser:  # fmt: skip
    """Fit both denoisers of every member by the error of eps_hat, y dropped in a fixed share of every batch.

    After a fifth of the steps log-SNRs are drawn where the correction is large (`Levels.freeze`). Of the averaged
    weights on the way those with the least error on the pairs `held` back, looked at about `checks` times, stay; none
    of them where the Gaussians' denoisers, which all start as, have less. Where x is one Gaussianised coordinate
    (without ties or lumps, `common.mi.ties`) its own denoiser is known and y is never dropped.
    """
    k, _, dx = data.pairs.x.shape
    device = data.mean.device
    model = Denoiser(dx, data.pairs.y.shape[-1], width, [seed * 1000 + 2 * member + 1 for member in range(k)], device)
    trainer = Trainer(model.net, steps, lr, 0.998, beta2=0.99)
    best = Best(trainer, k)
    source = generator(seed, "mi", "denoiser")
    given = torch.ones(k, batch, 1, device=device)
    dropped = 0 if dx == 1 else int(UNCONDITIONAL * batch)
    given[:, :dropped] = 0
    sizes = [dropped, batch - dropped]
    for step in range(steps):
        if step == steps // 5:
            levels.freeze()
            best.scores = -held_error(model, held, levels, seed, corrected=False)  # of the network as it started
        rows = data.pairs.draw_rows(batch, source)
        u = torch.cat([strata(k, size, source) for size in sizes], 1)
        eps = torch.randn(k, batch, dx, generator=source)
        rows, u, eps = staged(device, rows, u, eps)
        part, a = data.take(rows), levels.quantile(u)
        linear, correction = model(noised(part.pairs.x, a, eps), part, a, given)
        trainer.step((eps - linear - correction).square().sum(-1).mean(1).sum())
        if step < steps // 5:
            levels.look(a, correction.detach())
        elif (step + 1) % max(steps // checks, 1) == 0 or step == steps - 1:
            with trainer.average.swapped_in():
                best.offer(-held_error(model, held, levels, seed))
    best.restore()
    return model


@torch.no_grad()
def held_error(model: Denoiser, held: Conditioned, levels: Levels, seed: int, *, corrected: bool = True) -> Tensor:
    """Error of both denoisers on the pairs held back, integrated over the log-SNR (k,); always of the same noise.

    Without `corrected` it is that of the Gaussians' denoisers alone.
    """
    source = generator(seed, "mi", "held")
    part = held[:HELD]
    k, n, _ = part.mean.shape
    error = part.mean.new_zeros(k)
    for _ in range(HELD_DRAWS):
        # In order of the log-SNR each draw would go to the same pairs again.
        order = torch.randperm(n, generator=source)
        u = strata(k, n, source)[:, order]
        u, eps = staged(part.mean.device, u, torch.randn(part.mean.shape, generator=source))
        a = levels.quantile(u)
        z = noised(part.pairs.x, a, eps)
        for given in (1.0,) if model.dx == 1 else (1.0, 0.0):
            linear, correction = model(z, part, a, torch.full((k, n, 1), given, device=a.device))
            error += ((eps - linear - correction * corrected).square().sum(-1) / levels.density(a)).mean(1)
    return error / HELD_DRAWS
