"""The penalty studies end to end at smoke size: their rows, what weight 0 is, and what a weight does."""

import dataclasses
from unittest.mock import MagicMock

import pandas as pd
import pytest

import infolab.training as training_module
from diffusion import digits, penalty_digits, penalty_toy
from diffusion.image import run_image
from diffusion.penalty_toy import PenaltyToyConfig
from diffusion.toy import ToyConfig, run_toy
from infolab.config import run_id
from infolab.errors import UserError
from infolab.results import read

SMALL = {
    "m": 12, "T": (0.6,), "seeds": (0, 3), "epochs": 150, "batch": 12, "sde_steps": 10, "test_points": 30, "hidden": 16,
    "mi_draws": 2, "ode_tolerance": 1e-3,
}  # fmt: skip
KEYS = ["seed", "step_rule", "variant"]


@pytest.fixture(autouse=True, scope="module")
def _no_tensorboard():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_module, "_Board", MagicMock())
        yield


def folders(folder):
    return {"runs_dir": folder / "runs", "results_dir": folder / "results"}


@pytest.fixture(scope="module")
def toy_rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    config = PenaltyToyConfig(**SMALL, penalty_weights=(0.0, 0.1, 1.0), strata=4, **folders(folder))
    penalty_toy.run_penalty("smoke", config)
    return read(folder / "results", "diffusion/toy_penalty")


def test_toy_rows(toy_rows):
    assert toy_rows.groupby("penalty_weight").size().to_dict() == {0.0: 8, 0.1: 8, 1.0: 8}
    assert set(toy_rows.strata) == {4}
    published = toy_rows[(toy_rows.variant == "published") & (toy_rows.step_rule == "fixed_number")]
    means = published.groupby("penalty_weight")[["score_norm", "score_loss_nats"]].mean()
    assert means.score_norm.is_monotonic_decreasing  # what is penalised becomes smaller,
    assert means.score_loss_nats.is_monotonic_increasing  # at the cost of the score matching


@pytest.mark.bits
def test_weight_0_is_the_toy_study(toy_rows, tmp_path):
    run_toy("smoke", ToyConfig(**SMALL, **folders(tmp_path)))
    plain = read(tmp_path / "results", "diffusion/toy_bound").sort_values(KEYS, ignore_index=True)
    found = toy_rows[toy_rows.penalty_weight == 0].sort_values(KEYS, ignore_index=True)[plain.columns]
    # Networks are evaluated in batches: sums in another order, and the ODE solver's steps are chosen for all together.
    pd.testing.assert_frame_equal(found, plain, rtol=2e-3, atol=2e-4)


@pytest.mark.bits
def test_digits_rows_and_weight_0(tmp_path, monkeypatch):
    for config in penalty_digits.SWEEPS["smoke"]:
        penalty_digits.run_penalty("smoke", dataclasses.replace(config, **folders(tmp_path)))
    frame = read(tmp_path / "results", "diffusion/image_penalty")
    assert frame.groupby("penalty_weight").size().to_dict() == {0.0: 4, 1e-5: 4}
    assert not (tmp_path / "results/diffusion/images").exists()
    first = penalty_digits.SWEEPS["smoke"][0]
    (base,) = [config for config in digits.SWEEPS["smoke"] if config.m == first.m]
    run_image("smoke", dataclasses.replace(base, T=first.T, **folders(tmp_path)))
    plain = read(tmp_path / "results", "diffusion/image_bound").sort_values(KEYS, ignore_index=True)
    found = frame[frame.penalty_weight == 0].sort_values(KEYS, ignore_index=True)[plain.columns]
    pd.testing.assert_frame_equal(found, plain, rtol=1e-6)


def test_presets():
    for module in (penalty_toy, penalty_digits):
        for configs in module.SWEEPS.values():
            assert len({run_id(config) for config in configs}) == len(configs)
            for config in configs:
                config.check()
                assert module.EXPERIMENT.cost(config).flops > 0
    for preset in ("quick", "paper"):
        for config in penalty_toy.SWEEPS[preset]:
            assert len(config.penalty_weights) == 5
            assert (min(config.penalty_weights), max(config.penalty_weights)) == (0.0, 1.0)
            assert len(config.seeds) == 5
        weights = {config.penalty_weight for config in penalty_digits.SWEEPS[preset]}
        assert len(weights) == 5
        assert (min(weights), max(weights)) == (0.0, 1.0)
    assert {config.split for config in penalty_digits.SWEEPS["paper"]} == {"few_shot", "full"}


def test_settings_that_cannot_run_are_refused():
    for config in (PenaltyToyConfig(), penalty_digits.PenaltyImageConfig()):
        with pytest.raises(UserError, match="--strata must be at least 1"):
            dataclasses.replace(config, strata=0).check()
    with pytest.raises(UserError, match="penalty weights must be 0 or more"):
        PenaltyToyConfig(penalty_weights=(-1.0,)).check()
    with pytest.raises(UserError, match="penalty weights must be 0 or more"):
        penalty_digits.PenaltyImageConfig(penalty_weight=-1.0).check()
