"""One network that denoises x with and without y: the Gaussian denoiser of each plus a correction, and its training."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infolab.device import staged
from infolab.mi.pairs import Halves, Pairs, rows_of
from infolab.nn.mlp import EnsembleMLP
from infolab.noise import generator
from infolab.schedules import append_dims, logsnr_to_alpha_sigma
from infolab.training import learning_rate, set_learning_rate

# ----------
# What the networks of this package share in training: averaged weights, a falling learning rate, a start at zero.

WEIGHT_DECAY = 1e-2
WARM_UP = 100
"""Steps over which the learning rate rises (a tenth of all where those are fewer)."""


class Average:
    """A moving average of parameters: decay min(largest, 1 - 1/(2 + step/4)), so that the start is soon forgotten."""

    def __init__(self, parameters: list[nn.Parameter], largest: float):
        self.parameters, self.largest, self.step = parameters, largest, 0
        self.values = [item.detach().clone() for item in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take one more step into the average."""
        decay = min(self.largest, 1 - 1 / (self.step / 4 + 2))
        torch._foreach_lerp_(self.values, [item.detach() for item in self.parameters], 1 - decay)
        self.step += 1

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap the parameters and their average."""
        for item, value in zip(self.parameters, self.values, strict=True):
            kept = item.detach().clone()
            item.copy_(value)
            value.copy_(kept)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Context in which the parameters are their average, without gradients."""
        with torch.no_grad():
            self.exchange()
            yield
            self.exchange()


