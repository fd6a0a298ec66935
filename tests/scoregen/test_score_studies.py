"""The 1-D studies end to end at smoke size: members alone and together, stopping, resuming, what the rows say."""

import dataclasses

import pytest
import torch

import infolab.training as training_module
from infolab.errors import InterruptedRunError
from infolab.noise import generator
from infolab.results import read
from infolab.sweep import run_sweep
from infolab.toy import two_modes
from scoregen import capacity, features, mixture, samples
from scoregen.batch import NetworkBatch
from scoregen.capacity import CapacityConfig
from scoregen.mixture import SWEEPS, MixtureConfig


class Board:
    """Stands in for TensorBoard, whose import takes longer than these tests."""

    def __init__(self, run, step):
        pass

    def scalars(self, step, losses):
        pass

    def rows(self, step, rows):
        pass

    def close(self):
        pass


@pytest.fixture(autouse=True, scope="module")
def _no_tensorboard():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_module, "_Board", Board)
        yield


def inside(folder, config, **changes):
    return dataclasses.replace(config, runs_dir=folder / "runs", results_dir=folder / "results", **changes)


SMALL = MixtureConfig(
    n=40, width=12, mu=(1.0, 3.0), seeds=(0, 5), epochs=30, evaluate_every=5, batch=16, lr=1e-2, density_epochs=(10, 30)
)


def run_small(folder, **changes):
    mixture.run_mixture("smoke", inside(folder, SMALL, **changes))
    return read(folder / "results", "scoregen/kl").sort_values(["mu", "seed", "epoch"], ignore_index=True)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    return run_small(folder), folder


def test_every_network_has_its_row_at_every_look(together):
    frame, folder = together
    assert len(frame) == 2 * 2 * 6
    assert not frame.duplicated(["mu", "seed", "epoch"]).any()
    assert set(frame.epoch) == {5, 10, 15, 20, 25, 30}
    assert (frame.normalisation - frame.mass_grid).abs().max() < 1e-3
    assert frame.time.tolist() == pytest.approx((frame.epoch * 3 * 1e-2).tolist())  # three steps an epoch
    densities = read(folder / "results", "scoregen/density")
    assert set(densities.epoch) == {10, 30}
    one = densities[(densities.mu == 3.0) & (densities.seed == 5) & (densities.epoch == 30)]
    row = frame[(frame.mu == 3.0) & (frame.seed == 5) & (frame.epoch == 30)].iloc[0]
    step = one.x.diff().median()
    assert float(one.density.sum() * step) == pytest.approx(row.normalisation, abs=2e-2)
    truth = two_modes(3.0).log_prob(torch.tensor(one.x.to_numpy())[:, None]).exp()
    assert one.target.to_numpy() == pytest.approx(truth.numpy(), rel=1e-6)


@pytest.mark.bits
def test_a_network_alone_gives_the_rows_it_gives_in_the_batch(together, tmp_path):
    frame, _ = together
    alone = run_small(tmp_path, mu=(3.0,), seeds=(5,))
    batch = frame[(frame.mu == 3.0) & (frame.seed == 5)].reset_index(drop=True)
    for column in ("kl_nats", "mass_right", "data_right", "normalisation"):
        assert alone[column].to_numpy() == pytest.approx(batch[column].to_numpy(), rel=1e-3, abs=1e-4)


