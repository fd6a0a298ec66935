"""The identity behind labels: the integral of the softmax denoiser's error is the log loss."""

import torch

from infolab.noise import generator


def test_integral_of_the_softmax_denoiser_is_minus_log_q():
    # One-hot x of 4 classes: -log q(x) = 1/2 Int E_eps |eps - eps_hat|^2 da, for every class x, q any law.
    q = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    points = torch.eye(4, dtype=torch.float64)
    a = torch.linspace(-14, 6, 81, dtype=torch.float64)
    eps = torch.randn(2000, 4, generator=generator(0, "eps"), dtype=torch.float64)
    eps = torch.cat([eps, -eps])
    found = torch.zeros(4, dtype=torch.float64)
    errors = torch.zeros(4, dtype=torch.float64)
    for x in range(4):
        each = []
        for level in a:
            alpha, sigma = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
            z = alpha * points[x] + sigma * eps
            # log q_k + log N(z; alpha e_k, sigma^2), terms that do not depend on k left out
            x_hat = torch.softmax(q.log() + alpha * z / sigma**2, dim=1)
            each.append(torch.exp(level) * (points[x] - x_hat).square().sum(1))
        integral = 0.5 * torch.trapezoid(torch.stack(each), a, dim=0)
        left = 0.5 * torch.exp(a[0]) * (points[x] - q).square().sum()
        found[x] = integral.mean() + left
        errors[x] = integral.std() / 4000**0.5
    assert bool(((found + q.log()).abs() < 4 * errors + 2e-3).all())
