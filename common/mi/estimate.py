"""Mutual information of paired examples from conditional and unconditional denoising errors, cross-fitted."""

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.errors import RunFailedError, UserError
from common.estimate import Estimate
from common.mi import categorical
from common.mi.budget import LABEL_STEPS_PER_MINUTE, steps_within
from common.mi.denoiser import Conditioned, train_denoiser
from common.mi.head import Head, train_head
from common.mi.integrate import evaluations, find_trust, integrate
from common.mi.levels import Levels
from common.mi.pairs import Pairs, copies, make_halves, split
from common.mi.settings import Information, Settings
from common.mi.sides import fit_gaussianiser, spread_ties
from common.seeds import derive

LEAST_EXAMPLES = 40
SIZES = (1e-100, 1e100)
"""Least range of a coordinate that varies, and largest size of a number: beyond them moments leave double precision."""
LOWEST_LOGSNR, BEYOND = -6.0, 10.0
"""Log-SNR runs from LOWEST_LOGSNR to BEYOND nats above that of the smallest conditional scale (its 2% quantile)."""

FIT_SHARE = 3
"""Seen pairs are evaluated at a third of the log-SNRs."""

Parts = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """Pointwise values (2, n) of both halves, nats, and how they came about (see `Information`).

    `values[j]` are of the half that network j has not seen. `fit_gap` is what the same pairs read on average where the
    networks trained on them, minus `values`.
    """

    values: Tensor
    method: str
    fit_gap: float = 0.0
    maps: str = ""
    steps: int = 0
    evaluations: int = 0
    parts_nats: dict[str, float] = dataclasses.field(default_factory=dict)


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

    Args:
        x: examples first, (n,) or (n, ...), numbers.
        y: the same n examples of the other side.
        settings: default: Settings().
        device: where networks are trained and evaluated, in float32; maps are fitted, and noise is drawn, on the CPU.

    Raises:
        UserError: shapes, values or settings that cannot be used.
        RunFailedError: the value is not finite.
    """
    settings = settings or Settings()
    settings.check()
    started = time.perf_counter()
    x, y = _examples("x", x), _examples("y", y)
    if len(x) != len(y):
        raise UserError(f"x has {len(x)} examples and y {len(y)}: they must be pairs")
    noised, given, name = arrange(x, y)
    groups = _groups(noised, given)
    halves = split(groups, derive(settings.seed, "mi", "halves"))
    if np.ptp(noised, axis=0).max() == 0 or np.ptp(given, axis=0).max() == 0:
        found = Measured(torch.zeros(2, len(halves[0])), "a constant side")
    elif categorical.is_label(noised):
        found = _of_labels(noised, given, halves, settings, device)
    elif settings.form == "orthogonal":
        found = _above_floor(noised, given, halves, settings, device)
    else:
        found = _of_numbers(noised, given, halves, settings, device)
    return Information(
        estimate=_summary(found, groups[np.stack(halves[::-1])], x.shape[1] + y.shape[1]),
        method=f"{found.method}, {name} noised",
        maps=found.maps,
        steps=found.steps,
        seconds=time.perf_counter() - started,
        parts_nats=found.parts_nats,
    )


def arrange(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Which side is noised: (noised, given, "x" or "y"); the same side in either order, but for ties, where it is x.

    A label before numbers, then the side with fewer coordinates that vary, then the one whose Gaussianised coordinates
    have the fourth moments nearest to a Gaussian's (its unconditional denoiser is nearest to linear).
    """

    def rank(side: np.ndarray) -> tuple[bool, int, float]:
        varying = int((np.ptp(side, axis=0) > 0).sum())
        if categorical.is_label(side) or varying == 0:
            return (not categorical.is_label(side), varying, 0.0)
        white = fit_gaussianiser(side)(side)
        return (True, varying, float(np.abs((white**4).mean(0) - 3).mean()))

    return (x, y, "x") if rank(x) <= rank(y) else (y, x, "y")


