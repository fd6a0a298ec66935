"""The conditional Gaussian N(m(y), diag s(y)^2) that preconditions the conditional denoiser.

Its own denoiser is linear in z and the integral of its errors is its log-likelihood in closed form, so this part of the
information needs neither noise nor a quadrature: it is trained on its likelihood and enters as a control variate.
"""

import torch
from torch import Tensor

from common.ensemble import EnsembleMLP
from common.mi.fitting import Best, Trainer, log_size, zero_last_layer
from common.mi.pairs import Halves, Pairs
from common.seeds import generator

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
