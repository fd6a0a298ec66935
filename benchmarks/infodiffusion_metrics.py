"""Rows of the speed table for metrics of codes: TAD, and the fast variant of DCI beside boosted trees."""

from collections.abc import Callable

import numpy as np

from benchmarks import reference_infodiffusion_metrics as plain
from benchmarks.timing import Duel, seconds
from infolab.metrics.codes import dci, tad

FACTOR_SIZES = (3, 4, 6)


def attributes_and_codes(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Attributes (n, k) with shares from 5% to 95%, and codes (n, d), the first ones leaning on an attribute each."""
    source = np.random.default_rng(0)
    attributes = (source.random((n, k)) < np.linspace(0.05, 0.95, k)).astype(np.int64)
    codes = source.normal(size=(n, d))
    told = min(d, k)
    codes[:, :told] += 2 * attributes[:, :told]
    return codes, attributes


def known_codes(n: int, d: int = 10) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Factors (n, 3), and codes (n, d) from disentangled to random: a permutation, a rotation of it, noise."""
    source = np.random.default_rng(0)
    factors = np.stack([source.integers(size, size=n) for size in FACTOR_SIZES], axis=1)
    standard = (factors - factors.mean(0)) / factors.std(0)
    noise = source.normal(size=(n, d))
    permuted = np.concatenate([standard[:, ::-1], noise[:, len(FACTOR_SIZES) :]], axis=1)
    rotation, _ = np.linalg.qr(source.normal(size=(d, d)))
    return factors, {"permuted": permuted, "rotated": permuted @ rotation, "random": noise}


def tad_row(n: int = 10_000, d: int = 32, k: int = 40, folds: int = 5) -> Duel:
    """TAD over five training folds; the reference runs one of them, its time times five."""
    codes, attributes = attributes_and_codes(n, d, k)
    kept = n - n // folds
    tad(codes[:200], attributes[:200])
    plain.tad(codes[:200, :2], attributes[:200, :2])
    return Duel(
        setting=f"{n:,} codes of {d} dimensions, {k} attributes, {folds} training folds; reference: 1 fold, time x "
        f"{folds}",
        unit="s",
        wanted=20,
        ours=lambda repeat: seconds(lambda: tad(codes, attributes, folds=folds)),
        reference=lambda repeat: folds * seconds(lambda: plain.tad(codes[:kept], attributes[:kept])),
        evaluations_ours=0,
        evaluations_reference=0,
    )


def dci_row(n: int = 500, d: int = 10) -> Duel:
    """DCI's importances by the forest against the published boosted trees, one factor after the other."""
    factors, codes = known_codes(n, d)
    rotated = codes["rotated"]
    kept = n - n // 5
    dci(rotated[:100], factors[:100], folds=1)

    def note() -> str:
        fast = [dci(one, factors, folds=1).disentanglement.value for one in codes.values()]
        slow = [plain.disentanglement(plain.importances(one[:kept], factors[:kept])) for one in codes.values()]
        shown = ("/".join(f"{value:.3f}" for value in side) for side in (fast, slow))
        return "Disentanglement of permuted/rotated/random codes: forest {}, boosted {}.".format(*shown)

    return Duel(
        setting=f"{n} codes of {d} dimensions, 80% to train, factors of {', '.join(map(str, FACTOR_SIZES))} values; "
        "ours: forest, reference: boosted trees",
        unit="s",
        wanted=5,
        ours=lambda repeat: seconds(lambda: dci(rotated, factors, folds=1, seed=repeat)),
        reference=lambda repeat: seconds(lambda: plain.importances(rotated[:kept], factors[:kept], repeat)),
        evaluations_ours=0,
        evaluations_reference=0,
        note=note,
    )


ROWS: dict[str, Callable[[], Duel]] = {"infodiffusion.tad": tad_row, "infodiffusion.dci_fast": dci_row}
