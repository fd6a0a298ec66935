"""Training batches: noise by (seed, epoch, point), every point once an epoch, the laws of t and eps."""

import math

import pytest
import torch

import infolab.epochs as epochs_module
from infolab.epochs import NoisedEpochs
from infolab.schedules import VP

M, D = 12, 2
T = torch.tensor([0.4, 1.0, 2.0])
SEEDS = [5, 6, 9]


def data(k=3, m=M):
    # Point i of network j is (100 j + i, -(100 j + i)): it can be told from its noised value's parts.
    names = torch.arange(k)[:, None] * 100.0 + torch.arange(m)
    return torch.stack([names, -names], -1).double()


def epochs(batch, k=3, members=None, seeds=SEEDS):
    members = list(range(k)) if members is None else members
    return NoisedEpochs(data()[members], VP(), T[members], [seeds[i] for i in members], batch)


def one_epoch(batches, epoch):
    """Point number (k, m), t and eps of one epoch, in the order of the points."""
    per_epoch = batches.steps_per_epoch
    parts = [batches(epoch * per_epoch + part) for part in range(per_epoch)]
    x_t, t, eps, ratio = (
        torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("x_t", "t", "eps", "sigma_over_g")
    )
    level = VP().at(t)
    x0 = (x_t - level.sigma[..., None] * eps) / level.alpha[..., None]
    torch.testing.assert_close(ratio, level.sigma / level.g2.sqrt())
    order = x0[..., 0].argsort(1)
    sort = torch.gather(x0[..., 0], 1, order)
    return sort, torch.gather(t, 1, order), torch.gather(eps, 1, order[..., None].expand(-1, -1, D))


@pytest.mark.bits
@pytest.mark.parametrize("batch", [1, 5, 6, 12, 100])
def test_each_epoch_visits_every_point_once_with_noise_that_knows_no_batch_size(batch):
    batches, whole = epochs(batch), epochs(M)
    assert batches.steps_per_epoch == math.ceil(M / min(batch, M))
    for epoch in (0, 1, 3):
        points, t, eps = one_epoch(batches, epoch)
        torch.testing.assert_close(points, data()[..., 0], rtol=0, atol=1e-4)
        _, t_whole, eps_whole = one_epoch(whole, epoch)
        assert torch.equal(t, t_whole)
        assert torch.equal(eps, eps_whole)


@pytest.mark.bits
def test_noise_does_not_depend_on_the_other_networks():
    together, alone = epochs(5), epochs(5, members=[1])
    for step in (0, 2, 7):
        for name in ("x_t", "t", "eps", "sigma_over_g"):
            assert torch.equal(getattr(together(step), name)[1], getattr(alone(step), name)[0]), name


@pytest.mark.bits
def test_a_step_is_the_same_wherever_one_starts(monkeypatch):
    monkeypatch.setattr(epochs_module, "BLOCK_POINTS", 3 * M)  # blocks of three epochs
    forward, jumping = epochs(5), epochs(5)
    steps = [forward(step) for step in range(12 * 3)]
    for step in (35, 2, 20, 19, 0):
        assert torch.equal(jumping(step).x_t, steps[step].x_t)


def test_epochs_seeds_and_orders_differ_and_equal_seeds_share_noise():
    batches = epochs(4)
    first, second = one_epoch(batches, 0), one_epoch(batches, 1)
    assert not torch.equal(first[2], second[2])
    assert not torch.equal(first[2][0], first[2][1])
    raw = [torch.cat([batches(3 * epoch + part).x_t[0] for part in range(3)])[:, 0].argsort() for epoch in (0, 1)]
    assert not torch.equal(*raw)  # another order each epoch
    twins = epochs(4, seeds=[5, 5, 5])
    _, t, eps = one_epoch(twins, 0)
    assert torch.equal(eps[0], eps[2])
    torch.testing.assert_close(t[0] / T[0], t[2] / T[2])  # the same uniform, stretched to each T


def test_laws_of_time_and_noise():
    k, m, count = 3, 400, 50
    batches = NoisedEpochs(torch.zeros(k, m, D), VP(), T, SEEDS, batch=m)
    drawn = [batches(epoch) for epoch in range(count)]
    u = torch.stack([batch.t for batch in drawn]).double() / T.double()[:, None]
    n = m * count
    for j in range(k):
        own = u[:, j].flatten()
        assert 0 <= float(own.min()) < 1e-3
        assert 0.999 < float(own.max()) <= 1
        for power in (1, 2, 3):  # moments of U(0, 1): 1/(p+1), variance 1/(2p+1) - 1/(p+1)^2
            se = math.sqrt((1 / (2 * power + 1) - 1 / (power + 1) ** 2) / n)
            assert abs(float(own.pow(power).mean()) - 1 / (power + 1)) < 4 * se
        eps = torch.stack([batch.eps[j] for batch in drawn]).double().reshape(-1, D)
        for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
            assert bool(((eps**power).mean(0) - mean).abs().lt(4 * math.sqrt(variance / n)).all()), power
        assert abs(float((eps[:, 0] * eps[:, 1]).mean())) < 4 / math.sqrt(n)
        assert abs(float((eps[:, 0] * (own - 0.5)).mean())) < 4 * math.sqrt(1 / 12 / n)
        steps = torch.stack([batch.eps[j, :, 0] for batch in drawn]).double()
        assert abs(float((steps[1:] * steps[:-1]).mean())) < 4 / math.sqrt(m * (count - 1))


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = epochs(5)(0).x_t
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(epochs(5)(0).x_t, first)