def test_the_snapshots_are_the_weights_of_their_epochs():
    config = dataclasses.replace(SMALL, mu=(1.0,), epochs=30)
    batch = NetworkBatch(config, [(1.0, 0), (1.0, 5)], every=5, slots=2)
    optimizer, seen = batch.optimizer(), {}
    for step in range(12 * batch.per_epoch):
        if step % (5 * batch.per_epoch) == 0:
            seen[step // batch.per_epoch] = batch.model.networks.out.detach().clone()
        optimizer.zero_grad()
        batch.objective(step).sum().backward()
        optimizer.step()
    kept = batch.model.past([0, 1], [1])  # epochs 5 and 10 of the second network
    assert torch.equal(kept.out[0], seen[5][1])
    assert torch.equal(kept.out[1], seen[10][1])


def test_standard_scaling_with_sgd_diverges_and_says_so(tmp_path):
    changes = {"scaling": "standard", "optimizer": "sgd", "lr": 50.0, "width": 64, "density_epochs": ()}
    frame = run_small(tmp_path, **changes)
    last = frame[frame.epoch == 30]
    assert last.diverged.all()
    assert last.kl_nats.isna().all()
    assert last.data_right.notna().all()


@pytest.mark.parametrize("study", [mixture, capacity, samples, features])
def test_smoke_presets_run_and_are_then_finished(study, tmp_path, capsys):
    presets = {"quick": [inside(tmp_path, config) for config in study.SWEEPS["smoke"]]}
    experiment = dataclasses.replace(study.EXPERIMENT, presets=presets)
    run_sweep(experiment, [])
    capsys.readouterr()
    run_sweep(experiment, [])
    assert capsys.readouterr().err.count("finished already") == len(presets["quick"])


@pytest.mark.bits
def test_interrupted_runs_give_the_same_bits(together, tmp_path):
    _, folder = together
    config = inside(tmp_path, SMALL, max_minutes=1e-9)
    for _ in range(500):
        try:
            mixture.run_mixture("smoke", config)
            break
        except InterruptedRunError as stop:  # after a step at least
            config = dataclasses.replace(config, max_minutes=0.0 if "step 4" in str(stop) else 1e-9)
    (ours,) = (tmp_path / "results/scoregen/kl").glob("*.csv")
    (theirs,) = (folder / "results/scoregen/kl").glob("*.csv")
    assert ours.read_bytes() == theirs.read_bytes()


LOOKS = {0: [2.0, 0.3, 0.2, 0.3, 0.1], 1: [0.4, 0.3, 0.2, None, 0.05], 2: [0.05, 0.2, 0.3, 0.3, 0.3]}


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setattr(capacity, "EARLY", 20)
    config = CapacityConfig(n=20, width=2, epochs=50, check_every=10, threshold=0.25, batch=0)
    return capacity.CapacityTask(config, torch.device("cpu"))


def test_a_network_is_done_when_the_early_epoch_is_past_and_a_small_kl_was_seen(task):
    looks = [
        {"epoch": 10 * (i + 1), "member": member, "kl_nats": kls[i]} for i in range(5) for member, kls in LOOKS.items()
    ]
    assert task._unfinished(looks[:6]) == [0, 1]  # the third had its small one before the early epoch
    assert task._unfinished(looks[:9]) == []
    assert task.epochs_trained(looks) == [30, 30, 20]
    rows = task.rows(looks)
    assert [row.first_epoch_below for row in rows] == [30, 30, 10]
    assert [row.kl_least for row in rows] == [0.2, 0.2, 0.05]


def test_a_network_that_never_gets_there_has_an_empty_cell(task):
    looks = [{"epoch": 10 * (i + 1), "member": m, "kl_nats": 0.5 + m} for i in range(5) for m in range(3)]
    assert task._unfinished(looks) == [0, 1, 2]
    assert [row.first_epoch_below for row in task.rows(looks)] == [None] * 3
    assert [row.epoch for row in task.rows(looks)] == [50] * 3


def test_capacity_stops_early_and_counts_the_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity, "EARLY", 20)
    config = inside(
        tmp_path, CapacityConfig(n=50, width=16, seeds=(0, 1), epochs=400, check_every=10, threshold=2.5, lr=1e-2)
    )
    capacity.run_capacity("smoke", config)
    frame = read(tmp_path / "results", "scoregen/capacity")
    assert len(frame) == 2
    assert (frame.kl_least <= 2.5).all()
    assert (frame.epoch == frame.first_epoch_below.clip(lower=20)).all()
    assert (frame.epoch < 400).all()


def test_the_published_settings():
    paper = SWEEPS["paper"]
    assert {(c.optimizer, c.lr) for c in paper if c.network == "swish"} == {("adam", 1e-3), ("sgd", 0.5)}
    dynamics = [c for c in paper if c.sweep == "dynamics" and c.network == "swish" and c.scaling == "sqrt"]
    assert all(c.n == 1000 and c.epochs == 2000 for c in dynamics)
    assert {c.batch for c in dynamics if c.optimizer == "sgd"} == {0, 100, 500}
    assert any(c.density_epochs == (100, 1000, 1900) and c.mu == (15.0,) for c in paper)
    assert next(c for c in paper if c.sweep == "distance").mu == tuple(range(1, 16))
    widths = [c.width for c in capacity.SWEEPS["paper"]]
    assert widths == [2**k for k in range(1, 12)]
    assert all(c.epochs == 10_000 and c.threshold == 0.1 and c.check_every == 50 for c in capacity.SWEEPS["paper"])
    assert [c.n for c in features.SWEEPS["paper"] if c.m_is_n] == [2**k for k in range(5, 15)]
    for study in (mixture, capacity, samples, features):
        for configs in study.SWEEPS.values():
            for config in configs:
                config.check()


def test_training_points_are_a_function_of_the_seed_alone():
    batch = NetworkBatch(SMALL, [(1.0, 0), (3.0, 5)], every=5, slots=1)
    assert torch.equal(batch.data[1], two_modes(3.0).sample(40, generator(5, "train", 40)))


def test_costs_grow_with_the_work():
    for study, config in ((mixture, SMALL), (capacity, CapacityConfig(width=8))):
        assert (
            study.cost(dataclasses.replace(config, epochs=60)).flops
            > study.cost(dataclasses.replace(config, epochs=30)).flops
        )
    model = NetworkBatch(SMALL, [(1.0, 0), (3.0, 5)], every=5, slots=1).model
    two = dataclasses.replace(SMALL, mu=(1.0,))
    assert mixture.cost(two).parameters == sum(item.numel() for item in model.parameters())
