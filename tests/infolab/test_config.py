"""The config: what enters the run id, presets and flags, and one sentence for every mistake."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from diffusion.toy import SWEEPS, ToyConfig
from infolab.config import RunConfig, describe, identity, not_in_id_at, parse, run_id
from infolab.errors import UserError

PRESETS = {"quick": ToyConfig(m=3), "smoke": ToyConfig(m=2)}


@dataclass(frozen=True)
class Small(RunConfig):
    """A config of this test."""

    m: int = 1
    switch: bool = False
    where: Path = Path("x")


def other_value(value):
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, value[0] + 17)
    return type(value)(f"{value}-other")


def parsed(*words, presets=PRESETS):
    return parse(presets, "python -m lab", words)


def field_names(of_identity):
    return [item.name for item in dataclasses.fields(ToyConfig) if item.metadata.get("in_id", True) == of_identity]


@pytest.mark.parametrize("name", field_names(True))
def test_every_setting_of_the_toy_study_enters_the_run_id(name):
    config = ToyConfig()
    changed = dataclasses.replace(config, **{name: other_value(getattr(config, name))})
    assert run_id(changed) != run_id(config)


@pytest.mark.parametrize("name", field_names(False))
def test_paths_and_devices_do_not_enter_the_run_id(name):
    config = ToyConfig()
    changed = dataclasses.replace(config, **{name: other_value(getattr(config, name))})
    assert run_id(changed) == run_id(config)


def test_only_the_common_fields_are_left_out_of_the_id():
    assert field_names(False) == [item.name for item in dataclasses.fields(RunConfig)]
    assert list(identity(ToyConfig())) == field_names(True)


def test_the_id_is_the_same_in_every_process_and_differs_between_scripts():
    # Written down once: an id that changes orphans every finished run.
    assert run_id(Small(m=5)) == "e28404d54838"
    twin = dataclasses.make_dataclass("Twin", [], bases=(Small,), frozen=True)
    assert identity(twin()) == identity(Small())
    assert run_id(twin()) != run_id(Small())


def test_a_setting_that_came_later_leaves_the_ids_of_older_runs():
    added = dataclasses.make_dataclass(
        "Small", [("late", bool, dataclasses.field(default=False, metadata=not_in_id_at(False)))], bases=(Small,),
        frozen=True,
    )  # fmt: skip
    assert run_id(added(m=5)) == run_id(Small(m=5))
    assert run_id(added(m=5, late=True)) != run_id(Small(m=5))
    assert identity(added(m=5))["late"] is False  # the record of a run says what it did


def test_ids_of_a_sweep_differ():
    for configs in SWEEPS.values():
        assert len({run_id(config) for config in configs}) == len(configs)


def test_presets_and_overrides():
    assert parsed() == ("quick", ToyConfig(m=3))
    assert parsed("smoke") == ("smoke", ToyConfig(m=2))
    words = ["--m", "7", "--T", "0.5", "1", "--seeds=4", "--runs-dir", "/elsewhere", "--force", "--sde_steps", "9"]
    assert parsed("smoke", *words)[1] == ToyConfig(
        m=7, T=(0.5, 1.0), seeds=(4,), runs_dir=Path("/elsewhere"), force=True, sde_steps=9
    )


def test_an_integer_for_a_number_is_the_same_run():
    assert run_id(parsed("--lr", "1")[1]) == run_id(parsed("--lr", "1.0")[1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fast"], "unknown preset 'fast': choose one of quick, smoke"),
        (["smoke", "--epocs", "3"], "unknown option '--epocs': did you mean --epochs?"),
        (["--zzz"], "unknown option '--zzz': python -m lab --help lists every option"),
        (["--m", "many"], "--m"),
        (["--lr", "fast"], "--lr"),
        (["--m"], "--m"),
        (["--m", "3", "4"], "4"),
        (["--force", "yes"], "yes"),
        (["-m", "5"], "-m"),
        (["--m", "8", "smoke"], "smoke"),
        (["--no-m"], "--no-m"),
    ],
)
def test_a_mistake_is_one_sentence_without_boxes(words, expected, capsys):
    with pytest.raises(UserError) as error:
        parsed(*words)
    message = str(error.value)
    assert expected in message
    assert message.isascii()
    assert "\n" not in message
    assert "  " not in message
    assert words[0] == "fast" or "python -m lab --help" in message
    assert capsys.readouterr() == ("", "")


def test_help_lists_every_field_with_its_default_and_exits_0(capsys):
    with pytest.raises(SystemExit) as stop:
        parsed("smoke", "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Presets: quick, smoke" in text
    for item in dataclasses.fields(ToyConfig):
        assert f"--{item.name.replace('_', '-')}" in text, item.name
    assert "default: 2)" in " ".join(text.split())


def test_describe_has_one_line_per_field():
    lines = describe(Small()).splitlines()
    assert len(lines) == len(dataclasses.fields(Small))
    assert "  m = 1" in lines
    assert "  where = x" in lines
