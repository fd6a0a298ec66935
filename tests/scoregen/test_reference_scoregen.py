"""The plain reference of the 1-D study gives our numbers: the same losses, weights, KL and stopping epoch."""

import pytest
import torch

from benchmarks import reference_scoregen as plain
from benchmarks import scoregen as rows
from scoregen import capacity
from scoregen.batch import NetworkBatch, StackedBatch
from scoregen.capacity import CapacityConfig
from scoregen.network import ScoreConfig


def injected(batch: NetworkBatch, epoch: int, member: int) -> list[plain.Batch]:
    """Our own points, times and noise of one epoch, for the reference."""
    noised = batch.batches.noised
    found = []
    for part in range(batch.per_epoch):
        one = noised(epoch * batch.per_epoch + part)
        alpha, sigma = plain.marginal(one.t[member][:, None])
        x0 = (one.x_t[member] - sigma * one.eps[member]) / alpha
        found.append((x0, one.t[member][:, None], one.eps[member]))
    return found


@pytest.mark.parametrize(("optimizer", "lr", "size"), [("adam", 1e-3, 0), ("sgd", 0.5, 16)])
def test_training_gives_the_same_weights(optimizer, lr, size):
    config = ScoreConfig(n=40, width=12, optimizer=optimizer, lr=lr, batch=size, init="uniform", seeds=(0, 5))
    batch = NetworkBatch(config, [(3.0, 0), (3.0, 5)], every=50, slots=1)
    alone = [rows.as_plain_network(batch, i) for i in range(2)]
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    theirs = [kind(network.parameters(), lr=lr) for network in alone]
    ours = batch.optimizer()
    for epoch in range(20):
        for part in range(batch.per_epoch):
            ours.zero_grad()
            batch.objective(epoch * batch.per_epoch + part).sum().backward()
            ours.step()
        for i in range(2):
            plain.train_epoch(alone[i], theirs[i], injected(batch, epoch, i))
    for i in range(2):
        for a, b in zip(rows.as_plain_network(batch, i).parameters(), alone[i].parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)


def test_the_kl_is_the_same():
    batch = NetworkBatch(ScoreConfig(n=40, width=12, seeds=(0, 1)), [(3.0, 0), (3.0, 1)], every=50, slots=1)
    batch.model.keep(0)
    density, log_p0 = batch.density(batch.model.past([0], [0, 1]), 3.0)
    for i in range(2):
        ours = float(density.kl(log_p0)[i])
        assert plain.kl(rows.as_plain_network(batch, i), rows.log_p0, rows.REACH) == pytest.approx(ours, abs=2e-4)


def test_both_stop_at_the_same_epoch():
    settings = {"epochs": 200, "threshold": 2.6, "lr": 1e-2}
    config = CapacityConfig(n=50, width=16, seeds=(0,), check_every=10, **settings)
    task = capacity.CapacityTask(config, torch.device("cpu"))
    network = rows.as_plain_network(task.batch, 0)
    x0 = task.batch.data[0]
    looks = plain.train_until_small(
        network,
        x0,
        rows.log_p0,
        lambda epoch: injected(task.batch, epoch, 0),
        early=20,
        every=10,
        reach=rows.REACH,
        **settings,
    )
    found: list[dict] = []
    optimizer = task.training.optimizer
    for step in range(config.epochs):
        optimizer.zero_grad()
        task.batch.objective(step).sum().backward()
        optimizer.step()
        if step + 1 in task.training.evaluate_after:
            found += task.look(step + 1)
    small = next(look["epoch"] for look in found if look["kl_nats"] <= 2.6)
    assert looks[-1][0] == max(20, small)
    for (epoch, kl), look in zip(looks, found, strict=False):
        assert look["epoch"] == epoch
        assert look["kl_nats"] == pytest.approx(kl, rel=2e-2)


def test_stacked_batches_are_the_noised_ones():
    batch = NetworkBatch(ScoreConfig(n=40, width=4, batch=16, seeds=(0,)), [(3.0, 0)], every=50, slots=1)
    one, stacked = batch.batches.noised(4), batch.batches(4)
    assert isinstance(stacked, StackedBatch)
    assert torch.equal(stacked.inputs[..., 0], one.x_t[..., 0])
    assert torch.equal(stacked.inputs[..., 1], one.t)
    assert torch.equal(stacked.eps, one.eps)
    torch.testing.assert_close(stacked.sigma[..., 0], batch.schedule.at(one.t).sigma)


def test_the_rows_cover_the_folder():
    parts = rows.FOLDER
    assert {part.width for part in rows.CAPACITY} == {2**k for k in range(1, 12)}
    assert sum(part.networks for part in parts if part.width == 256 and part.optimizer == "adam") == 48
    duel = rows.folder([rows.Part(2, 2, 100), rows.Part(4, 1, 100, "sgd", 500)], 1.0)
    assert duel.ours(0) > 0
    assert duel.reference(0) > 0
    assert duel.evaluations_ours == duel.evaluations_reference > 300 * 1000
