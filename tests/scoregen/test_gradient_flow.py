"""The exact gradient flow of random features: against small gradient steps, the loss it stands for, sorted kinks."""

import pytest
import torch

from infolab.noise import generator
from infolab.schedules import VP
from infolab.toy import two_modes
from scoregen.features import BINS, TIMES, FeaturesConfig, FeatureScores, empirical_loss, flow_weights, rows_of_seed
from scoregen.network import ScoreNetworks, frozen_features

REACH = 8.0


@pytest.fixture(scope="module")
def loss():
    points = two_modes(3.0).sample(40, generator(0, "train", 40))[:, 0]
    return empirical_loss(points, VP(), REACH), points


def gradient(hidden, nodes, A):
    """-(m/2) grad_A of sum_q w_q ((1/m) A phi_q - target_q)^2."""
    phi = (torch.stack([nodes.x, nodes.t, torch.ones_like(nodes.x)], 1) @ hidden).relu()
    return phi.T @ (nodes.weight * (nodes.target - phi @ A / hidden.shape[1]))


def test_many_small_gradient_steps_lead_to_the_same_weights(loss):
    nodes, _ = loss
    hidden = frozen_features(12, 0).double()
    tau, steps = 0.5, 4000
    A = torch.zeros(12, dtype=torch.float64)
    for _ in range(steps):
        A += tau / steps * gradient(hidden, nodes, A)
    (exact,) = flow_weights(hidden, nodes, [tau])
    torch.testing.assert_close(exact, A, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("m", [150, 3000])
@pytest.mark.parametrize("tau", [0.3, 3000.0])
def test_the_flow_obeys_its_equation_on_either_side_of_the_eigenvalue_problem(loss, m, tau):
    nodes, _ = loss  # 2,048 nodes: fewer than 3,000 units, more than 150
    hidden, step = frozen_features(m, 1).double(), 1e-4 * tau
    before, now, after = flow_weights(hidden, nodes, [tau - step, tau, tau + step])
    expected = gradient(hidden, nodes, now)
    torch.testing.assert_close(
        (after - before) / (2 * step), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())
    )


def test_the_loss_is_the_noise_average_of_the_denoising_loss(loss):
    nodes, points = loss
    assert len(nodes.x) == TIMES * BINS

    def score(x, t):
        return -x * (1 - t) + 0.3

    source = torch.Generator().manual_seed(0)
    n = 400_000
    t = torch.rand(n, generator=source, dtype=torch.float64)
    level = VP().at(t)
    eps = torch.randn(n, generator=source, dtype=torch.float64)
    x_t = level.alpha * points.double()[torch.randint(len(points), (n,), generator=source)] + level.sigma * eps
    s = score(x_t, t)
    # sigma^2 (s + eps/sigma)^2 minus its value at s = 0, which does not depend on s
    draws = (level.sigma * s + eps).square() - eps.square()
    exact = float(
        (nodes.weight * (score(nodes.x, nodes.t).square() - 2 * score(nodes.x, nodes.t) * nodes.target)).sum()
    )
    assert exact == pytest.approx(float(draws.mean()), abs=4 * float(draws.std()) / n**0.5 + 2e-3)


def test_sorted_kinks_give_the_networks_own_score_and_slope():
    m, k = 57, 3
    hidden = frozen_features(m, 0)
    A = torch.randn(k, m, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = ScoreNetworks(m, [0] * k, "features").double()
    with torch.no_grad():
        model.out.copy_(A[..., None])
    x = torch.linspace(-15, 15, 101, dtype=torch.float64).expand(k, -1)
    for t in (0.0, 0.37, 1.0):
        for ours, theirs in zip(FeatureScores(hidden, A)(x, t), model.value_and_slope(x, t), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_density_of_a_kinked_score_is_normalised_on_its_grid():
    config = FeaturesConfig(n=2048, width=1024, m_is_n=False, tau_octaves=(20, 24))
    rows = rows_of_seed(config, seed=0)
    for row in rows:
        # 7e-3 to 2e-2 on the coarse grid of the smooth networks, where the KL of the last row came out negative.
        assert abs(row.normalisation - row.mass_grid) < 1e-3
        assert row.kl_nats > 0
