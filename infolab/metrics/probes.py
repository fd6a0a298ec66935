"""What can be read from codes: latent classification, and mutual information of the input with its code."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from infolab.errors import UserError
from infolab.metrics.codes import auroc_matrix
from infolab.metrics.measured import (
    Array,
    Measured,
    as_codes,
    as_factors,
    as_numbers,
    folds_of,
    over_test_folds,
    refuse_outliers,
    varying,
)
from infolab.mi import FEW, Settings, mutual_information

# ----------
# Latent classification: how well a linear classifier reads attributes or classes from codes.

MOST = 10_000
"""Examples of the published protocol, the first ones."""


@dataclass(frozen=True)
class Classification:
    """Held-out AUROC and accuracy, means over factors and folds.

    Attributes:
        auroc: mean over factors; for a factor of more than two classes the mean over classes, one against the rest.
        accuracy: mean over factors.
        per_factor: (f, 2) AUROC and accuracy of each factor.
    """

    auroc: Measured
    accuracy: Measured
    per_factor: np.ndarray

    def measured(self) -> list[Measured]:
        """The two means."""
        return [self.auroc, self.accuracy]


def latent_classification(
    codes: Array, factors: Array, folds: int = 5, seed: int = 0, most: int = MOST
) -> Classification:
    """Logistic regression on codes standardised by their training fold, 5 folds, as Wang et al. (2023) report it.

    Args:
        codes: (n, d).
        factors: (n, f) classes or (n,) labels, each a classifier of its own; constant ones are left out.
        folds: of the cross-validation; for the standard error see `over_test_folds`.
        seed: of the folds.
        most: examples used, the first ones.

    Raises:
        UserError: fewer than 2 folds, shapes that do not fit, a training or test fold of one class. Where there are
            more, a class that a training fold has not seen counts as wrong, and has no AUROC there. Or a code of such
            outliers that standardising leaves nothing of the rest (`refuse_outliers`).
    """
    if folds < 2:
        raise UserError(f"folds = {folds}: latent classification needs at least 2")
    codes = as_codes(codes)
    factors = varying(as_factors(factors, len(codes))[:most])
    codes = codes[:most]
    refuse_outliers(codes)
    scores = np.array(
        [
            [_one(codes[train], y[train], codes[test], y[test]) for y in factors.T]
            for train, test in folds_of(len(codes), folds, seed)
        ]
    )
    described = f"[logistic,folds={folds},n={len(codes)}]"
    aurocs, accuracies = scores.mean(1).T
    return Classification(
        over_test_folds(f"auroc{described}", aurocs.tolist(), len(codes)),
        over_test_folds(f"accuracy{described}", accuracies.tolist(), len(codes)),
        scores.mean(0),
    )


def _one(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> tuple[float, float]:
    """Held-out AUROC and accuracy of one classifier."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(0), x.std(0)
    std = np.where(np.ptp(x, axis=0) > 0, std, 1.0)  # rounding gives a constant code a spread too
    if len(np.unique(y)) < 2:
        raise UserError("a training fold has one class only: give more examples, or leave out the rare attribute")
    model = LogisticRegression(max_iter=1_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((x - mean) / std, y)
    inputs = (x_test - mean) / std
    scores = model.predict_proba(inputs)
    against_rest = auroc_matrix(scores, y_test[:, None] == model.classes_).diagonal()
    if np.isnan(against_rest).all():
        raise UserError("a test fold has one class only: give more examples, or leave out the rare attribute")
    return float(np.nanmean(against_rest)), float((model.predict(inputs) == y_test).mean())


# ----------
# Mutual information of the input with its code, by `infolab.mi`.


def information(
    codes: Array,
    inputs: Array,
    seed: int = 0,
    steps: int = 0,
    minutes: float = 0.0,
    device: torch.device | str = "cpu",
) -> Measured:
    """I(input; code) in nats from denoising errors (`infolab.mi.mutual_information`).

    Give codes as they are drawn, a = mu(x) + std(x) eps: a deterministic code of a continuous input has infinite
    mutual information with it, and the estimate then says only how much the networks could read. For few pairs it is
    the Gaussian part alone, which the name and `warnings` say.

    Args:
        codes: (n, d), drawn.
        inputs: (n, ...), the inputs in the same order.
        seed: of halves, weights and noise.
        steps: optimiser steps; 0: the default of `infolab.mi`, or what fits into `minutes`.
        minutes: wall time aimed at, instead of `steps`.
        device: where networks are trained and evaluated.

    Raises:
        UserError: steps and minutes are both given, or the arrays cannot be used (other lengths, say).
    """
    codes = as_codes(codes)
    flat = as_numbers(inputs, "inputs")
    if len(flat) != len(codes):
        raise UserError(f"{len(codes)} codes and {len(flat)} inputs: they must be pairs")
    flat = flat.reshape(len(flat), -1)
    settings = Settings(steps=steps if steps or minutes else Settings().steps, minutes=minutes, seed=seed)
    settings.check()
    settings.check_one_length()
    found = mutual_information(flat, codes, settings, device)
    how = "gaussian-part" if found.method.startswith(FEW) else f"steps={found.steps}"
    name, estimate = f"information_nats[{how}]", found.estimate
    return Measured(name, estimate.value, estimate.se, len(codes), warnings=found.warnings)
