"""Mutual information of paired examples from conditional and unconditional denoising errors, cross-fitted."""

import dataclasses
import time

import numpy as np
import torch

from infolab.errors import UserError
from infolab.mi import categorical
from infolab.mi.denoiser import Conditioned, Head, Levels, train_denoiser, train_head
from infolab.mi.few import METHOD as FEW
from infolab.mi.few import least_pairs, of_few_pairs
from infolab.mi.integrate import (
    LABEL_STEPS_PER_MINUTE,
    Measured,
    evaluations,
    find_trust,
    integrate,
    steps_within,
    summary,
    unseen,
)
from infolab.mi.pairs import Pairs, copies, make_halves, split
from infolab.mi.settings import LEAST_EXAMPLES, Information, Settings, examples
from infolab.mi.sides import (
    block_halves,
    block_numbers,
    dependence_warning,
    fit_gaussianiser,
    spread_ties,
    varying,
    widened,
)
from infolab.noise import derive

LOWEST_LOGSNR, BEYOND = -6.0, 10.0
"""Log-SNR runs from LOWEST_LOGSNR to BEYOND nats above that of the smallest conditional scale (its 2% quantile)."""
COPIES = "all copies of a pair count as one draw, in the halves and in the error"
FIT_SHARE = 3
"""Seen pairs are evaluated at a third of the log-SNRs."""

Parts = tuple[np.ndarray, np.ndarray]


