"""Numbers of the scoregen paper: the U of the KL, slopes, distant modes, capacity, clusters, speed."""

import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from scripts import scoregen_clusters as clusters
from scripts import scoregen_parts as parts
from scripts import scoregen_sweeps as sweeps
from scripts import select, slopes
from scripts.quotes.quote import REFERENCE, Quote, mean_se, reference

LAB, PAPER = "RESULTS.md", "scoregen/RESULTS.md"


@functools.cache
def dynamics() -> Mapping[str, float]:
    """Least KL and its epochs: `adam`, `sgd` (batch 500), `small` (100) and `full`."""
    rows = select.only(reference(parts.KL), sweep="dynamics", mu=3.0, network="swish", scaling="sqrt")
    studies = {
        "adam": rows[(rows["optimizer"] == "adam") & (rows["width"] == 1024)],
        **{name: rows[(rows["optimizer"] == "sgd") & (rows["batch"] == batch)]
           for name, batch in (("sgd", 500), ("small", 100), ("full", 1000))},
    }  # fmt: skip
    found: dict[str, float] = {}
    for name, own in studies.items():
        best = parts.at_best(own, ["seed"])
        last = own[own["epoch"] == own["epoch"].max()]["kl_nats"]
        found[name], found[f"{name}_se"] = mean_se(best["kl_nats"])
        found |= {f"{name}_low": best["kl_nats"].min(), f"{name}_high": best["kl_nats"].max()}
        found |= {f"{name}_from": best["epoch"].min(), f"{name}_to": best["epoch"].max()}
        found |= {f"{name}_end": last.mean(), f"{name}_worst": last.max(), f"{name}_seeds": len(best)}
        found[f"{name}_before"] = int((best["epoch"] < own["epoch"].max()).sum())
        found[f"{name}_at"] = own.groupby("epoch")["kl_nats"].mean().idxmin()
    return found


def _slope(found: dict[str, float], name: str, n: "pd.Series[float]", y: "pd.Series[float]") -> None:
    law = slopes.power_law(n.to_numpy(float), y.to_numpy(float))
    assert law.slope is not None, f"{name}: the pages give it a slope"
    found |= {name: law.slope.value, f"{name}_low": law.slope.low, f"{name}_high": law.slope.high}


@functools.cache
def rates() -> Mapping[str, float]:
    """Slopes in n, and the Swish network's least KL (geometric mean, range) by n."""
    every, _ = sweeps.all_samples(REFERENCE)
    found: dict[str, float] = {}
    equal, fixed = every["samples_m=n", "features"], every["samples_fixed_m", "features"]
    for name, rows, most in (("equal", equal, 16384), ("fixed", fixed, 16384)):
        _slope(found, name, rows["n"], rows["kl_nats"])
        small = rows[rows["n"] < (most if name == "equal" else 8192)]
        _slope(found, f"{name}_small", small["n"], small["kl_nats"])
    _slope(found, "time", equal["n"], equal["time"])
    small = equal[equal["n"] < 16384]
    _slope(found, "time_small", small["n"], small["time"])
    for name, sweep in (("swish", "samples_m=n"), ("wide", "samples_fixed_m")):
        rows = every[sweep, "swish"]
        for n, own in rows.groupby("n"):
            found[f"{name}{n}"] = float(stats.gmean(own["kl_nats"]))
            found |= {f"{name}{n}_low": own["kl_nats"].min(), f"{name}{n}_high": own["kl_nats"].max()}
    rows = every["samples_m=n", "swish"]
    law = slopes.power_law(rows["n"].to_numpy(float), rows["kl_nats"].to_numpy(float))
    assert law.slope is None, "the pages say that this is no line"
    beyond = [found[f"wide{n}"] for n in sorted(every["samples_fixed_m", "swish"]["n"].unique()) if n >= 512]
    groups, points = rows["n"].nunique(), len(rows)
    F = stats.f.isf(law.p, groups - 2, points - groups)
    found |= {"p": 1e4 * law.p, "F": float(F), "places": groups - 2, "rest": points - groups}
    return found | {"wide_least": min(beyond), "wide_most": max(beyond)}


