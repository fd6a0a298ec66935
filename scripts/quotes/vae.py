"""Numbers of the vae paper: bounds, mean scores with their errors, quantiles, neighbours, duplicates."""

import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from infolab.quantiles import quantile
from scripts import select
from scripts.quotes.quote import Quote, reference

LAB, PAPER = "RESULTS.md", "vae/RESULTS.md"
RATE = {1e-3: "fast", 1e-4: "slow"}


@functools.cache
def digits() -> Mapping[str, float]:
    """Bounds, log p(x) and scores of the digits; `fast` is the learning rate 1e-3, `slow` 1e-4."""
    found: dict[str, float] = {}
    bounds = select.only(reference("vae/bounds"), dataset="digits", mode="full")
    for (lr, epoch, estimator), rows in bounds.groupby(["lr", "epoch", "mi_estimator"]):
        for name in ("ours", "previous", "test", "mi"):
            key = f"{RATE[float(lr)]}{epoch}_{name}" + ("_held" if estimator == "held-out" else "")
            found[key], found[f"{key}_se"] = (float(rows[f"{name}_{kind}"].iloc[-1]) for kind in ("nats", "se"))
    curves = select.only(reference("vae/curves"), dataset="digits", mode="full", lr=1e-3, epoch=60)
    for split in ("train", "test"):
        row = select.only(curves, split=split).iloc[-1]
        found[f"logpx_{split}"], found[f"logpx_{split}_se"] = float(row["logpx_nats"]), float(row["logpx_se"])
    scores = select.only(reference("vae/memorization"), dataset="digits", epoch=60)
    kinds = {"fast": (1e-3, "bernoulli"), "slow": (1e-4, "bernoulli"), "diffusion": (1e-3, "denoiser")}
    series: dict[str, pd.Series[float]] = {}
    for name, (lr, model) in kinds.items():
        own = scores[(scores["lr"] == lr) & scores["model"].str.startswith(model)].set_index("index")["score"]
        found |= {f"{name}_mean": float(own.mean()), f"{name}_top": float(own.max())}
        found |= {f"{name}_{q}": quantile(own.to_numpy(), q / 100).value for q in (50, 95)}
        series[name] = own
    found["diffusion_top_index"] = int(series["diffusion"].idxmax())
    both = pd.concat([series["diffusion"], series["fast"]], axis=1)
    found["rank"] = float(stats.spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic)
    pairs = select.only(reference("vae/duplicates"), dataset="digits")
    return found | {"closest": 100 * float(pairs["distance"].min())}


@functools.cache
def fashion() -> Mapping[str, float]:
    """Bounds at the published settings, pixels drawn once (`once`) or redrawn, by epoch."""
    found: dict[str, float] = {}
    frame = select.only(reference("vae/bounds"), dataset="fashion-mnist", mode="full", mi_estimator="untrained-decoder")
    for (model, epoch), rows in frame.groupby(["model", "epoch"]):
        kind = "redrawn" if str(model).endswith("redraw]") else "once"
        for name in ("ours", "previous", "test", "mi"):
            found[f"{kind}{epoch}_{name}"] = float(rows[f"{name}_nats"].iloc[-1])
            found[f"{kind}{epoch}_{name}_se"] = float(rows[f"{name}_se"].iloc[-1])
    redrawn = frame[frame["model"].str.endswith("redraw]")]
    redrawn = redrawn[redrawn["epoch"].between(5, 30)]
    above = redrawn["ours_nats"] - redrawn["test_nats"]
    errors = above / np.hypot(redrawn["ours_se"], redrawn["test_se"])
    found |= {"above_low": float(above.min()), "above_high": float(above.max())}
    found |= {"above_errors_low": float(errors.min()), "above_errors_high": float(errors.max())}
    curves = select.only(reference("vae/curves"), dataset="fashion-mnist", mode="full", epoch=100)
    for split in ("train", "test"):
        row = select.only(curves, split=split).iloc[-1]
        found[f"logpx_{split}"], found[f"logpx_{split}_se"] = float(row["logpx_nats"]), float(row["logpx_se"])
    found["below"] = found["once100_test"] - found["once100_ours"]
    found["below_errors"] = found["below"] / np.hypot(found["once100_ours_se"], found["once100_test_se"])
    return found | {"term": 2 * (found["once100_mi"] / 60_000) ** 0.5}


