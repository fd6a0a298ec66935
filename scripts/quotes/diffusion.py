"""Numbers of the diffusion paper: the swiss roll, digits, Fashion-MNIST, the choice of T, the penalty."""

import functools
from collections.abc import Mapping

import numpy as np

from scripts import diffusion_choice as choice
from scripts import diffusion_penalty as penalty
from scripts import diffusion_toy as toy
from scripts import select, slopes
from scripts.quotes.quote import REFERENCE, Quote, mean_se, reference

LAB, PAPER = "RESULTS.md", "diffusion/RESULTS.md"


@functools.cache
def swiss_roll() -> Mapping[str, float]:
    """The sweeps over T and m of the `paper` run: names end in the T in tenths, or the m."""
    found: dict[str, float] = {}
    over_T = select.only(toy.sweep_T(REFERENCE)[0], variant="published")
    for T, rows in over_T.groupby("T"):
        fixed = select.only(rows, step_rule="fixed_number")
        for name, column in (("kl", "kl_test_nats"), ("bound", "bound_nats"), ("kde", "kl_kde_nats")):
            found[f"{name}{10 * T:.0f}"], found[f"{name}{10 * T:.0f}_se"] = mean_se(fixed[column])
        found[f"size{10 * T:.0f}"], _ = mean_se(select.only(rows, step_rule="fixed_size")["bound_nats"])
    found["floor"] = float(over_T["kl_kde_floor_nats"].mean())
    means = select.only(over_T, step_rule="fixed_number").groupby("T")[["kl_test_nats", "bound_nats"]].mean()
    found["T_kl"], found["T_kl_next"] = sorted(means["kl_test_nats"].nsmallest(2).index)
    found["T_bound"] = means["bound_nats"].idxmin()
    over_m = select.only(toy.sweep_m(REFERENCE)[0], variant="published", step_rule="fixed_number")
    for m, rows in over_m.groupby("m"):
        found[f"m{m}"] = float(rows["bound_nats"].mean())
    every = slopes.power_law(over_m["m"].to_numpy(float), over_m["bound_nats"].to_numpy(float))
    law, kl = toy.slope_m(over_m, "bound_nats"), toy.slope_m(over_m, "kl_test_nats")
    assert law is not None
    assert law.slope is None, "the pages say that the bound has no slope in m"
    assert kl is not None
    assert kl.slope is not None
    ten = over_m[over_m["m"] == 10]["kl_test_nats"]
    found |= {"bend_all": 1e10 * every.p, "bend": law.p}
    found |= {"kl_slope": kl.slope.value, "kl_low": kl.slope.low, "kl_high": kl.slope.high}
    return found | {"ten_low": float(ten.min()), "ten_high": float(ten.max()) / 1e6}


@functools.cache
def images() -> Mapping[str, float]:
    """Bits per dimension: `digits` or `fashion`, `few` or `full`, ode, elbo or histogram, the T in tenths."""
    frame = reference("diffusion/image_bound")
    frame = select.only(frame, variant="published", step_rule="fixed_number")
    found: dict[str, float] = {}
    for (dataset, split, T), rows in frame.groupby(["dataset", "split", "T"]):
        for column in ("ode", "elbo", "histogram"):
            name = f"{str(dataset).split('-')[0]}_{str(split).split('_')[0]}_{column}{10 * float(T):.0f}"
            values = rows[f"bpd_{column}"]
            found[name], found[f"{name}_se"] = mean_se(values)
            found[f"{name}_low"], found[f"{name}_high"] = float(values.min()), float(values.max())
    digits = select.only(frame, dataset="digits")
    least = float(digits.loc[digits["T"] == 0.2, ["bpd_ode", "bpd_elbo"]].min().min())
    found["below_02"] = np.floor(10 * least) / 10  # "everything is above"
    few = select.only(digits, split="few_shot")
    found["below_10"] = float((few["bpd_elbo"] < few["bpd_histogram"])[few["T"] == 1.0].sum())
    found["below_5"] = float((few["bpd_elbo"] < few["bpd_histogram"])[few["T"] == 0.5].sum())
    return found | {"uniform17": float(np.log2(17))}


@functools.cache
def chosen_T() -> Mapping[str, float]:
    """T by gradient and by search, and the grid's T: names begin with the line of the table, p: with penalty 0.03."""
    rows, _ = choice.choice(REFERENCE)
    found: dict[str, float] = {}
    for rule in ("gradient", "search"):
        for name, column in (("T", "T"), ("kl", "kl_test_nats"), ("bound", "bound_nats")):
            shared = choice.at_end(rows, rule) if column == "T" else choice.own(rows, rule)
            found[f"{rule}_{name}"], found[f"{rule}_{name}_se"] = mean_se(shared[column])
            penalised = choice.own(rows, rule, 0.03)
            found[f"{rule}_{name}_p"], found[f"{rule}_{name}_p_se"] = mean_se(penalised[column])
    for line, by in (("grid_bound", "bound_nats"), ("grid_kl", "kl_test_nats")):
        found[f"{line}_T"] = choice.best_T(rows, by)
        for weight, mark in ((0.0, ""), (0.03, "_p")):
            there = choice.own(rows, "grid", weight)
            there = there[there["T"] == found[f"{line}_T"]]
            for name, column in (("kl", "kl_test_nats"), ("bound", "bound_nats")):
                found[f"{line}_{name}{mark}"], found[f"{line}_{name}{mark}_se"] = mean_se(there[column])
    both = choice.at_end(rows, "gradient").set_index("seed")["T"] - choice.at_end(rows, "search").set_index("seed")["T"]
    return found | {"apart": float(both.abs().max())}


