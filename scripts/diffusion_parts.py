"""What the diffusion paper's toy and image figures share: names of terms, variants and rules, and titles."""

import numpy as np
import pandas as pd

VARIANTS = ("published", "exact")
RULES = ("fixed_number", "fixed_size")
SPLITS = {"few_shot": "few-shot", "full": "full data set"}
TERMS = {
    "term1": r"$T_1$",
    "scaled2": r"$\sqrt{2}\,R\,T_2$",
    "scaled3": r"$\sqrt{2}\,R\,T_3$",
    "score_loss_nats": "score loss",
}
"""Columns of `with_terms` that add up to the bound, and their labels."""


def with_terms(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with T2 and T3 scaled as they enter the bound: scaled2 = sqrt(2) R T2, scaled3 = sqrt(2) R T3."""
    factor = np.sqrt(2.0) * rows["R"]
    return rows.assign(scaled2=factor * rows["term2"], scaled3=factor * rows["term3"])


def describe(rows: pd.DataFrame, x: str, *, steps: bool = True) -> str:
    """The settings that are the same in all rows, as a title.

    Args:
        rows: rows of one sweep.
        x: what varies in it, T or m.
        steps: say the rule of the sampler's grid too.
    """
    first = rows.iloc[0]
    fixed = f"m = {first['m']:,}" if x == "T" else f"T = {first['T']:g}"
    text = f"{first['dataset'].replace('_', ' ')}, {fixed}, R = {first['R']:,g}, after {first['epoch']:,} epochs"
    return f"{text}, {rule_label(rows)}" if steps else text


def rule_label(rows: pd.DataFrame) -> str:
    """The rule of the sampler's grid in words, with its number of steps or its step."""
    first = rows.iloc[0]
    if first["step_rule"] == "fixed_number":
        return f"{first['sde_steps']:,} sampler steps"
    return f"sampler step {(rows['T'] / rows['sde_steps']).median():.2g}"


def seeds_note(rows: pd.DataFrame, x: str) -> str:
    """How many seeds a mean without a band is over."""
    counts = rows.groupby(x)["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    if high == 1:
        return "one seed"
    return f"means over {high if low == high else f'{low} to {high}'} seeds"
