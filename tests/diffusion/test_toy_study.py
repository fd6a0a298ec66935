"""The 2-D study end to end at smoke size: members together and alone, skipping, forcing, what the rows say."""

import dataclasses
import json
import math

import pandas as pd
import pytest
import torch

from diffusion.tables import ToyBound
from diffusion.toy import EXPERIMENT, PAPER_M, PAPER_T, SWEEPS, ToyConfig, cost, run_toy, training_data
from diffusion.toy_evaluate import plug_in
from infolab.bound import term2, term3
from infolab.nn.mlp import EnsembleMLP
from infolab.results import read, read_arrays, table_of
from infolab.schedules import VP
from infolab.sweep import run_sweep

pytestmark = pytest.mark.usefixtures("no_tensorboard")

SMALL = ToyConfig(
    m=12, T=(0.4, 1.0), seeds=(0, 3), epochs=30, evaluate_every=15, batch=5, sde_steps=10, test_points=40, hidden=16,
    mi_draws=2, ode_tolerance=1e-5,
)  # fmt: skip


def config_in(folder, **changes):
    return dataclasses.replace(SMALL, runs_dir=folder / "runs", results_dir=folder / "results", **changes)


def run(folder, **changes):
    run_toy("smoke", config_in(folder, **changes))
    return read(folder / "results", "diffusion/toy_bound")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    return run(folder), folder


@pytest.mark.bits
@pytest.mark.parametrize(("T", "seed"), [(0.4, 3), (1.0, 0)])
def test_a_member_alone_gives_the_rows_it_gives_in_the_batch(together, tmp_path, T, seed):
    frame, _ = together
    batch = frame[(frame["T"] == T) & (frame.seed == seed)].reset_index(drop=True)
    alone = run(tmp_path, T=(T,), seeds=(seed,))
    order = ["epoch", "step_rule", "variant"]
    batch, alone = (one.sort_values(order, ignore_index=True) for one in (batch, alone))
    assert len(alone) == 8
    for column in table_of(ToyBound).columns:
        left, right = batch[column.name], alone[column.name]
        if column.type is not float:
            assert left.equals(right), column.name
        else:
            # Float32 sums in another order; the ODE solver chooses its steps for all members at once.
            pd.testing.assert_series_equal(left, right, rtol=2e-3, atol=2e-4)
    exact = ["term1", "term1_se", "term2", "kl_kde_floor_nats"]  # no network in them
    pd.testing.assert_frame_equal(batch[exact], alone[exact], rtol=1e-12, atol=0)


def test_every_setting_has_its_row(together):
    frame, _ = together
    keys = ["T", "seed", "epoch", "step_rule", "variant"]
    assert len(frame) == 2 * 2 * 2 * 2 * 2
    assert not frame.duplicated(keys).any()
    assert set(frame.epoch) == {15, 30}
    assert set(frame[frame["T"] == 0.4].sde_steps) == {10, 4}
    assert set(frame[frame["T"] == 1.0].sde_steps) == {10}


def test_rows_keep_their_own_identities(together):
    frame, _ = together
    total = frame.term1 + math.sqrt(2) * frame.R * (frame.term2 + frame.term3) + frame.score_loss_nats
    pd.testing.assert_series_equal(frame.bound_nats, total, check_names=False, rtol=1e-12)
    assert frame.term1.between(-math.log(12) - 1e-9, 4 * frame.term1_se).all()
    for _, row in frame.iterrows():
        L = term3(row.score_norm, row["T"], row.m, row.sde_steps, VP())
        assert row.term3 == pytest.approx(L, rel=1e-9)
    by_variant = frame.pivot_table(index=["T", "seed", "epoch", "step_rule"], columns="variant", values="score_norm")
    assert (by_variant.exact >= by_variant.published).all()
    data = training_data(SMALL, [3])
    alpha = VP().at(torch.tensor(0.4, dtype=torch.float64)).alpha
    row = frame[(frame["T"] == 0.4) & (frame.seed == 3)].iloc[0]
    assert row.term2 == pytest.approx(float(term2(data[0], alpha)), rel=1e-6)


def test_training_sets_are_a_function_of_the_seed_alone():
    both = training_data(SMALL, [3, 0])
    assert torch.equal(both[0], training_data(SMALL, [3])[0])
    assert not torch.equal(both[0], both[1])


def test_the_plug_in_score_divides_by_g():
    model = EnsembleMLP((3, 8, 2), [0, 1])
    x, t = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0)), torch.full((2, 5), 0.5)
    score, divergence = plug_in(model, VP()).score_and_divergence(x, t, VP())
    g = math.sqrt(0.1 + 19.9 * 0.5)
    torch.testing.assert_close(score, (model(x, t) / g).detach())
    torch.testing.assert_close(plug_in(model, VP()).score(x, t, VP()).detach(), score)
    torch.testing.assert_close(divergence, model.value_and_divergence(x, t)[1] / g)


def test_pictures_and_provenance_lie_beside_the_rows(together):
    frame, folder = together
    ((provenance, arrays),) = read_arrays(folder / "results", "diffusion", "toy")
    assert arrays["samples"].shape == (4, 40, 2)
    assert arrays["T"].tolist() == [0.4, 0.4, 1.0, 1.0]
    assert arrays["seed"].tolist() == [0, 3, 0, 3]
    (path,) = (folder / "results/diffusion/toy_bound").glob("*.json")
    record = json.loads(path.read_text())
    assert record["rows"] == len(frame)
    assert record["config"]["T"] == [0.4, 1.0]
    assert record["run_id"] == path.stem == provenance["run_id"]


@pytest.mark.bits
def test_a_finished_run_is_skipped_and_force_gives_the_same_bits(together, capsys):
    _, folder = together
    (path,) = (folder / "results/diffusion/toy_bound").glob("*.csv")
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    experiment = dataclasses.replace(EXPERIMENT, presets={"quick": [config_in(folder)]})
    run_sweep(experiment, [])
    assert "finished already (--force runs it again)" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == written
    run_sweep(experiment, ["--force"])
    assert path.stat().st_mtime_ns > written
    assert path.read_bytes() == before


def test_the_paper_sweep_is_the_published_one():
    paper = SWEEPS["paper"]
    assert paper[0].T == PAPER_T == (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    assert [config.m for config in paper[1:]] == list(PAPER_M) == [10, 100, 200, 600, 800, 1000, 2000]
    for config in paper:
        assert (config.epochs, config.sde_steps, config.hidden, config.R, len(config.seeds)) == (
            10_000,
            1000,
            128,
            5,
            5,
        )
    for configs in SWEEPS.values():
        for config in configs:
            config.check()


def test_the_cost_counts_the_parameters_of_all_networks():
    k = len(SMALL.T) * len(SMALL.seeds)
    model = EnsembleMLP((3, 16, 16, 16, 2), [0] * k)
    assert cost(SMALL).parameters == sum(item.numel() for item in model.parameters())
    assert cost(dataclasses.replace(SMALL, epochs=60, evaluate_every=30)).flops > cost(SMALL).flops