def mutual_information(
    x: np.ndarray, y: np.ndarray, settings: Settings | None = None, device: torch.device | str = "cpu"
) -> Information:
    """I(x; y) = 1/2 Int (mse_x(a) - mse_x|y(a)) da of pairs (x_i, y_i), in nats (Guo, Shamai, Verdu 2005).

    mse(a) is the error E|eps - eps_hat|^2 of denoising x at log-SNR a without and with y. Networks are trained on one
    half of the pairs and evaluated on the other, and back. The value is a mean over pairs of

        log N(x; m(y), s(y)^2) - log N(x; 0, I) + gain with y - gain without y,

    where the Gaussians' own denoisers are the control variate (their integral is the first difference in closed form)
    and a gain is 1/2 Int of how much smaller the error of the learned denoiser is than the Gaussian's. In expectation
    it is I(x; y) + (excess of the unconditional denoiser) - (excess of the conditional one). Invertible maps of
    either side (Gaussianisation, whitening), which do not change I, are fitted on the training half.

    The orthogonal form is 1/2 Int E|eps_hat(z, y) - eps_hat(z)|^2 da, never negative and so biased upward; what it
    reads when y is permuted (everything trained again) is subtracted.

    A class label is noised in closed form (`infolab.mi.categorical`), few pairs have their Gaussian part alone
    (`infolab.mi.few`), and ties on the noised side are spread (`infolab.mi.sides`). What makes a value doubtful (few
    pairs, copies, rows that depend on each other) is in `Information.warnings`.

    Args:
        x: examples first, (n,) or (n, ...), numbers.
        y: the same n examples of the other side.
        settings: default: Settings().
        device: where networks are trained and evaluated, in float32; maps are fitted, and noise is drawn, on the CPU.

    Raises:
        UserError: shapes, values or settings that cannot be used, or a class label in few pairs.
        RunFailedError: the value is not finite, as one side determines the other.
    """
    settings = settings or Settings()
    settings.check()
    started = time.perf_counter()
    x, y = examples("x", x), examples("y", y)
    if len(x) != len(y):
        raise UserError(f"x has {len(x)} examples and y {len(y)}: they must be pairs")
    noised, given, names = arrange(x, y)
    copied = _copied(noised, given)
    distinct = int(copied.max()) + 1
    said = _warnings(x, y, distinct, settings)
    coordinates = len(varying(x)), len(varying(y))
    if 0 not in coordinates and distinct < least_pairs(sum(coordinates)):
        estimate, more = of_few_pairs(noised, given, names, copied, settings)
        found = Measured(torch.empty(2, 0), FEW, parts_nats={"gaussian": estimate.value})
        said += more
    else:
        draws = block_numbers(len(x), settings.blocks) if settings.blocks else copied
        halves = block_halves(draws) if settings.blocks else split(copied, derive(settings.seed, "mi", "halves"))
        left = max(settings.minutes - (time.perf_counter() - started) / 60, 1e-3) if settings.minutes else 0.0
        timed = dataclasses.replace(settings, minutes=left)
        found = _cross_fitted(noised, given, halves, copied, (settings.blocks or distinct) // 2, timed, device)
        wider = widened(settings.blocks) if settings.blocks else 1.0
        estimate = summary(found, draws[np.stack(halves[::-1])], x.shape[1] + y.shape[1], wider)
    return Information(
        estimate=estimate,
        method=f"{found.method}, {names[0]} noised",
        maps=found.maps,
        steps=found.steps,
        seconds=time.perf_counter() - started,
        parts_nats=found.parts_nats,
        warnings=tuple(said),
    )


def arrange(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Which side is noised: (noised, given, their names); the same side in either order, but for ties, where it is x.

    A label before numbers, then the side with fewer coordinates that vary, then the one whose Gaussianised coordinates
    have the fourth moments nearest to a Gaussian's (its unconditional denoiser is nearest to linear).
    """

    def kind(side: np.ndarray) -> tuple[bool, int]:
        return not categorical.is_label(side), len(varying(side))

    def roughness(side: np.ndarray) -> float:
        white = fit_gaussianiser(side)(side)
        return float(np.abs((white**4).mean(0) - 3).mean())

    first, second = kind(x), kind(y)
    close = first == second and first[0] and first[1] > 0
    x_first = roughness(x) <= roughness(y) if close else first <= second
    return (x, y, ("x", "y")) if x_first else (y, x, ("y", "x"))


def _cross_fitted(
    noised: np.ndarray, given: np.ndarray, halves: Parts, copied: np.ndarray, draws: int, settings: Settings,
    device: torch.device | str,
) -> Measured:  # fmt: skip
    """The values of both halves, each worth so many independent `draws`."""
    if len(varying(noised)) == 0 or len(varying(given)) == 0:
        return Measured(torch.zeros(2, len(halves[0])), "a constant side")
    if categorical.is_label(noised):
        return _of_labels(noised, given, halves, draws, settings, device)
    noised = spread_ties(noised, np.random.default_rng(derive(settings.seed, "mi", "ties")), copied)
    measure = _above_floor if settings.form == "orthogonal" else _of_numbers
    return measure(noised, given, halves, draws, settings, device)


def _of_labels(
    x: np.ndarray, y: np.ndarray, halves: Parts, draws: int, settings: Settings, device: torch.device | str
) -> Measured:
    labels = np.unique(x, return_inverse=True)[1].reshape(-1)
    steps = settings.steps or max(int(settings.minutes * LABEL_STEPS_PER_MINUTE), 100)
    values, gap = categorical.pointwise_information(
        labels, y, halves, steps=steps, batch=max(settings.batch // 2, 1), lr=settings.lr, seed=settings.seed,
        device=device,
    )  # fmt: skip
    count = categorical.NETWORKS * values.numel()
    parts = {"log_loss_gain": float(values.mean()), "seen_in_training": float(values.mean()) + gap}
    features = len(np.unique(y)) - 1 if categorical.is_label(y) else len(varying(y))
    return Measured(
        values, "closed form of a label", gap, unseen(int(labels.max()), features, draws), steps=steps,
        evaluations=count, parts_nats=parts,
    )  # fmt: skip


def _of_numbers(
    x: np.ndarray, y: np.ndarray, parts: Parts, draws: int, settings: Settings, device: torch.device | str
) -> Measured:
    seed, batch, lr = settings.seed, settings.batch, settings.lr
    begun = time.perf_counter()
    halves = make_halves(x, y, parts, draws).to(device)
    steps = settings.steps or steps_within(settings, halves, begun)
    head = train_head(halves, steps=max(steps // 2, 1), batch=batch, lr=lr, seed=seed)
    train, validation, test = (condition(head, pairs) for pairs in (halves.train, halves.validation, halves.test))
    # Of 4,096 pairs: a quantile of tens of millions of numbers takes long.
    smallest = float(torch.quantile(train.scale[:, :4096, :64].log().flatten().cpu(), 0.02))
    levels = Levels(LOWEST_LOGSNR, BEYOND + max(0.0, -2 * smallest), device)
    model = train_denoiser(train, validation, levels, steps=steps, batch=batch, width=settings.width, lr=lr, seed=seed)
    trust = find_trust(model, validation, levels, 2 * settings.points, derive(seed, "trust"))
    gains = integrate(model, test, levels, trust, settings.points, derive(seed, "test"))
    known = integrate(model, train, levels, trust, max(settings.points // FIT_SHARE, 2), derive(seed, "train"))
    with torch.no_grad():
        gaussian = head.information(halves.test)
        fitted = float((head.information(halves.train) + known.given - known.dropped).mean())
    difference = gaussian + gains.given - gains.dropped
    return Measured(
        values=(difference if settings.form == "difference" else gains.squared).cpu(),
        method=settings.form,
        fit_gap=fitted - float(difference.mean()),
        resolution=unseen(halves.train.x.shape[-1], halves.train.y.shape[-1], draws),
        maps="; ".join(sorted(set(halves.maps))),
        steps=steps,
        evaluations=evaluations(model, 2 * len(halves.test), settings.points),
        parts_nats={
            "gaussian": float(gaussian.mean()),
            "gain_given": float(gains.given.mean()),
            "gain_dropped": float(gains.dropped.mean()),
            "squared": float(gains.squared.mean()),
            "seen_in_training": fitted,
        },
    )


def _above_floor(
    x: np.ndarray, y: np.ndarray, parts: Parts, draws: int, settings: Settings, device: torch.device | str
) -> Measured:
    """The orthogonal form minus what it reads where y is permuted within each half."""
    each = dataclasses.replace(settings, minutes=settings.minutes / 2)
    found = _of_numbers(x, y, parts, draws, each, device)
    rng = np.random.default_rng(derive(settings.seed, "mi", "floor"))
    shuffled = y.copy()
    for part in parts:
        shuffled[part] = y[rng.permutation(part)]
    floor = _of_numbers(x, shuffled, parts, draws, dataclasses.replace(each, steps=found.steps, minutes=0.0), device)
    return dataclasses.replace(
        found,
        values=found.values - floor.values.mean(),
        evaluations=found.evaluations + floor.evaluations,
        parts_nats={**found.parts_nats, "floor": float(floor.values.mean())},
    )


@torch.no_grad()
def condition(head: Head, pairs: Pairs) -> Conditioned:
    """Pairs with the head's moments."""
    mean, scale = head(pairs.y)
    return Conditioned(pairs, mean, scale)


def _copied(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which rows are copies of one pair (n,).

    Raises:
        UserError: too few pairs are distinct.
    """
    groups = copies(x, y, (categorical.is_label(x), categorical.is_label(y)))
    distinct = int(groups.max()) + 1
    if distinct < LEAST_EXAMPLES:
        raise UserError(
            f"x and y have {len(x)} examples but only {distinct} distinct pairs of them, the rest are copies: at least "
            f"{LEAST_EXAMPLES} are needed"
        )
    return groups


def _warnings(x: np.ndarray, y: np.ndarray, distinct: int, settings: Settings) -> list[str]:
    copied = "" if distinct == len(x) else f"{len(x) - distinct} of {len(x)} rows are copies of other pairs: {COPIES}"
    dependent = "" if settings.blocks else dependence_warning(x, y)
    return [sentence for sentence in (copied, dependent) if sentence]
