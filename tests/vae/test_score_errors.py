"""The error of a mean score against the spread over simulated grids of known structure, many at a time."""

from pathlib import Path

import numpy as np
import pytest

from infolab.memorization import IMAGES, IMAGES_AND_NETWORKS, MeanErrors, ScoreSums, over_images, partitions
from infolab.results import read_arrays
from vae.objective import fold_of

ROOT = Path(__file__).resolve().parents[2]
GRIDS, K, N = 1000, 10, 100
STRUCTURES = {  # standard deviations: level of a network, memorization of an image, of a network, network x fold, noise
    "noise": (0.0, 0.5, 0.0, 0.0, 0.3),
    "levels of the networks": (0.4, 0.4, 0.0, 0.0, 0.3),
    "networks x folds": (0.3, 0.2, 0.0, 0.3, 0.3),
    "memorization by the network": (0.3, 0.2, 0.3, 0.0, 0.3),
}


def grids(L, level, of_image, of_network, crossed, noise, K=K, seed=0):
    """The mean score of each of `GRIDS` grids (all L repeats together), its error, and the one over images alone.

    log p_k(x_i) = a_i + b_k + c_{k, fold(i)} + noise + [i inside k] (0.5 + m_i + u_k).
    """
    source = np.random.default_rng([L, seed])
    image, memory = 3 * source.normal(size=(GRIDS, N)), 0.5 + of_image * source.normal(size=(GRIDS, N))
    errors, sums = MeanErrors(N, GRIDS), ScoreSums(N, (GRIDS,))
    for _ in range(L):
        fold = source.permutation(N) % K
        inside = (fold != np.arange(K)[:, None])[:, None, :]
        logpx = image + level * source.normal(size=(K, GRIDS, 1)) + noise * source.normal(size=(K, GRIDS, N))
        logpx += crossed * source.normal(size=(K, GRIDS, K))[:, :, fold]
        logpx += (memory + of_network * source.normal(size=(K, GRIDS, 1))) * inside
        errors.add(logpx, fold)
        for network, own in zip(logpx, inside[:, 0], strict=True):
            sums.add(network, own)
    score = sums.scores().score
    return score.mean(1), errors.found(), [over_images(row) for row in score]


# 1,000 grids: a coverage of 0.95 is known to 0.007, four errors are 0.028; the jackknife's own excess, 1/K of the
# variance of networks x folds at most, allows one point more above.
@pytest.mark.parametrize("L", [1, 2, 4])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_intervals_of_the_mean_cover_at_their_level(structure, L):
    means, errors, images = grids(L, *STRUCTURES[structure])
    off = np.abs(means - means.mean())
    assert 0.922 < np.mean(off < [error.half for error in errors]) < 0.985
    assert {error.over for error in errors} == {IMAGES_AND_NETWORKS}
    # The spread of 1,000 is known to 2.2%, the mean variance of 9 degrees of freedom to 1.5%; bias of the jackknife.
    assert np.sqrt(np.mean([error.se**2 for error in errors])) == pytest.approx(means.std(), rel=0.1)
    if structure in ("networks x folds", "memorization by the network") and L < 4:
        assert np.mean(off < [error.half for error in images]) < 0.9  # images alone say too little


def test_levels_far_apart_skew_the_mean_of_one_repeat():
    """The log of a mean follows the best networks: T moves with the variance of levels 1 nat apart, as chi-square."""
    means, errors, _ = grids(1, 1.0, 0.5, 0.0, 0.0, 0.3)
    assert 0.84 < np.mean(np.abs(means - means.mean()) < [error.half for error in errors]) < 0.93
    assert np.sqrt(np.mean([error.se**2 for error in errors])) == pytest.approx(means.std(), rel=0.15)
    means, errors, _ = grids(4, 1.0, 0.5, 0.0, 0.0, 0.3)  # the log of a mean over four varies less than four logs
    assert np.mean(np.abs(means - means.mean()) < [error.half for error in errors]) > 0.95


def test_a_level_of_a_network_moves_no_error_of_one_repeat():
    """A level moves the mean score and its error by the shares that log of a mean gives the better networks alone."""
    source = np.random.default_rng(0)
    fold, logpx = np.arange(N) % K, source.normal(size=(K, 1, N))
    for scale in (0.0, 1e-3):
        errors = MeanErrors(N)
        errors.add(logpx + scale * source.normal(size=(K, 1, 1)), fold)
        (found,) = errors.found()
        if not scale:
            without = found.se
    assert found.se == pytest.approx(without, rel=1e-3)  # the sums over folds move by 1e-3 of 0.1, this by its square


def test_halves_with_their_complements_have_the_spread_over_repeats():
    means, errors, _ = grids(4, 0.3, 0.2, 0.3, 0.0, 0.3, K=2)
    assert 0.922 < np.mean(np.abs(means - means.mean()) < [error.half for error in errors]) < 0.985


def test_two_folds_and_one_repeat_have_an_error_over_images_that_says_so():
    _, errors, images = grids(1, 0.3, 0.2, 0.3, 0.0, 0.3, K=2)
    assert errors == images
    assert errors[0].over == IMAGES
    assert "over images only" in str(errors[0])
    assert np.isnan(over_images(np.ones(1)).se)


def test_folds_of_one_image_are_the_jackknife_over_images():
    """Leave-one-out with networks that are alike: s / sqrt(n), as a mean of n scores has it."""
    n, source = 40, np.random.default_rng(1)
    image, memory = source.normal(size=n), source.exponential(size=n)
    logpx = image - memory * np.eye(n)  # network k lacks image k only
    errors = MeanErrors(n)
    errors.add(logpx[:, None, :], np.arange(n))
    assert errors.found()[0].se == pytest.approx(memory.std(ddof=1) / n**0.5, rel=1e-9)


def test_runs_are_sorted_into_their_repeats():
    source = np.random.default_rng(2)
    folds = [source.permutation(60) % 5 for _ in range(3)]
    outside = np.array([folds[r] == k for k in range(5) for r in range(3)])  # repeats take turns
    found = partitions(outside)
    assert [runs for runs, _ in found] == [[3 * k + r for k in range(5)] for r in range(3)]
    for (_, fold), expected in zip(found, folds, strict=True):
        assert (fold == expected).all()
    assert partitions(outside[:-1]) is None
    assert partitions(source.random((8, 60)) < 0.5) is None  # random halves


def test_the_errors_that_the_readmes_quote_are_those_of_the_reference():
    """5.3 +- 0.1 and 19.8 +- 0.4 nats on 6,000 images of Fashion-MNIST, from the log p(x) of its ten networks."""
    (arrays,) = (
        arrays
        for provenance, arrays in read_arrays(ROOT / "results" / "reference", "vae", "cv")
        if provenance["config"]["dataset"] == "fashion-mnist"
    )
    order = np.argsort(arrays["folds"])
    errors = MeanErrors(6000, len(arrays["epochs"]))
    errors.add(arrays["train_logpx"][order], fold_of(6000, 10, 42, 0).numpy())
    found = dict(zip(arrays["epochs"].tolist(), errors.found(), strict=True))
    assert f"mean score 5.3 nats at epoch 10, 19.8 ± {found[50].se:.1f} at 50" in (ROOT / "RESULTS.md").read_text()
    words = " ".join((ROOT / "vae" / "RESULTS.md").read_text().split())
    assert f"from 5.3 ± {found[10].se:.1f} nats (epoch 10) to 19.8 ± {found[50].se:.1f} (epoch 50)" in words
