"""T by gradient and by search, end to end at a small size: agreement, rows, going on after a kill, bad settings."""

import dataclasses
from unittest.mock import MagicMock

import pytest
import torch

import infolab.training as training_module
from diffusion import choose_T, toy
from diffusion.bound_in_T import BoundInT
from diffusion.choose_T import (
    SWEEPS,
    ChooseTConfig,
    SharedNetworks,
    SharedObjective,
    choose,
    cost,
    last,
    measurer,
    run_choice,
)
from diffusion.penalty import PenalisedLoss
from diffusion.toy import PAPER_T
from infolab.config import run_id
from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.noise import generator
from infolab.results import read
from infolab.runs import Run
from infolab.schedules import VP
from infolab.storage import unkept

SMALL = ChooseTConfig(
    m=12, T=(0.4, 1.0, 2.0), seeds=(0, 3), epochs=120, evaluate_every=60, sde_steps=10, test_points=20, hidden=16,
    mi_draws=2, ode_tolerance=1e-2, T_every=4, norm_every=45, paths=16, T_tolerance=0.02, penalty_weights=(0.0, 0.1),
    checkpoint_seconds=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _no_tensorboard():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_module, "_Board", MagicMock())
        yield


def config_in(folder, base=SMALL, **changes):
    return dataclasses.replace(base, runs_dir=folder / "runs", results_dir=folder / "results", **changes)


def csv_of(folder):
    (path,) = (folder / "results/diffusion/toy_choice").glob("*.csv")
    return path.read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    run_choice("smoke", config_in(folder))
    return read(folder / "results", "diffusion/toy_choice"), csv_of(folder)


def test_every_rule_has_its_rows(unbroken):
    frame, _ = unbroken
    shared, own = (frame[frame.network == name] for name in ("shared", "own"))
    assert shared.groupby("rule").size().to_dict() == {"gradient": 2 * 2, "scan": 3 * 2, "search": 2}
    assert set(shared.variant) == {"published"}
    assert set(shared.step_rule) == {"fixed_number"}
    assert set(shared[shared.rule == "gradient"].epoch) == {60, 120}
    # Two step rules and two variants of each network, under two weights.
    assert own.groupby("rule").size().to_dict() == {"gradient": 2 * 8, "search": 2 * 8, "grid": 3 * 2 * 8}
    assert own.groupby("penalty_weight").size().to_dict() == {0.0: 10 * 4, 0.1: 10 * 4}
    assert frame.T_given.isna().equals(frame.rule.isin(["gradient", "search"]))
    assert own.kl_test_nats.notna().all()
    for rule in ("gradient", "search"):  # networks of their own stand at the T that was chosen for their seed
        for seed in (0, 3):
            chosen = shared[(shared.rule == rule) & (shared.seed == seed) & (shared.epoch == 120)]["T"].item()
            assert set(own[(own.rule == rule) & (own.seed == seed)]["T"]) == {chosen}


def test_the_searched_T_has_the_least_bound_that_was_seen(unbroken):
    frame, _ = unbroken
    for _, rows in frame[(frame.network == "shared") & (frame.epoch == 120)].groupby("seed"):
        assert rows[rows.rule == "search"].bound_nats.item() <= rows[rows.rule == "scan"].bound_nats.min()


def test_T_by_gradient_and_by_search_agree(tmp_path):
    config = config_in(
        tmp_path, seeds=(0, 1, 2), m=20, epochs=400, T_every=2, norm_every=100, T_lr=0.05, paths=64, T_tolerance=0.005,
        T=(0.2, 0.6, 1.0, 1.4, 2.0), sde_steps=20, checkpoint_seconds=60.0,
    )  # fmt: skip
    run = Run("diffusion", "choose_T", "smoke", config)
    with run.open():
        rows = choose(run, config)
    by_gradient, by_search = (torch.tensor([row.T for row in last(rows, rule)]) for rule in ("gradient", "search"))
    assert ((by_search > 0.2) & (by_search < 2.0)).all()
    assert float((by_gradient - by_search).mean().abs()) < 0.05
    assert float((by_gradient - by_search).abs().max()) < 0.1
    assert float((by_gradient - config.T_start).abs().min()) > 0.1  # it has moved