class Trainer:
    """AdamW over a batch of networks, with a short rise and a cosine fall of the learning rate, and averaged weights.

    Args:
        net: the networks.
        steps: optimiser steps in all.
        lr: largest learning rate.
        decay: largest decay of the average.
        beta2: of AdamW.
    """

    def __init__(self, net: EnsembleMLP, steps: int, lr: float, decay: float, beta2: float = 0.999):
        self.parameters = list(net.parameters())
        self.steps, self.lr = steps, lr
        self.average = Average(self.parameters, decay)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=lr, weight_decay=WEIGHT_DECAY, betas=(0.9, beta2), fused=True
        )

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, a sum over networks."""
        number = self.average.step
        rise = min(1.0, (number + 1) / min(WARM_UP, max(self.steps // 10, 1)))
        set_learning_rate(self.optimizer, rise * learning_rate("cosine", self.lr, number, self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.average.update()


class Best:
    """Of each of k networks, the averaged weights that scored highest so far."""

    def __init__(self, trainer: Trainer, k: int):
        self.trainer = trainer
        self.scores = torch.full((k,), -math.inf, device=trainer.parameters[0].device)
        self.parameters = [item.detach().clone() for item in trainer.parameters]

    def offer(self, scores: Tensor) -> Tensor:
        """Keep the present weights of the networks whose `scores` (k,) are their best; returns which (k,) bool.

        Call it with the average swapped in.
        """
        better = scores > self.scores
        for kept, now in zip(self.parameters, self.trainer.parameters, strict=True):
            kept[better] = now.detach()[better]
        self.scores = torch.where(better, scores, self.scores)
        return better

    @torch.no_grad()
    def restore(self) -> None:
        """Give the networks their best weights."""
        for item, kept in zip(self.trainer.parameters, self.parameters, strict=True):
            item.copy_(kept)


@torch.no_grad()
def zero_last_layer(net: EnsembleMLP, members: Tensor | None = None) -> None:
    """Make every member, or those marked in `members` (k,) bool, the zero function."""
    which = slice(None) if members is None else members
    net.weights[-1][which] = 0
    net.biases[-1][which] = 0


def log_size(y: Tensor) -> Tensor:
    """log(0.05 + |y|^2 / d), (..., 1): what heavy tails share a scale through."""
    return torch.log(0.05 + y.square().mean(-1, keepdim=True))


# ----------
# Where on the log-SNR axis the noise is drawn: a density that follows the size of the learned correction.

BINS = 24
UNIFORM = 0.3
"""Share of the draws that stays uniform, so that no log-SNR is left out."""


class Levels:
    """A piecewise constant density of log-SNR on (low, high), at first uniform.

    Args:
        low: lower end.
        high: upper end.
        device: where log-SNRs are.
    """

    def __init__(self, low: float, high: float, device: torch.device | str = "cpu"):
        self.low, self.high = low, high
        self.masses = torch.full((BINS,), 1 / BINS, device=device)
        self._size, self._count = torch.zeros(2, BINS, device=device)

    def quantile(self, u: Tensor) -> Tensor:
        """The log-SNR below which a share u of the draws lies; any shape."""
        edges = torch.cat([self.masses.new_zeros(1), self.masses.cumsum(0)])
        place = torch.searchsorted(edges, u.contiguous(), right=True).clamp(1, BINS) - 1
        within = ((u - edges[place]) / self.masses[place]).clamp(0, 1)
        return self.low + (place + within) * (self.high - self.low) / BINS

    def density(self, a: Tensor) -> Tensor:
        """Density of the draws at log-SNRs a."""
        return self.masses[self.bin(a)] * BINS / (self.high - self.low)

    def bin(self, a: Tensor) -> Tensor:
        """The bin of each log-SNR."""
        return ((a - self.low) * (BINS / (self.high - self.low))).long().clamp(0, BINS - 1)

    def look(self, a: Tensor, correction: Tensor) -> None:
        """Take the size of corrections (k, n, d) at log-SNRs a (k, n) into account at the next `freeze`."""
        place = self.bin(a).flatten()
        self._size.index_add_(0, place, correction.square().sum(-1).flatten())
        self._count.index_add_(0, place, torch.ones(place.shape, device=place.device))

    def freeze(self) -> None:
        """Draw from now on in proportion to the root mean square of the corrections seen since the last call."""
        size = (self._size / self._count.clamp(min=1)).sqrt()
        total = size.sum()
        if float(total) > 0:
            self.masses = UNIFORM / BINS + (1 - UNIFORM) * size / total
        self._size, self._count = torch.zeros_like(self._size), torch.zeros_like(self._count)


def strata(k: int, n: int, source: torch.Generator) -> Tensor:
    """Uniform numbers (k, n) on the CPU, one in each n-th of (0, 1), in increasing order."""
    return (torch.arange(n) + torch.rand(k, n, generator=source)) / max(n, 1)


# ----------
# One network that denoises x with and without y: the Gaussian denoiser of each, plus a correction that is learned.

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


class PairDenoiser:
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
        alpha, sigma = (append_dims(item, z) for item in logsnr_to_alpha_sigma(a))
        variance = 1 + given * (data.scale.square() - 1)
        total = alpha.square() * variance + sigma.square()
        w = (z - alpha * (given * data.mean)) / total.sqrt()
        y = data.pairs.y
        local = torch.tanh((append_dims(a, z) + variance.log()) / 4)
        turns = append_dims(a, z) * self.frequencies
        parts = [z, w, given * y, local, turns.sin(), turns.cos(), log_size(z), log_size(w), given * log_size(y), given]
        b, g = self.net(INPUT_SCALE * torch.cat(parts, -1), a * (INPUT_SCALE / 8)).chunk(2, dim=-1)
        return sigma * w / total.sqrt(), alpha * (variance / total).sqrt() * (b + g * w)


def noised(x: Tensor, a: Tensor, eps: Tensor) -> Tensor:
    """z = alpha x + sigma eps at log-SNR a."""
    alpha, sigma = logsnr_to_alpha_sigma(a)
    return append_dims(alpha, x) * x + append_dims(sigma, x) * eps


def train_denoiser(
    data: Conditioned, held: Conditioned, levels: Levels, *, steps: int, batch: int, width: int, lr: float, seed: int,
    checks: int = CHECKS,
) -> PairDenoiser:  # fmt: skip
    """Fit both denoisers of every member by the error of eps_hat, y dropped in a fixed share of every batch.

    After a fifth of the steps log-SNRs are drawn where the correction is large (`Levels.freeze`). Of the averaged
    weights on the way those with the least error on the pairs `held` back, looked at about `checks` times, stay; none
    of them where the Gaussians' denoisers, which all start as, have less. Where x is one Gaussianised coordinate
    (without ties or lumps, `infolab.mi.sides`) its own denoiser is known and y is never dropped.
    """
    k, _, dx = data.pairs.x.shape
    device = data.mean.device
    model = PairDenoiser(
        dx, data.pairs.y.shape[-1], width, [seed * 1000 + 2 * member + 1 for member in range(k)], device
    )
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
def held_error(model: PairDenoiser, held: Conditioned, levels: Levels, seed: int, *, corrected: bool = True) -> Tensor:
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


# ----------
# The conditional Gaussian N(m(y), diag s(y)^2) that preconditions the conditional denoiser.
#
# Its own denoiser is linear in z and the integral of its errors is its log-likelihood in closed form, so this part of
# the information needs neither noise nor a quadrature: it is trained on its likelihood and enters as a control
# variate.

WIDTH = 64
LEAST_LOG_SCALE = 3.0
"""log s(y) stays within this of the linear model's."""
ROUGHNESS = (1.0, 3.0)
"""Factors of the network's input that are tried."""
DOUBT = 2.0
"""The best of many looks at a few pairs is often better by one standard error where there is nothing to find."""
CHECK_EVERY = 50
"""Steps between looks at the validation pairs."""


