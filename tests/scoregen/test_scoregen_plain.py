"""The paper in one file and our own path give the same numbers: the same losses, weights, KL and stopping epoch."""

import pytest
import torch

from benchmarks import reference_scoregen as reference
from benchmarks import scoregen as rows
from scoregen import capacity, plain
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
    # The state is float64 and the network float32: its rounding, 1e-7 of scores of some units over a hundred
    # evaluations, bounds the difference, and both solvers are good to 1e-4.
    for i in range(2):
        ours = float(density.kl(log_p0)[i])
        network = rows.as_plain_network(batch, i)
        assert plain.kl(network, 64) == pytest.approx(ours, abs=2e-4)
        assert reference.kl(network, rows.log_p0, rows.REACH) == pytest.approx(ours, abs=2e-4)


def test_the_mixture_is_the_labs():
    x = torch.linspace(-11, 11, 111, dtype=torch.float64)
    torch.testing.assert_close(plain.log_p0(x), rows.log_p0(x))
    drawn = plain.sample_modes(4000, torch.Generator().manual_seed(0))
    # E x = 0 and Var x = 1 + mu^2 = 10: four standard errors of a mean and of a variance (kurtosis below 3).
    assert abs(float(drawn.mean())) < 4 * (10 / 4000) ** 0.5
    assert abs(float(drawn.var()) - 10) < 4 * 10 * (2 / 4000) ** 0.5


def test_the_exact_score_has_no_kl():
    # s(x, t) of the noised mixture leaves the quadrature and KL(p_T || N(0, 1)), of order (alpha_T mu)^4 = 1.5e-7.
    def exact(x, t):
        alpha, sigma = plain.marginal(t)
        variance = alpha.square() + sigma.square()
        return (alpha * plain.MU * torch.tanh(alpha * plain.MU * x / variance) - x) / variance

    assert abs(plain.kl(exact, 64)) < 1e-4


def test_main_prints_the_least_kl(monkeypatch, capsys):
    settings = {"SAMPLES": (50, 400), "EPOCHS": 160, "EVERY": 20, "WIDTH": 64, "LR": 2e-2, "SEEDS": (0, 1)}
    for name, value in settings.items():
        monkeypatch.setattr(plain, name, value)
    curves = plain.main()
    printed = capsys.readouterr().out
    for n, curve in curves.items():
        assert curve.shape == (2, 8)
        # A KL is not negative, and training has lowered it from about 1.3 nats (that of a single wide mode).
        assert float(curve.min()) > 0
        assert float(curve.min(1).values.max()) < 0.7
        assert f"n = {n:5}: stopped early at {(20 * (curve.argmin(1) + 1)).tolist()}" in printed


def test_both_stop_at_the_same_epoch():
    settings = {"epochs": 200, "threshold": 2.6, "lr": 1e-2}
    config = CapacityConfig(n=50, width=16, seeds=(0,), check_every=10, **settings)
    task = capacity.CapacityTask(config, torch.device("cpu"))
    network = rows.as_plain_network(task.batch, 0)
    x0 = task.batch.data[0]
    looks = reference.train_until_small(
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