@functools.cache
def distance() -> Mapping[str, float]:
    """KL and the right mode's mass at the last epoch, by mu."""
    rows = select.only(reference(parts.KL), sweep="distance")
    rows = rows[rows["epoch"] == rows["epoch"].max()]
    found: dict[str, float] = {}
    for mu, own in rows.groupby("mu"):
        found |= {f"kl{mu:g}": own["kl_nats"].mean()}
        found |= {f"mass{mu:g}_low": own["mass_right"].min(), f"mass{mu:g}_high": own["mass_right"].max()}
    share = rows.loc[rows["mu"] == 15, "data_right"]
    return found | {"data_low": share.min(), "data_high": share.max()}


@functools.cache
def capacity() -> Mapping[str, float]:
    """KL at epoch 1,000 and first epochs by log2 of the width."""
    rows = sweeps.capacity_rows(reference(sweeps.CAPACITY))
    found: dict[str, float] = {}
    for width, own in rows.groupby("width"):
        power = int(np.log2(width))
        found[f"mean{power}"] = own["kl_at_1000"].mean()
        found |= {f"low{power}": own["kl_at_1000"].min(), f"high{power}": own["kl_at_1000"].max()}
        for place, epoch in enumerate(sorted(own["first_epoch_below"].dropna())):
            found[f"first{power}_{place}"] = epoch
    return found


@functools.cache
def of_clusters() -> Mapping[str, float]:
    """Losses of both pairs of clusters of Fashion-MNIST, and their differences."""
    rows = clusters.rows_by_set(REFERENCE)[0]["fashion-mnist"]
    last = rows[rows["epoch"] == rows["epoch"].max()]
    found: dict[str, float] = {}
    for pair, own in last.groupby("pair"):
        found[f"{pair}"], found[f"{pair}_se"] = mean_se(own["loss"])
        found[f"{pair}_distance"] = own["centre_distance"].iloc[0]
    for column in ("loss", "loss_test", "nll_bpd"):
        found[f"gap_{column}"], found[f"gap_{column}_se"], _ = clusters.difference(rows, column)
    return found