class Head:
    """m(y) = rho y + s0 f(y), s(y) = s0 exp(3 tanh(g(y) / 3)), s0^2 = 1 - rho^2, f and g a network that starts at 0.

    Args:
        rho: (k, 1, dx) canonical correlations, in double precision, where 1 - rho^2 keeps its digits.
        dy: dimensions of y.
        roughness: (k, 1, 1) factors of the network's input; larger ones find finer structure, and overfit sooner.
        seeds: of the initial weights, one for each of the k members.
        device: where the network is put.
    """

    def __init__(self, rho: Tensor, dy: int, roughness: Tensor, seeds: list[int], device: torch.device | str = "cpu"):
        self.rho, self.base = (item.float().to(device) for item in (rho, (1 - rho.square()).sqrt()))
        self.roughness, self.dx = roughness.to(device), rho.shape[-1]
        self.net = EnsembleMLP((dy + 1, WIDTH, WIDTH, 2 * self.dx), seeds).to(device)
        zero_last_layer(self.net)

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """m and s, (k, n, dx) each, of y (k, n, dy)."""
        f, g = self.net(self.roughness * y, log_size(y)[..., 0]).chunk(2, dim=-1)
        scale = self.base * torch.exp(LEAST_LOG_SCALE * torch.tanh(g / LEAST_LOG_SCALE))
        return self.rho * fit_width(y, self.dx) + self.base * f, scale

    def information(self, pairs: Pairs) -> Tensor:
        """log N(x; m(y), s(y)^2) - log N(x; 0, I) of each pair, (k, n) nats."""
        mean, scale = self(pairs.y)
        residual = (pairs.x - mean) / scale
        return (0.5 * pairs.x.square() - 0.5 * residual.square() - scale.log()).sum(-1)


def train_head(halves: Halves, *, steps: int, batch: int, lr: float, seed: int) -> Head:
    """Fit the head of every member by maximum likelihood and keep what is best on its validation pairs.

    The choice is among networks of each roughness and their averaged weights at every CHECK_EVERY steps. What is not
    better than the linear model, with which all start, by at least DOUBT standard errors is dropped, so that where y
    tells nothing more, nothing is learned.
    """
    k, dy, device = len(halves.rho), halves.train.y.shape[-1], halves.train.y.device
    train, validation = (pairs.repeated(len(ROUGHNESS)) for pairs in (halves.train, halves.validation))
    rho = halves.rho.repeat(len(ROUGHNESS), 1, 1)
    factors = torch.tensor(ROUGHNESS).repeat_interleave(k)[:, None, None]
    tried = Head(rho, dy, factors, [seed * 1000 + 2 * member for member in range(len(rho))], device)
    source = generator(seed, "mi", "head")
    trainer = Trainer(tried.net, steps, lr, 0.98)
    best = Best(trainer, len(rho))
    for step in range(steps + 1):
        if step % CHECK_EVERY == 0 or step == steps:
            with trainer.average.swapped_in():
                best.offer(tried.information(validation).mean(1))
        if step < steps:
            trainer.step(-tried.information(train.draw(batch, source)).mean(1).sum())
    chosen = best.scores.unflatten(0, (-1, k)).argmax(0) * k + torch.arange(k, device=device)
    head = Head(halves.rho, dy, factors[chosen.cpu()], [0] * k, device)
    with torch.no_grad():
        linear = head.information(halves.validation)
        for item, kept in zip(head.net.parameters(), best.parameters, strict=True):
            item.copy_(kept[chosen])
        better = head.information(halves.validation) - linear
        doubtful = better.mean(1) < DOUBT * better.std(1) / len(halves.validation) ** 0.5
        zero_last_layer(head.net, doubtful)
    return head


def fit_width(y: Tensor, d: int) -> Tensor:
    """The first d coordinates of y, zeros where it has fewer."""
    return y[..., :d] if y.shape[-1] >= d else torch.nn.functional.pad(y, (0, d - y.shape[-1]))
