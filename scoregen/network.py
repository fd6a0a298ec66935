"""Settings that every 1-D study shares, and score networks with one hidden layer, many of one width as one batch."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from infolab.config import AtLeast, Distinct, OneOf, Positive, RunConfig
from infolab.errors import UserError, check_choice
from infolab.noise import generator
from infolab.schedules import VP

# ----------
# Score networks with one hidden layer for 1-D data, many of one width trained as one batch.

KINDS = ("swish", "features")
SCALINGS = ("sqrt", "standard")
INITS = ("uniform", "normal")
LARGEST_LOSS = 1e12
SMALL = 1 << 16
"""Hidden values in all below which calls cost more than arithmetic."""
BLOCK = 1 << 17
"""Hidden values of one block of rows: three such buffers stay in a core's cache."""


class ScoreNetworks(nn.Module):
    """k scores s(x, t) = c A f(W x + U e(t)), e(t) = (t, 1), each with m hidden units; A, W, U of its own.

    `swish`: f is Swish, all weights are trained, c = 1/sqrt(m) (scaling `sqrt`; the rate of change of s
    under SGD then does not depend on m), or c = 1 with A smaller by sqrt(m) (`standard`, the same start).
    `features`: f is the ReLU, c = 1/m, W and U are frozen, A starts at 0 (Li et al. 2023, the theorem's model).
    The networks share nothing: the gradient of the sum of their losses is each one's own gradient.

    Args:
        width: m.
        seeds: one seed of the initial weights per network (k,).
        kind: swish or features.
        scaling: sqrt or standard (swish only).
        init: law of the initial weights (swish only): uniform, W and U in +-1/sqrt(2), A in +-1 (what torch draws for
            a Linear, but for the factor); normal, all N(0, 1), which learns faster and allows smaller steps.
    """

    def __init__(
        self, width: int, seeds: Sequence[int], kind: str = "swish", scaling: str = "sqrt", init: str = "uniform"
    ):
        super().__init__()
        self.kind = check_choice("network", kind, KINDS)
        check_choice("scaling", scaling, SCALINGS)
        check_choice("init", init, INITS)
        self.width = width
        if kind == "features":
            self.scale = 1 / width
            self.register_buffer("hidden", torch.stack([frozen_features(width, seed) for seed in seeds]))
            self.out = nn.Parameter(torch.zeros(len(seeds), width, 1))
            return
        root = math.sqrt(width)
        self.scale = 1 / root if scaling == "sqrt" else 1.0
        drawn = [_start(init, width, seed) for seed in seeds]
        self.hidden = nn.Parameter(torch.stack([one[:3] for one in drawn]))
        self.out = nn.Parameter(torch.stack([one[3:].T for one in drawn]) / (self.scale * root))

    def __len__(self) -> int:
        return self.out.shape[0]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Scores (k, n) at points x (k, n) and times t (k, n)."""
        z = torch.bmm(stack_inputs(x, t), self.hidden)
        return self.scale * torch.bmm(nn.functional.silu(z) if self.kind == "swish" else z.relu(), self.out)[..., 0]

    def loss(self, inputs: Tensor, sigma: Tensor, eps: Tensor, members: Sequence[int] | None = None) -> Tensor:
        """Mean over the batch of |sigma s(x, t) + eps|^2 for each network (k,).

        Value and gradients come from one pass over blocks that stay in the cache; the numbers are those of
        differentiating `forward`. Only the networks `members` are computed, the others get 0. A network whose loss is
        not finite, or above 1e12, gets 0 too, and the others do not notice.

        Args:
            inputs: (x_t, t, 1) of each point, (k, n, 3), see `stack_inputs`.
            sigma, eps: (k, n, 1).
            members: numbers of the networks to compute; None: all.
        """
        if members is None or len(members) == len(self):
            return _FusedLoss.apply(self.hidden, self.out, self.kind, self.scale, None, inputs, sigma, eps)
        chosen = list(members)
        batch = (item[chosen] for item in (inputs, sigma, eps))
        return _FusedLoss.apply(self.hidden, self.out, self.kind, self.scale, chosen, *batch)

    @torch.no_grad()
    def value_and_slope(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Scores and their derivatives ds/dx (k, g) at points x (k, g), all at one time t."""
        hidden, out = self.hidden.detach(), self.out.detach()
        weighted = out * hidden[:, :1].mT
        offset = t * hidden[:, 1:2] + hidden[:, 2:]
        s, slope = torch.empty_like(x), torch.empty_like(x)
        rows = max(1, BLOCK // self.width)
        together = self.networks_of_a_call(x.shape[1])
        for i in range(0, len(self), together):
            K = slice(i, i + together)
            for j in range(0, x.shape[1], rows):
                R = slice(j, j + rows)
                z = torch.baddbmm(offset[K], x[K, R, None], hidden[K, :1])
                value, derivative = _swish_(z) if self.kind == "swish" else (z.relu(), (z > 0).to(z))
                s[K, R] = torch.bmm(value, out[K])[..., 0]
                slope[K, R] = torch.bmm(derivative, weighted[K])[..., 0]
        return self.scale * s, self.scale * slope

    def networks_of_a_call(self, points: int) -> int:
        """Networks that `value_and_slope` takes at once at so many points each."""
        return max(1, BLOCK // self.width // points)

    def select(self, members: Sequence[int]) -> "ScoreNetworks":
        """The named networks as a batch of their own, with copies of their present weights."""
        chosen = copy.deepcopy(self)
        for item in chosen.state_dict(keep_vars=True).values():
            item.data = item.data[list(members)]
        return chosen


def frozen_features(width: int, seed: int) -> Tensor:
    """W and U of a random-feature network (3, m): rows for x, t and 1.

    Each kink of the ReLU lies at a place that is uniform on (-REACH, REACH) at t = 0, W is +-1 and the slope in t is
    uniform on (-REACH, REACH): a distribution with a bounded support, as the theorem asks for, that covers the data.
    """
    draw = 2 * torch.rand(3, width, generator=generator(seed, "features")) - 1
    sign = torch.where(draw[:1] < 0, -1.0, 1.0)
    return torch.cat([sign, FEATURE_REACH * draw[1:]])


FEATURE_REACH = 10.0


def _start(init: str, width: int, seed: int) -> Tensor:
    """W and U in three rows and A in the last, (4, m)."""
    source = generator(seed, "init")
    if init == "normal":
        return torch.randn(width, 4, generator=source).T
    bounds = torch.tensor([1 / math.sqrt(2)] * 3 + [1.0])
    return ((2 * torch.rand(width, 4, generator=source) - 1) * bounds).T


def stack_inputs(x: Tensor, t: Tensor) -> Tensor:
    """(x, t, 1) in a last dimension of its own."""
    return torch.stack([x, t, torch.ones_like(x)], dim=-1)


def _swish_(z: Tensor) -> tuple[Tensor, Tensor]:
    """Swish of z and its derivative."""
    gate = torch.sigmoid(z)
    value = z * gate
    return value, torch.addcmul(value, gate, 1 - value)


class _FusedLoss(torch.autograd.Function):
    """Loss and gradients of `ScoreNetworks.loss` in one pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, out: Tensor, kind: str, scale: float, chosen: list[int] | None, *batch: Tensor
    ) -> Tensor:
        """Losses (k,); `batch` holds inputs, sigma and eps of the chosen networks (None: of all)."""
        inputs, sigma, eps = batch
        weights = (hidden, out) if chosen is None else (hidden[chosen], out[chosen])
        gradients_of: Callable[..., tuple[Tensor, ...]] = features_gradients
        if kind == "swish":
            gradients_of = swish_gradients if inputs[..., 0].numel() * out.shape[1] > SMALL else small_swish_gradients
        loss, *gradients = gradients_of(*weights, scale, inputs, sigma, eps)
        sane = loss < LARGEST_LOSS  # False for NaN too
        if loss.device.type != "cpu" or not bool(sane.all()):  # asking another device would wait for it
            loss = torch.where(sane, loss, 0.0)
            gradients = [torch.where(sane[:, None, None], item, 0.0) for item in gradients]
        if chosen is not None:
            loss, *gradients = (_spread(item, chosen, len(out)) for item in (loss, *gradients))
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the forward pass, scaled by those of its losses (k,)."""
        *hidden, out = (item * grad[:, None, None] for item in ctx.saved_tensors)
        return (hidden[0] if hidden else None), out, *[None] * 6


def _spread(item: Tensor, chosen: list[int], k: int) -> Tensor:
    full = item.new_zeros(k, *item.shape[1:])
    full[chosen] = item
    return full


def _blocks(k: int, n: int, width: int) -> list[tuple[slice, slice]]:
    """Blocks (networks, rows) of about BLOCK hidden values, whole networks where several fit."""
    together = max(1, min(k, BLOCK // (n * width)))
    rows = n if n * width <= BLOCK else max(1, BLOCK // width)
    return [(slice(i, i + together), slice(j, j + rows)) for i in range(0, k, together) for j in range(0, n, rows)]


def small_swish_gradients(
    hidden: Tensor, out: Tensor, scale: float, inputs: Tensor, sigma: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What `swish_gradients` computes, in as few calls as will do: for batches of small networks."""
    n = inputs.shape[1]
    z = torch.bmm(inputs, hidden)
    gate = torch.sigmoid(z)
    value = z * gate
    residual = torch.addcmul(eps, sigma, torch.bmm(value, out), value=scale)
    g = residual * sigma
    slope = torch.addcmul(value, gate, 1 - value)
    grad_hidden = torch.bmm((inputs * g).mT, slope).mul_(out.mT * (2 * scale / n))
    return residual.square().mean((1, 2)), grad_hidden, torch.bmm(value.mT, g).mul_(2 * scale / n)


def swish_gradients(
    hidden: Tensor, out: Tensor, scale: float, inputs: Tensor, sigma: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (k,) and its gradients in the hidden (k, 3, m) and output (k, m, 1) weights, in blocks that fit the cache.

    Args:
        hidden: W and U (k, 3, m).
        out: A (k, m, 1).
        scale: c.
        inputs: (k, n, 3).
        sigma, eps: (k, n, 1).

    With u = z/2, th = tanh(u), p = u th: Swish is u + p, its derivative 1/2 (1 + u + th - p th). What is linear in u is
    a 3 x m matrix product, so that a block is written by one product, tanh, two products of elements, and read by three
    matrix products.
    """
    k, n, _ = inputs.shape
    width = out.shape[1]
    half = hidden / 2
    linear = torch.bmm(half, out)
    loss, grad_hidden, grad_out = out.new_zeros(k), torch.zeros_like(hidden), torch.zeros_like(out)
    blocks = _blocks(k, n, width)
    K, R = blocks[0]
    buffers = [out.new_empty(min(k, K.stop) * min(n, R.stop) * width) for _ in range(2)]
    for K, R in blocks:
        x, sg = inputs[K, R], sigma[K, R]
        p, th = (buffer[: x.shape[0] * x.shape[1] * width].view(*x.shape[:2], width) for buffer in buffers)
        torch.bmm(x, half[K], out=p)
        torch.tanh(p, out=th)
        p.mul_(th)
        s = torch.baddbmm(torch.bmm(x, linear[K]), p, out[K])
        residual = torch.addcmul(eps[K, R], sg, s, value=scale)
        loss[K] += residual.square().sum((1, 2))
        g = residual * sg
        weighted = x * g
        both = torch.bmm(weighted.mT, torch.cat([x, torch.ones_like(g)], -1))  # (., 3, 4)
        torch.baddbmm(grad_out[K], p.mT, g, out=grad_out[K])
        grad_out[K] += torch.bmm(half[K].mT, both[..., 2:3])  # the last input is 1: column 2 is x^T g
        th.addcmul_(th, p, value=-1)
        grad_hidden[K] += torch.baddbmm(torch.baddbmm(both[..., 3:], both[..., :3], half[K]), weighted.mT, th)
    return loss / n, grad_hidden.mul_(out.mT * (scale / n)), grad_out.mul_(2 * scale / n)


def features_gradients(
    hidden: Tensor, out: Tensor, scale: float, inputs: Tensor, sigma: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss (k,) and its gradient in the output weights (k, m, 1) alone."""
    k, n, _ = inputs.shape
    loss, grad_out = out.new_zeros(k), torch.zeros_like(out)
    for K, R in _blocks(k, n, out.shape[1]):
        phi = torch.bmm(inputs[K, R], hidden[K]).relu_()
        residual = torch.addcmul(eps[K, R], sigma[K, R], torch.bmm(phi, out[K]), value=scale)
        loss[K] += residual.square().sum((1, 2))
        grad_out[K] += torch.bmm(phi.mT, residual * sigma[K, R])
    return loss / n, grad_out.mul_(2 * scale / n)


# ----------
# Settings that every 1-D study shares: the two-mode mixture, the network and how it is trained.


@dataclass(frozen=True)
class ScoreConfig(RunConfig):
    """Networks of one width that are trained as one batch."""

    n: Annotated[int, AtLeast(2)] = 1000
    """Training points per network."""
    width: Annotated[int, AtLeast(1)] = 1024
    """m, hidden units (the paper gives none for its KL curves; 2^10 is the width at which its capacity figure ends)."""
    network: Annotated[str, OneOf("network", KINDS)] = "swish"
    """swish (all weights trained), or features (random ReLU features of which the output weights are trained)."""
    scaling: Annotated[str, OneOf("scaling", SCALINGS)] = "sqrt"
    """Factor on the output: sqrt, 1/sqrt(m), or standard, 1 (SGD at 0.5 then diverges). Features always take 1/m."""
    init: Annotated[str, OneOf("init", INITS)] = "normal"
    """Law of the initial weights: normal, N(0, 1), or uniform, as torch draws them (SGD at 0.5 needs these smaller
    ones). Features have their own."""
    optimizer: Annotated[str, OneOf("optimizer", ("adam", "sgd"))] = "adam"
    """adam or sgd."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate (published: SGD 0.5, Adam 1e-3)."""
    batch: Annotated[int, AtLeast(0)] = 0
    """Points of one optimiser step; 0: all n."""
    epochs: Annotated[int, AtLeast(1)] = 2000
    """Passes over the training set."""
    seeds: Annotated[tuple[int, ...], Distinct()] = (0, 1, 2)
    """Seeds of data, initial weights and noise, one network each (per mu)."""
    q1: float = 0.5
    """Weight of the left mode."""
    beta_min: float = 0.1
    """beta(0) of the VP SDE (the paper's 1-D schedule is not given)."""
    beta_max: float = 20.0
    """beta(1) of the VP SDE; the diffusion time is 1."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if not 0 < self.q1 < 1:
            raise UserError(f"--q1 must lie between 0 and 1, not {self.q1}")
        VP(self.beta_min, self.beta_max)  # refuses a beta that is negative or falls

    @property
    def points_per_step(self) -> int:
        """Points of one optimiser step."""
        return min(self.batch or self.n, self.n)

    def columns(self, mu: float, seed: int) -> dict[str, object]:
        """The settings columns of every 1-D table."""
        return {
            "dataset": "two_modes",
            "seed": seed,
            "mu": mu,
            "n": self.n,
            "width": self.width,
            "network": self.network,
            "scaling": "mean" if self.network == "features" else self.scaling,
            "init": "features" if self.network == "features" else self.init,
            "optimizer": self.optimizer,
            "lr": self.lr,
            "batch": self.points_per_step,
        }
