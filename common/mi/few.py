"""What is said of few pairs: the Gaussian part of their information alone, as networks would read noise."""

import numpy as np

from common.errors import UserError
from common.estimate import Estimate
from common.mi.categorical import is_label
from common.mi.gaussian_part import gaussian_part
from common.mi.settings import Settings
from common.mi.sides import varying
from common.mi.ties import spread_ties
from common.seeds import derive

Array = np.ndarray
METHOD = "Gaussian part alone (few pairs)"
LEAST_PAIRS, PAIRS_A_COORDINATE = 500, 25


def least_pairs(coordinates: int) -> int:
    """The fewest distinct pairs, with so many varying coordinates on both sides, that networks are trained on.

    >>> least_pairs(2), least_pairs(64)
    (500, 1600)
    """
    return max(LEAST_PAIRS, PAIRS_A_COORDINATE * coordinates)


def of_few_pairs(
    noised: Array, given: Array, names: tuple[str, str], copied: Array, settings: Settings
) -> tuple[Estimate, list[str]]:
    """The Gaussian part (`common.mi.gaussian_part`) of the distinct pairs, and what to say of it.

    Args:
        noised: (n, d), whose ties are spread.
        given: (n, d').
        names: of both, "x" and "y" in either order.
        copied: (n,) which rows are copies of one pair.
        settings: their seed, and `blocks`.

    Raises:
        UserError: a label, or pairs in blocks, for which there is no closed form.
        RunFailedError: one side determines a coordinate of the other.
    """
    first = np.unique(copied, return_index=True)[1]
    noised, given = noised[first], given[first]
    least = least_pairs(len(varying(noised)) + len(varying(given)))
    if is_label(noised):
        raise UserError(
            f"{len(first)} pairs are too few for a class label: networks read noise in fewer than {least}, and a label "
            "has no Gaussian part"
        )
    if settings.blocks:
        raise UserError(
            f"{len(first)} pairs are too few for --blocks: at least {least} are needed for {_sizes(noised, given)}"
        )
    part = gaussian_part(spread_ties(noised, np.random.default_rng(derive(settings.seed, "mi", "ties"))), given)
    said = [
        f"{len(first)} distinct pairs are few for {_sizes(noised, given)}: only the Gaussian part of the information "
        f"was estimated, which linear dependence of normal scores shows; with {least} pairs networks look for the rest"
    ]
    for name, kept, dropped in zip(names, part.kept, part.dropped, strict=True):
        if dropped:
            said.append(
                f"{name} was reduced to {kept} of its {kept + dropped} principal components, one for every 4 pairs: "
                "information in the others is not counted"
            )
    estimate = Estimate(
        part.value, part.se, bias="either", estimand="I(x; y)", n=len(copied), d=noised.shape[1] + given.shape[1]
    )
    return estimate, said


def _sizes(noised: Array, given: Array) -> str:
    return f"{len(varying(noised)) + len(varying(given))} coordinates that vary"