QUOTES = [
    Quote(LAB, "least KL {adam:.3f} ± {adam_se:.3f} nats at epochs {adam_from:,.0f} to {adam_to:,.0f} (Adam; published "
          "0.05 near 1,000), {sgd:.3f} ± {sgd_se:.3f} at {sgd_from:,.0f} to {sgd_to:,.0f} (SGD;", dynamics),
    Quote(LAB, "at width 2^10 KL {low10:.2f} to {high10:.2f} at epoch 1,000", capacity),
    Quote(LAB, "loss {farthest:.0f} ± {farthest_se:.1f} for the farthest pair, {gap_loss:.1f} ± {gap_loss_se:.1f} less",
          of_clusters),
    Quote(PAPER, "Adam, width 1,024: {adam:.3f} ± {adam_se:.3f} nats ({adam_low:.3f} to {adam_high:.3f}) at epochs "
          "{adam_from:,.0f} to {adam_to:,.0f}, {adam_end:.3f} at the end", dynamics),
    Quote(PAPER, "in {adam_before:d} of {adam_seeds:d} each: - Adam", dynamics),
    Quote(PAPER, "batches of 500: {sgd:.3f} ± {sgd_se:.3f} at epochs {sgd_from:,.0f} to {sgd_to:,.0f}, {sgd_end:.3f} at "
          "the end, the mean curve least at epoch {sgd_at:,.0f} (published: near 800); batches of 100: {small:.3f} ± "
          "{small_se:.3f} at epochs {small_from:,.0f} to {small_to:,.0f}, {small_end:.2f} at the end "
          "({small_worst:.2f} in one seed); full batch: {full:.3f} ± {full_se:.3f} at epochs {full_from:,.0f} to "
          "{full_to:,.0f}, {full_end:.3f} at the end.", dynamics),
    Quote(PAPER, "m = n = 32 to 16,384: {equal:.2f} [{equal_low:.2f}, {equal_high:.2f}], steeper", rates),
    Quote(PAPER, "at m = 1,024: {fixed:.2f} [{fixed_low:.2f}, {fixed_high:.2f}]. At", rates),
    Quote(PAPER, "The smaller n alone give {equal_small:.2f} [{equal_small_low:.2f}, {equal_small_high:.2f}], and at "
          "m = 1,024 {fixed_small:.2f} [{fixed_small_low:.2f}, {fixed_small_high:.2f}].", rates),
    Quote(PAPER, "falls from {swish32:.3f} nats ({swish32_low:.3f} to {swish32_high:.3f}) at n = 32 to {swish128:.3f} "
          "({swish128_low:.3f} to {swish128_high:.3f}) at 128 and rises again, to {swish512:.3f} ({swish512_low:.3f} to "
          "{swish512_high:.3f}) at 512 and {swish2048:.3f} ({swish2048_low:.3f} to {swish2048_high:.3f}) at 2,048", rates),
    Quote(PAPER, "(lack of fit F({places:d}, {rest:d}) = {F:.1f}, p = {p:.0f}e-4)", rates),
    Quote(PAPER, "At m = 256 it falls from {wide32:.3f} ({wide32_low:.3f} to {wide32_high:.3f}) at n = 32 to "
          "{wide512:.3f} ({wide512_low:.3f} to {wide512_high:.3f}) at 512 and stays at {wide_least:.3f} to "
          "{wide_most:.3f} up to 16,384.", rates),
    Quote(PAPER, "like n^{time:.1f} ({time:.2f} [{time_low:.2f}, {time_high:.2f}], which the last tau at n = 16,384 biases "
          "low; up to n = 8,192 {time_small:.2f} [{time_small_low:.2f}, {time_small_high:.2f}]).", rates),
    Quote(PAPER, "KL {kl1:.3f}, {kl3:.3f}, {kl6:.2f}, {kl10:.2f}, {kl15:.2f} nats at mu = 1, 3, 6, 10, 15. The mass of "
          "the right mode spreads with the distance: {mass3_low:.3f} to {mass3_high:.3f} at mu = 3, {mass10_low:.3f} to "
          "{mass10_high:.3f} at 10, {mass15_low:.3f} to {mass15_high:.3f} at 15, where {data_low:.3f} to "
          "{data_high:.3f} of the points", distance),
    Quote(PAPER, "{low2:.1f} to {high2:.1f} nats at 2^2 (published: about 1.3), {mean4:.1f} at 2^4, {low6:.1f} to {high6:.1f} at "
          "2^6, {low8:.2f} to {high8:.2f} at 2^8, {low10:.2f} to {high10:.2f} at 2^10", capacity),
    Quote(PAPER, "KL <= 0.1 first at epoch {first2_0:,.0f} in one of three seeds at 2^2 (published: 10,000) and never in "
          "the others, at {first3_0:,.0f} to {first3_2:,.0f} at 2^3, {first6_0:,.0f} to {first6_2:,.0f} at 2^6, "
          "{first10_0:,.0f}, {first10_1:,.0f} and {first10_2:,.0f} at 2^10 (published: 1,000), {first11_0:,.0f}, "
          "{first11_1:,.0f} and {first11_2:,.0f} at 2^11", capacity),
    Quote(PAPER, "of 384 images {farthest:.1f} ± {farthest_se:.1f} for the farthest pair (clusters 0 and 5, centres "
          "{farthest_distance:.1f} apart) and {nearest:.1f} ± {nearest_se:.1f} for the nearest (4 and 5, "
          "{nearest_distance:.1f} apart), a difference of {gap_loss:.1f} ± {gap_loss_se:.1f}; on held-out images "
          "{gap_loss_test:.1f} ± {gap_loss_test_se:.1f}, and {gap_nll_bpd:.2f} ± {gap_nll_bpd_se:.2f} bits/dim of NLL.",
          of_clusters),
]  # fmt: skip
