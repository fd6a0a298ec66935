"""Gaussian laws in a few dimensions, and features drawn from them."""

import torch

from infolab.metrics import Features
from infolab.noise import generator

D = 4


def law(seed, spread=1.0, shift=0.0):
    source = generator(seed, "law")
    a = torch.randn(D, D, generator=source, dtype=torch.float64)
    mean = torch.randn(D, generator=source, dtype=torch.float64) + shift
    return mean, spread * (a @ a.T / D + 0.3 * torch.eye(D, dtype=torch.float64))


def draw(mean, cov, n, seed):
    z = torch.randn(n, len(mean), generator=generator(seed, "draw"), dtype=torch.float64)
    return Features(mean + z @ torch.linalg.cholesky(cov).T)