@functools.cache
def penalties() -> Mapping[str, float]:
    """The penalty on the swiss roll and on 16 digits."""
    found: dict[str, float] = {}
    toys, _ = penalty.studies(REFERENCE, penalty.TOY)
    for rows in toys:
        for weight, group in rows.groupby(penalty.WEIGHT):
            for name, column in (("L", "score_norm"), ("bound", "bound_nats"), ("kl", "kl_test_nats")):
                key = f"toy{10 * rows['T'].iloc[0]:.0f}_{name}_{weight:g}".replace(".", "")
                found[key], found[f"{key}_se"] = mean_se(group[column])
            found[f"toy{10 * rows['T'].iloc[0]:.0f}_loss_{weight:g}".replace(".", "")] = float(
                group["score_loss_nats"].mean()
            )
    (digits,), _ = penalty.studies(REFERENCE, penalty.IMAGE)
    for weight, group in digits.groupby(penalty.WEIGHT):
        for name, column in (("L", "score_norm"), ("bound", "bound_nats"), ("elbo", "bpd_elbo"), ("ode", "bpd_ode")):
            found[f"digits_{name}_{weight:g}".replace("-", "")] = float(group[column].mean())
        mean = float(group["bound_nats"].mean())
        found[f"thousands_{weight:g}".replace("-", "")] = round(mean / 1000)
        found[f"hundreds_{weight:g}".replace("-", "")] = 100 * round(mean / 100)
        for place, value in enumerate(group.sort_values("seed")["bound_nats"]):
            found[f"digits_bound_{weight:g}_{place}".replace("-", "")] = float(value)
    wide = digits.pivot_table(index="seed", columns=penalty.WEIGHT, values="bpd_elbo")
    found["gain_low"], found["gain_high"] = (float(end) for end in (wide[0.0] - wide[1e-6]).agg(["min", "max"]))
    return found | {"histogram": float(digits["bpd_histogram"].mean())}


TABLE = (
    ("by gradient", "gradient"), ("by search", "search"), ("grid, least bound", "grid_bound"),
    ("grid, least test KL (oracle)", "grid_kl"),
)  # fmt: skip
DIGITS = {  # decimals of the table's values: T, test KL, with the penalty, bound, with the penalty
    "gradient": (3, 2, 3, 2, 2), "search": (3, 2, 3, 2, 2), "grid_bound": (0, 2, 3, 2, 2), "grid_kl": (1, 2, 2, 2, 2),
}  # fmt: skip


def _line(title: str, key: str) -> str:
    first, *rest = DIGITS[key]
    T = f"{{{key}_T:.{first}f}}" + (f" ± {{{key}_T_se:.{first}f}}" if "grid" not in key else "")
    names = (f"{key}_kl", f"{key}_kl_p", f"{key}_bound", f"{key}_bound_p")
    cells = [f"{{{name}:.{k}f}} ± {{{name}_se:.{k}f}}" for name, k in zip(names, rest, strict=True)]
    return " | ".join([f"| {title} | {T}", *cells]) + " |"


