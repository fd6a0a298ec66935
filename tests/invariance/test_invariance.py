"""Scale, shift, permutation and copies of the data move every instrument by what theory says, and by nothing else."""

import inspect
from importlib import import_module

import image_rows
import likelihood_rows
import metric_rows
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from instrument import KINDS

from infolab import metrics
from infolab.__main__ import COMMANDS

TABLE = (*metric_rows.ROWS, *likelihood_rows.ROWS, *image_rows.ROWS)
CASES = [
    pytest.param(row, kind, id=f"{row.name}, {kind}".replace(" ", "_"))
    for row in TABLE
    for kind in KINDS
    if callable(row.theory[kind])
]
AMOUNT = st.floats(-1, 1).filter(lambda amount: abs(amount) > 1e-3)
SEED = st.integers(0, 2**20)

MODULES = (
    "infolab.empirical", "infolab.mmd", "infolab.mixture", "infolab.baselines",
    "diffusion.toy_evaluate", "infolab.bound", "infolab.nll", "infolab.memorization",
    "vae.neighbours", "infolab.kl",
)  # fmt: skip
EMPIRICAL_STEPS = "by_differences cancels farthest middle product_rounding repair squares_of".split()
BOUND_PARTS = (
    "Bound ScoreLosses ScoreNorm kl_to_prior published_loss score_losses spread_noise term2 term3 term3_per_norm"
).split()
NO_ROW = {
    "infolab.mmd.named_kernel": "a kernel of the number of dimensions, fixed by definition",
    "infolab.baselines.log_normal_mass": "a function of numbers",
    "infolab.baselines.check_images": "a check",
    **{f"infolab.empirical.{name}": "a step of what has a row" for name in EMPIRICAL_STEPS},
    "diffusion.toy_evaluate.bound_row": "a row of the study",
    "diffusion.toy_evaluate.ToyEvaluation": "the study's evaluation",
    "diffusion.toy_evaluate.plug_in": "the score of an estimate that has a row",
    **{f"infolab.bound.{name}": "a part of the bound, of a score and data on one scale" for name in BOUND_PARTS},
    "infolab.nll.Measurement": "a record", "infolab.nll.Range": "a record",
    "infolab.nll.measure": "a part of nll_report",
    "infolab.bound.TermsConfig": "options", "infolab.bound.main": "the command of data_terms",
    "infolab.nll.main": "the command",
    "infolab.memorization.main": "the command",
    "infolab.memorization.ScoreOptions": "options", "infolab.memorization.score_file": "the command of score_table",
    "infolab.memorization.read_long": "reads a file",
    "vae.neighbours.sample_means": "draws from a model",
    "infolab.kl.KlConfig": "options", "infolab.kl.main": "the command of kl_to_mixture",
    "infolab.metrics.Extractor": "a network", "infolab.metrics.SmallNetwork": "a network",
    "infolab.metrics.extract": "images in, features out",
    "infolab.metrics.Features": "an array with a name",
    "infolab.metrics.load_extractor": "reads a file", "infolab.metrics.load_moments": "reads a file",
    "infolab.metrics.save_moments": "writes a file", "infolab.metrics.network_name": "a name",
    "infolab.metrics.train_extractor": "trains a network", "infolab metrics features": "the same",
    "infolab.metrics.Measured": "a record",
    "infolab.metrics.information": "infolab.mi, which reads ranks and has tests of its own",
    "infolab metrics information": "the same", "infolab mi": "the same",
    "infolab ode": "another path of nll, with tests of its own",
    "infolab data": "no instrument", "infolab calibrate": "takes no data",
}  # fmt: skip


@pytest.mark.parametrize(("row", "kind"), CASES)
@settings(max_examples=1, derandomize=True, deadline=None, database=None)
@given(seed=SEED, amount=AMOUNT)
@example(seed=1, amount=1.0)
@example(seed=2, amount=-1.0)
def test_only_what_theory_says(row, kind, seed, amount):
    row.check(kind, seed, amount)


@pytest.mark.slow
@pytest.mark.parametrize(("row", "kind"), CASES)
@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(seed=SEED, amount=AMOUNT)
def test_only_what_theory_says_of_many(row, kind, seed, amount):
    row.check(kind, seed, amount)


def test_a_value_that_moves_is_seen():
    """The check itself: a row of another theory fails."""
    fid = next(row for row in TABLE if row.name == "FID of moments")
    wrong = {**fid.theory, "scale": lambda before, _, after: before.values * after.unit**2 * (1 + 1e-9)}
    with pytest.raises(AssertionError, match="FID of moments, scale by 1"):
        type(fid)(**{**vars(fid), "theory": wrong}).check("scale", 1, 1.0)


def public_names():
    """Functions and classes of the modules of instruments, metrics by their package, and the commands."""
    names = {f"infolab.metrics.{name}" for name in metrics.__all__ if callable(getattr(metrics, name))}
    for place in MODULES:
        for name, item in inspect.getmembers(import_module(place)):
            if getattr(item, "__module__", "") == place and not name.startswith("_") and callable(item):
                names.add(f"{place}.{name}")
    commands = {f"infolab {name}" for name in COMMANDS} - {"infolab metrics"}
    return names | commands | {f"infolab metrics {name}" for name in import_module("infolab.metrics.commands").COMMANDS}


def test_every_instrument_has_a_row():
    covered = [name for row in TABLE for name in row.covers]
    assert len(covered) == len(set(covered))
    assert not set(covered) & set(NO_ROW)
    names = public_names()
    assert names - set(covered) - set(NO_ROW) == set(), "give it a row in tests/invariance, or a reason in NO_ROW"
    elsewhere = {"infolab.immse.GaussianReference"}  # of a package whose other names are not instruments of their own
    assert (set(covered) | set(NO_ROW)) - names - elsewhere == set(), "not public any more"


def test_every_row_says_something_of_every_kind():
    for row in TABLE:
        assert set(row.theory) == set(KINDS), row.name
        assert all(callable(theory) or len(theory) > 5 for theory in row.theory.values()), row.name
        assert bool(row.limits) == bool(row.why_limits), row.name