@functools.cache
def mnist(lr: float = 1e-3) -> Mapping[str, float]:
    """Bounds of MNIST at the published settings by epoch, pixels redrawn, or drawn `once`.

    `above_low`, `above_high`: the range of ours - test with redrawn pixels. `previous_to`, `previous_from`: the last epoch
    with the previous quantity above the test curve, and the next one.
    """
    found: dict[str, float] = {}
    frame = select.only(reference("vae/bounds"), dataset="mnist", mode="full", mi_estimator="untrained-decoder", lr=lr)
    for (model, epoch), rows in frame.groupby(["model", "epoch"]):
        kind = "" if str(model).endswith("redraw]") else "once_"
        for name in ("ours", "previous", "test"):
            found[f"{kind}{name}{epoch}"] = float(rows[f"{name}_nats"].iloc[-1])
            found[f"{kind}{name}{epoch}_se"] = float(rows[f"{name}_se"].iloc[-1])
    redrawn = frame[frame["model"].str.endswith("redraw]")].sort_values("epoch")
    above = redrawn["ours_nats"] - redrawn["test_nats"]
    of_previous = redrawn["previous_nats"] - redrawn["test_nats"]
    found |= {"above_low": float(above.min()), "above_high": float(above.max()), "measured": len(redrawn)}
    found |= {"previous_to": int(redrawn.loc[of_previous > 0, "epoch"].max()), "below": -float(of_previous.iloc[-1])}
    found["previous_from"] = int(redrawn.loc[of_previous < 0, "epoch"].min())
    curves = select.only(reference("vae/curves"), dataset="mnist", mode="full", epoch=100, lr=lr)
    curves = curves[curves["model"].str.endswith("redraw]")]
    for split in ("train", "test"):
        row = select.only(curves, split=split).iloc[-1]
        found[f"logpx_{split}"], found[f"logpx_{split}_se"] = float(row["logpx_nats"]), float(row["logpx_se"])
    return found


def slow_mnist() -> Mapping[str, float]:
    """The same at the learning rate 1e-4."""
    return mnist(1e-4)


def _slow_row(epoch: int) -> str:
    """A row of measured values, which the paper does not give."""
    cells = (f"{{{name}{epoch}:.2f}} ± {{{name}{epoch}_se:.2f}}" for name in ("ours", "previous", "test"))
    return f"| epoch {epoch} | {' | '.join(cells)} |"


def _mnist_row(epoch: int, ours: str, previous: str, test: str) -> str:
    """A row of measured beside published values."""
    cells = zip(("ours", "previous", "test"), (ours, previous, test), strict=True)
    measured = (f"{{{name}{epoch}:.2f}} ± {{{name}{epoch}_se:.2f}} | {published}" for name, published in cells)
    return f"| epoch {epoch} | {' | '.join(measured)} |"


@functools.cache
def fashion_scores() -> Mapping[str, float]:
    """Scores of 6,000 images, by epoch."""
    found: dict[str, float] = {}
    scores = select.only(reference("vae/memorization"), dataset="fashion-mnist")
    for epoch, rows in scores.groupby("epoch"):
        found[f"mean{epoch}"] = float(rows["score"].mean())
        found |= {f"{name}{epoch}": quantile(rows["score"].to_numpy(), q).value
                  for name, q in (("p95_", 0.95), ("p999_", 0.999))}  # fmt: skip
    last = scores[scores["epoch"] == 50]
    curves = select.only(reference("vae/curves"), dataset="fashion-mnist", mode="cv")
    logpx = curves.groupby(["split", "epoch"])["logpx_nats"].mean()
    found |= {"top": float(last["score"].max()), "best_epoch": int(logpx["test"].idxmax())}
    found |= {
        "best": float(logpx["test"].max()),
        "train40": float(logpx["train", 40]),
        "train50": float(logpx["train", 50]),
    }
    found["sides"] = float(logpx["train", 50] - logpx["test", 50])
    found["jensen"] = found["mean50"] - found["sides"]
    near = select.only(reference("vae/neighbours"), dataset="fashion-mnist").merge(last[["index", "score"]], on="index")
    found["rank"] = float(stats.spearmanr(near["ratio"], near["score"], nan_policy="omit").statistic)
    pairs = select.only(reference("vae/duplicates"), dataset="fashion-mnist")
    return found | {"closest": 100 * float(pairs["distance"].min())}