def kill_at_call(real, number):
    """`real`, which ends everything at its call of this number."""
    made = 0

    def call(*arguments):
        nonlocal made
        made += 1
        if made == number:
            raise KeyboardInterrupt
        return real(*arguments)

    return call


@pytest.mark.bits
@pytest.mark.parametrize(("owner", "name"), [(choose_T, "dsm_loss"), (PenalisedLoss, "__call__")])
def test_a_run_that_is_killed_goes_on_to_the_same_numbers(tmp_path, monkeypatch, unbroken, owner, name):
    """Killed while the shared networks, or while those of their own are trained: L is as old as it was, too."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill_at_call(getattr(owner, name), 85))
        with pytest.raises(KeyboardInterrupt):
            run_choice("smoke", config_in(tmp_path))
    assert list((tmp_path / "runs").rglob("checkpoint-*"))  # which steps they are of depends on the machine's speed
    assert not (tmp_path / "results/diffusion/toy_choice").exists()
    run_choice("smoke", config_in(tmp_path))
    assert csv_of(tmp_path) == unbroken[1]


def test_the_bound_moves_T_alone_and_score_matching_the_weights_alone(tmp_path):
    model = SharedNetworks(SMALL)
    run = config_in(tmp_path)
    data = toy.training_data(run, [0, 3])
    bound = choose_T.BoundInT(data, [0, 3], model.schedule, R=5.0, steps=10, paths=16)
    objective = SharedObjective(run, model, bound, torch.optim.Adam([{"params": [model.u]}, {"params": []}]))
    objective(0).sum().backward()
    gradients = [item.grad.clone() for item in model.network.parameters()]
    moved = model.u.grad.clone()
    model.zero_grad()
    toy.dsm_loss(model.network, objective.batches, 0).sum().backward()
    for found, parameter in zip(gradients, model.network.parameters(), strict=True):
        assert torch.equal(found, parameter.grad)
    assert model.u.grad is None
    model.zero_grad()
    objective.bound_of_T(0).sum().backward()
    assert torch.equal(moved, model.u.grad)
    assert all(item.grad is None for item in model.network.parameters())
    with torch.no_grad():
        assert (measurer(run, model, bound, unkept)(model.T).nats > 0).all()


def test_presets():
    assert [config.seeds for config in SWEEPS["paper"]] == [(0,), (1,), (2,), (3,), (4,)]
    for configs in SWEEPS.values():
        for config in configs:
            config.check()
            assert cost(config).flops > 0
        assert len({run_id(config) for config in configs}) == len(configs)
    paper = SWEEPS["paper"][0]
    assert (paper.T, paper.m, paper.epochs, paper.sde_steps, paper.R) == (PAPER_T, 200, 10_000, 1000, 5.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"T": (1.0,)}, "--T needs two values at least"),
        ({"T_start": 2.0}, "--T-start must lie between"),
        ({"T_every": 0}, "--T-every must be at least 1"),
        ({"T_lr": 0.0}, "--T-lr must be positive"),
        ({"penalty_weights": (-1.0,)}, "penalty weights must be 0 or more"),
    ],
)
def test_settings_that_cannot_run_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMALL, **changes).check()


def test_the_bound_of_networks_on_a_gpu_is_added_up_on_the_cpu():
    data = torch.randn(2, 6, 2, generator=generator(0))

    def terms(data):
        bound = BoundInT(data, [0, 1], VP(), R=1.0, steps=4, paths=3)
        T = torch.ones(2, dtype=torch.float64)
        model = Denoiser.of_score(lambda x, t: -x, VP())
        norm = bound.norm_near(model, T, 1.0)
        return bound.terms(model, T, norm.at(T), "there", draws=2, points=6, replicates=2)

    found = terms(data.to("emulated"))
    assert found.nats.device == torch.device("cpu")
    torch.testing.assert_close(found.nats, terms(data).nats)