QUOTES = [
    Quote(
        LAB,
        "exact test KL least at T = {T_kl:.1f} and {T_kl_next:.1f}: {kl4:.2f} and {kl6:.2f} ± {kl4_se:.2f} nats",
        swiss_roll,
    ),
    Quote(
        LAB,
        "bound least at T = {T_bound:.1f}: {bound6:.1f} ± {bound6_se:.1f} nats with 1,000 steps ({size6:.1f} at a fixed "
        "step size); no power law in m (from m = 100 p = {bend:.4f}): {m100:.1f} nats at m = 100, {m2000:.1f} at 2,000",
        swiss_roll,
    ),
    Quote(LAB, "the published bound is least at T = {T_bound:.1f} and the exact test KL at {T_kl:.1f} to {T_kl_next:.1f}",
          swiss_roll),
    Quote(LAB, "{bound6:.0f} nats against a test KL of {kl6:.1f}. Most of it", swiss_roll),
    Quote(LAB, "is {floor:.2f} nats between two samples of the true distribution (drawn as a floor). Where it gives {kde4:.2f}, "
          "the exact KL (ODE and the swiss roll's exact density) is {kl4:.2f};", swiss_roll),
    Quote(LAB, "KLs from {ten_low:.0f} to {ten_high:.0f} million nats", swiss_roll),
    Quote(LAB, "slopes are fitted from m = 100: {kl_slope:.2f} [{kl_low:.2f}, {kl_high:.2f}] of the test KL. The published "
          "bound has no slope: its points lie on no line, with m = 10 (p = {bend_all:.0f}e-10) or without (p = {bend:.4f}).", swiss_roll),
    Quote(LAB, "full set, T = 1: {digits_full_ode10:.2f} bits/dim by the ODE, {digits_full_elbo10:.2f} by the ELBO "
          "(± {digits_full_elbo10_se:.2f}; per-pixel histogram {digits_full_histogram10:.2f}, uniform {uniform17:.2f})",
          images),
    Quote(LAB, "best at T = 0.5: {fashion_few_ode5:.1f} bits/dim by the ODE, {fashion_few_elbo5:.1f} by the ELBO, wide "
          "over 3 seeds (histogram of the same 16 images {fashion_few_histogram5:.1f},", images),
    Quote(LAB, "the ODE is below the histogram of the same 16 images ({digits_few_histogram10:.2f}) at T = 0.5 to 2, best "
          "{digits_few_ode10:.2f} at T = 1; the ELBO is below it in {below_10:.0f} of 3 seeds at T = 1 "
          "({digits_few_elbo10_low:.2f} to {digits_few_elbo10_high:.2f}), in {below_5:.0f} of 3 at T = 0.5", images),
    Quote(LAB, "and everything is above {below_02:.1f} bits/dim.", images),
    Quote(LAB, "T = {gradient_T:.2f} by gradient and by search ({apart:.3f} apart at most); test KL there "
          "{gradient_kl:.2f} ± {gradient_kl_se:.2f} nats, least on the grid {grid_kl_kl:.2f} ± {grid_kl_kl_se:.2f} "
          "(T = {grid_kl_T:.1f})", chosen_T),
    Quote(LAB, "T comes out the same ({search_T:.2f} in the mean of 5 seeds). At `quick` the exact test KL there is "
          "{gradient_kl:.2f} nats, and {grid_kl_kl:.2f} at the smallest T", chosen_T),
    *(Quote(PAPER, _line(title, key), chosen_T) for title, key in TABLE),
    Quote(PAPER, "{gradient_T:.3f} both in the mean, at most {apart:.3f} apart in any seed", chosen_T),
    Quote(PAPER, "w = 0.03 lowers L (at T = 0.6 from {toy6_L_0:.1f} to {toy6_L_003:.1f}) and the bound "
          "({toy6_bound_0:.1f} to {toy6_bound_003:.1f}) and leaves the test KL where it was ({toy6_kl_0:.2f} to "
          "{toy6_kl_003:.2f}; at T = 1 {toy10_kl_0:.2f} ± {toy10_kl_0_se:.2f} to {toy10_kl_003:.2f} ± "
          "{toy10_kl_003_se:.2f}).", penalties),
    Quote(PAPER, "the score loss to that of no model ({toy6_loss_1:.0f} nat) and the test KL to {toy6_kl_1:.1f} nats at "
          "T = 0.6, while the bound is the lowest of all there ({toy6_bound_1:.1f})", penalties),
    Quote(PAPER, "w = 1e-6 halves L ({digits_L_0:.0f} to {digits_L_1e06:.0f}) and lowers the ELBO's bits per dimension "
          "from {digits_elbo_0:.2f} to {digits_elbo_1e06:.2f} (in each seed, by {gain_low:.2f} to {gain_high:.2f}) at "
          "{digits_ode_0:.2f} to {digits_ode_1e06:.2f} by the ODE. At w = 1e-5 both are worse than at 1e-6 "
          "({digits_elbo_1e05:.2f}, {digits_ode_1e05:.2f}); from 1e-4 on both are above the per-pixel histogram "
          "({histogram:.2f}).", penalties),
    Quote(PAPER, "With R = 4,000 the bound falls from {thousands_0:,.0f},000 nats without penalty to {hundreds_1e05:,.0f} at "
          "w = 1e-5, rises to {hundreds_00001:,.0f} at 1e-4",
          lambda: {name.replace("0.0001", "00001"): value for name, value in penalties().items()}),
    Quote(PAPER, "and is {hundreds_1:,.0f} at w = 1 ({digits_bound_1_0:,.0f}, {digits_bound_1_1:,.0f}, "
          "{digits_bound_1_2:,.0f}) with {digits_elbo_1:.1f} bits per dimension.", penalties),
    Quote(PAPER, "(in each seed: {digits_bound_1e05_0:,.0f} to {digits_bound_00001_0:,.0f}, {digits_bound_1e05_1:,.0f} to "
          "{digits_bound_00001_1:,.0f}, {digits_bound_1e05_2:,.0f} to {digits_bound_00001_2:,.0f})",
          lambda: {name.replace("0.0001", "00001"): value for name, value in penalties().items()}),
]  # fmt: skip
