"""The exact gradient flow of a random-feature score network: all training times in closed form, without noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.schedules import VP

TIMES = 16
"""Gauss-Legendre times of the loss, where nothing but smooth functions of t is integrated."""
BINS = 128
"""Bins in x at each time; the noised empirical law keeps its exact mass in each of them."""
NODES = TIMES * BINS


@dataclass(frozen=True)
class EmpiricalLoss:
    """The denoising loss of n points as a regression on (t, x) nodes, exactly averaged over the noise.

    E_t sigma^2 E|s + eps/sigma|^2 = sum_q w_q (s_q - target_q)^2 + a constant: w the noised empirical law's mass in bin
    q times sigma_t^2 and the weight of t; target = (p(right edge) - p(left edge)) / mass, the bin's mean of the
    empirical score, so that sum w s target = Int s dp = -E ds/dx as it must be.

    Attributes:
        t, x: nodes (q,), bin by bin at each time.
        weight: w (q,).
        target: (q,).
    """

    t: Tensor
    x: Tensor
    weight: Tensor
    target: Tensor


def empirical_loss(points: Tensor, schedule: VP, reach: float) -> EmpiricalLoss:
    """The loss of training `points` (n,) on bins over (-reach, reach), float64."""
    nodes, weights = np.polynomial.legendre.leggauss(TIMES)
    t = torch.from_numpy((nodes + 1) / 2)
    level = schedule.at(t)
    edges = torch.linspace(-reach, reach, BINS + 1, dtype=torch.float64)
    x0 = points.double()
    mass, rise = [], []
    for alpha, sigma in zip(level.alpha, level.sigma, strict=True):
        u = (edges[:, None] - alpha * x0) / sigma
        mass.append(torch.special.ndtr(u).mean(1).diff())
        rise.append((torch.exp(-u.square() / 2) / (np.sqrt(2 * np.pi) * sigma)).mean(1).diff())
    masses, rises = torch.stack(mass), torch.stack(rise)
    inside = masses > 1e-12
    middle = (edges[1:] + edges[:-1]) / 2
    return EmpiricalLoss(
        t=t[:, None].expand(-1, BINS).reshape(-1),
        x=middle.expand(TIMES, -1).reshape(-1),
        weight=(torch.from_numpy(weights / 2)[:, None] * level.sigma.square()[:, None] * masses * inside).reshape(-1),
        target=torch.where(inside, rises / masses.clamp(min=1e-300), 0.0).reshape(-1),
    )


def flow_weights(hidden: Tensor, loss: EmpiricalLoss, taus: Sequence[float]) -> Tensor:
    """A(tau) of s = (1/m) A relu(hidden) on the flow dA/dtau = -(m/2) grad_A loss from A = 0, (taus, m) float64.

    With X = W^(1/2) Phi / sqrt(m) and X = U S V^T it is A = sqrt(m) V (1 - e^(-S^2 tau)) / S U^T W^(1/2) target: X has
    at most 2,048 rows, so one eigenvalue problem of that size (or m) serves any m and all times.

    Args:
        hidden: W and U, (3, m).
        loss: nodes, weights, targets.
        taus: training times.
    """
    m = hidden.shape[1]
    kept = loss.weight > 0
    root = loss.weight[kept].sqrt()
    inputs = torch.stack([loss.x[kept], loss.t[kept], torch.ones_like(root)], 1)
    X = (inputs @ hidden.double()).relu_().mul_(root[:, None] / m**0.5)
    y = root * loss.target[kept]
    tall = len(X) > m
    values, vectors = torch.linalg.eigh(X.T @ X if tall else X @ X.T)
    values = values.clamp(min=0)
    projected = vectors.T @ (X.T @ y if tall else y)
    tau = torch.tensor(list(taus), dtype=torch.float64)[:, None]
    # (1 - e^(-l tau)) / l, which is tau at l = 0
    gain = torch.where(values > 1e-14, -torch.expm1(-values * tau) / values.clamp(min=1e-14), tau)
    A = (gain * projected) @ vectors.T
    return m**0.5 * (A if tall else A @ X)


class FeatureScores:
    """Scores of networks that share their ReLU features and differ in A, from the sorted kinks of the features.

    At one time a sum of ReLUs in x is piecewise linear, so prefix sums over the kinks give value and slope
    at any number of points in log m time each.

    Args:
        hidden: W and U, (3, m), W = +-1.
        weights: A of each network (k, m), float64.
    """

    def __init__(self, hidden: Tensor, weights: Tensor):
        self.hidden, self.weights = hidden.double(), weights / hidden.shape[1]

    def __call__(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Scores and slopes (k, g) at points x (k, g), all at one time t."""
        sign = self.hidden[0]
        kink, order = torch.sort(-sign * (t * self.hidden[1] + self.hidden[2]))
        right = (sign[order] > 0).double()
        a = self.weights[:, order]
        # A unit of W = 1 adds a (x - kink) right of its kink, one of W = -1 adds a (kink - x) left of it.
        from_left, from_right = a * right, a * (1 - right)
        slope = _before(from_left) - _after(from_right)
        offset = _after(from_right * kink) - _before(from_left * kink)
        place = torch.searchsorted(kink, x.double().contiguous())
        found = slope.gather(1, place)
        return found * x + offset.gather(1, place), found


def _before(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, .., m values, (k, m + 1)."""
    return torch.nn.functional.pad(values.cumsum(1), (1, 0))


def _after(values: Tensor) -> Tensor:
    """Sums of what is left behind the first 0, 1, .., m values, (k, m + 1)."""
    return values.sum(1, keepdim=True) - _before(values)