def _row(epoch: int, *, errors: bool, redrawn: bool) -> str:
    def cells(kind: str) -> str:
        ours, test = (f"{{{kind}{epoch}_{name}:.1f}}" for name in ("ours", "test"))
        if errors:
            ours += f" ± {{{kind}{epoch}_ours_se:.1f}}"
            test += f" ± {{{kind}{epoch}_test_se:.1f}}"
        return f"{ours} | {{{kind}{epoch}_previous:.1f}} | {test} |"

    return f"| {epoch} | {cells('once')}" + (f" {cells('redrawn')}" if redrawn else "")


QUOTES = [
    Quote(LAB, "lr 1e-3, epoch 60: ours {fast60_ours:.2f}, previous {fast60_previous:.2f}, test {fast60_test:.2f} ± "
          "{fast60_test_se:.2f} nats; mean score {fast_mean:.2f} ± {fast60_mi_held_se:.2f}, 0.95 quantile {fast_95:.1f} nats",
          digits),
    Quote(LAB, "epochs 10 and 100: ours {once10_ours:.1f} and {once100_ours:.1f}, test {once10_test:.1f} and "
          "{once100_test:.1f} ± {once100_test_se:.1f} nats: below the test curve from epoch 15 on; with redrawn pixels "
          "(`--redraw`, as published) {above_low:.1f} to {above_high:.1f} nats above", fashion),
    Quote(LAB, "epochs 10 and 100: ours {ours10:.1f} and {ours100:.1f} (published 90.87 and 83.25), previous "
          "{previous10:.1f} and {previous100:.1f} (published 86.24 and 78.52), test {test10:.1f} and {test100:.1f} ± "
          "{test100_se:.1f} nats", mnist),
    *(Quote(PAPER, _mnist_row(*row), mnist) for row in (
        (6, "94.51", "89.94", "88.47"), (10, "90.87", "86.24", "85.79"), (20, "87.63", "82.95", "84.01"),
        (50, "84.67", "79.96", "82.13"), (100, "83.25", "78.52", "81.03"))),
    *(Quote(PAPER, _slow_row(epoch), slow_mnist) for epoch in (6, 10, 20, 50, 100)),
    Quote(PAPER, "Ours is above the test curve at all {measured:d} measured epochs (2, 4, ..., 100), by {above_low:.1f} to "
          "{above_high:.1f} nats.", slow_mnist),
    Quote(PAPER, "above the test curve up to epoch {previous_to:d} and below it from epoch {previous_from:d} on, by "
          "{below:.2f} nats at epoch 100.", slow_mnist),
    Quote(PAPER, "log p(x) at epoch 100 is {logpx_train:.2f} ± {logpx_train_se:.2f} nats on training and "
          "{logpx_test:.2f} ± {logpx_test_se:.2f} on test images at this learning rate", slow_mnist),
    Quote(LAB, "epochs 10 and 100: ours {ours10:.1f} and {ours100:.1f}, previous {previous10:.1f} and {previous100:.1f}, "
          "test {test10:.1f} and {test100:.1f} ± {test100_se:.1f} nats (the paper gives no values", slow_mnist),
    Quote(PAPER, "**Pixels drawn once**, learning rate 1e-3: epochs 10 and 100 have ours {once_ours10:.2f} and {once_ours100:.2f}, test "
          "{once_test10:.2f} and {once_test100:.2f} ± {once_test100_se:.2f} nats", mnist),
    Quote(PAPER, "log p(x) at epoch 100 is {logpx_train:.2f} ± {logpx_train_se:.2f} nats on training and "
          "{logpx_test:.2f} ± {logpx_test_se:.2f} on test images. ", mnist),
    Quote(LAB, "mean score {mean10:.1f} nats at epoch 10, {mean50:.1f} ± 0.4 at 50; 0.95 quantile {p95_10:.1f} and "
          "{p95_50:.1f}", fashion_scores),
    Quote(PAPER, _row(5, errors=True, redrawn=True), fashion),
    *(Quote(PAPER, _row(epoch, errors=False, redrawn=True), fashion) for epoch in (10, 15, 30)),
    Quote(PAPER, _row(100, errors=True, redrawn=False), fashion),
    Quote(PAPER, "ours is above by {above_low:.1f} to {above_high:.1f} nats at epochs 5 to 30 ({above_errors_low:.1f} to "
          "{above_errors_high:.1f} standard errors", fashion),
    Quote(PAPER, "log p(x) on them goes on rising ({logpx_train:.1f} ± {logpx_train_se:.1f} at epoch 100, test "
          "{logpx_test:.1f} ± {logpx_test_se:.1f})", fashion),
    Quote(PAPER, "by {below:.1f} nats at the end ({below_errors:.1f} standard errors)", fashion),
    Quote(PAPER, "mutual information, {once100_mi:.0f} nats, enters as 2 sqrt({once100_mi:.0f} / 60,000) = {term:.2f} nats", fashion),
    Quote(PAPER, "Over training the mean score rises from {mean10:.1f} ± 0.1 nats (epoch 10) to {mean50:.1f} ± 0.4 (epoch 50), the 0.95 "
          "quantile from {p95_10:.1f} to {p95_50:.1f}, the 0.999 quantile from {p999_10:.0f} to {p999_50:.0f}",
          fashion_scores),
    Quote(PAPER, "while held-out log p(x) is best at epoch {best_epoch:d} ({best:.1f}) and training log p(x) goes on from "
          "{train40:.0f} to {train50:.0f}.", fashion_scores),
    Quote(PAPER, "means of log p(x) on both sides differ by {sides:.1f} nats, so {jensen:.1f} of the {mean50:.1f} come",
          fashion_scores),
    Quote(PAPER, "a bag, has {top:.0f} nats", fashion_scores),
    Quote(PAPER, "the closest are at {closest:.1f}%. The ratio of distances to test images and samples has a rank "
          "correlation of {rank:.2f} with the score", fashion_scores),
    Quote(PAPER, "log p(x) {logpx_train:.2f} ± {logpx_train_se:.2f} nats on the training images, {logpx_test:.2f} ± "
          "{logpx_test_se:.2f} on the test images; ours {fast60_ours:.2f}, previous {fast60_previous:.2f}, test "
          "{fast60_test:.2f} (nats)", digits),
    Quote(PAPER, "MI by the untrained decoder is {fast60_mi:.1f} nats there, by the held-out scores "
          "{fast60_mi_held:.2f} ± {fast60_mi_held_se:.2f}, with which ours is {fast60_ours_held:.2f}.", digits),
    Quote(PAPER, "at 1e-3 the mean rises from {fast20_mi_held:.2f} ± {fast20_mi_held_se:.2f} nats (epoch 20) to "
          "{fast60_mi_held:.2f} ± {fast60_mi_held_se:.2f} (epoch 60), at 1e-4 from {slow20_mi_held:.2f} to "
          "{slow60_mi_held:.2f} ± {slow60_mi_held_se:.2f}; the 0.95 quantile at epoch 60 is {fast_95:.2f} and "
          "{slow_95:.2f} nats.", digits),
    Quote(PAPER, "the closest pair is at {closest:.1f}%", digits),
    Quote(PAPER, "has a mean score of {diffusion_mean:.2f} ± 0.20 nats, a median of {diffusion_50:.2f} and a heavy tail: "
          "{diffusion_top:.1f} nats for image {diffusion_top_index:d}", digits),
    Quote(PAPER, "a rank correlation of {rank:.3f} (learning rate 1e-3, epoch 60)", digits),
]  # fmt: skip