def _of_labels(x: np.ndarray, y: np.ndarray, halves: Parts, settings: Settings, device: torch.device | str) -> Measured:
    labels = np.unique(x, return_inverse=True)[1].reshape(-1)
    steps = settings.steps or max(int(settings.minutes * LABEL_STEPS_PER_MINUTE), 100)
    values, gap = categorical.pointwise_information(
        labels, y, halves, steps=steps, batch=max(settings.batch // 2, 1), lr=settings.lr, seed=settings.seed,
        device=device,
    )  # fmt: skip
    count = categorical.NETWORKS * values.numel()
    parts = {"log_loss_gain": float(values.mean()), "seen_in_training": float(values.mean()) + gap}
    return Measured(values, "closed form of a label", gap, steps=steps, evaluations=count, parts_nats=parts)


def _of_numbers(x: np.ndarray, y: np.ndarray, parts: Parts, settings: Settings, device: torch.device | str) -> Measured:
    seed, batch, lr = settings.seed, settings.batch, settings.lr
    x = spread_ties(x, np.random.default_rng(derive(seed, "mi", "ties")))
    halves = make_halves(x, y, parts).to(device)
    steps = settings.steps or steps_within(settings, halves)
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
    x: np.ndarray, y: np.ndarray, parts: Parts, settings: Settings, device: torch.device | str
) -> Measured:
    """The orthogonal form minus what it reads where y is permuted within each half."""
    each = dataclasses.replace(settings, minutes=settings.minutes / 2)
    found = _of_numbers(x, y, parts, each, device)
    rng = np.random.default_rng(derive(settings.seed, "mi", "floor"))
    shuffled = y.copy()
    for part in parts:
        shuffled[part] = y[rng.permutation(part)]
    floor = _of_numbers(x, shuffled, parts, dataclasses.replace(each, steps=found.steps, minutes=0.0), device)
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


def _groups(x: np.ndarray, y: np.ndarray) -> np.ndarray:
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


def _summary(found: Measured, groups: np.ndarray, d: int) -> Estimate:
    """Mean over both halves, with the error of training beside that over pairs.

    Of training there is what the halves differ by beyond their sampling error, and the fit gap: unseen pairs read less
    than the best fit would, by about as much as seen ones read more, so that it mostly lies between the two.
    """
    values = found.values.double()
    if not bool(torch.isfinite(values).all()):
        raise RunFailedError(
            "the estimate of the mutual information is not finite: where one side determines the other it is infinite; "
            "check the data for coordinates that x and y share"
        )
    n = values.numel()
    se = _standard_error(values, groups)
    means = values.mean(1)
    spread = math.sqrt(max(0.0, float((means[0] - means[1]) ** 2) / 4 - se**2))
    training = math.hypot(spread, max(found.fit_gap, 0.0))
    return Estimate(
        float(means.mean()), se, training, bias="either", estimand="I(x; y)", n=n, d=d, evaluations=found.evaluations
    )


def _standard_error(values: Tensor, groups: np.ndarray) -> float:
    """Standard error of the mean of values (2, n), over distinct pairs: copies, which share a group, are one draw."""
    n = values.numel()
    _, index = np.unique(groups, return_inverse=True)
    distinct = int(index.max()) + 1
    if distinct == n:
        return float(values.std()) / math.sqrt(n)
    residuals = (values - values.mean()).flatten().numpy()
    sums = np.bincount(index.reshape(-1), weights=residuals)
    return math.sqrt(float(np.square(sums).sum()) * distinct / (distinct - 1)) / n


def _examples(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind in "US":  # names of classes
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    if array.ndim < 1 or array.dtype.kind not in "fiub" or array.size == 0:
        raise UserError(f"{name} has shape {array.shape} and type {array.dtype}: expected numbers, examples first")
    if len(array) < LEAST_EXAMPLES:
        raise UserError(f"{name} has {len(array)} examples: at least {LEAST_EXAMPLES} are needed")
    flat = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise UserError(f"{name} has values that are not finite: remove them first")
    low, high = SIZES
    if np.abs(flat).max() > high or ((flat.min(0) != flat.max(0)) & (np.ptp(flat, axis=0) < low)).any():
        raise UserError(
            f"{name} has numbers larger than {high:g} or coordinates that vary by less than {low:g}: rescale them "
            "(mutual information stays the same)"
        )
    return flat
