"""Numbers of the infodiffusion paper: what codes say of digits and of the factors of sprites."""

import functools
from collections.abc import Mapping

from scripts import select
from scripts.quotes.quote import Quote, mean_se, reference

LAB, PAPER = "RESULTS.md", "infodiffusion/RESULTS.md"
NAMES = {"auroc": "auroc", "accuracy": "accuracy", "dci_informativeness": "informed", "dci_disentanglement": "apart",
         "tad": "tad", "tad_attributes": "captured"}  # fmt: skip


@functools.cache
def codes() -> Mapping[str, float]:
    """`diff`, `infovae` and `untrained` on sprites, over seeds; `digits_` ones with the error of their one seed."""
    found: dict[str, float] = {}
    frame = reference("infodiffusion/quality")
    frame = frame.assign(kind=frame["model"].str.split("[").str[0], name=frame["metric"].str.split("[").str[0])
    for (kind, name), rows in select.only(frame, dataset="sprites").groupby(["kind", "name"]):
        if name in NAMES:
            found[f"{kind}_{NAMES[str(name)]}"], found[f"{kind}_{NAMES[str(name)]}_se"] = mean_se(rows["value"])
    for kind, rows in select.only(frame, dataset="digits", name="accuracy").groupby("kind"):
        value, error = float(rows["value"].iloc[-1]), float(rows["se"].iloc[-1])
        found |= {f"digits_{kind}": value, f"digits_{kind}_se": error}
        found |= {f"percent_{kind}": 100 * value, f"percent_{kind}_se": 100 * error}
    aurocs = select.only(frame, dataset="sprites", name="auroc").pivot_table(
        index="seed", columns="kind", values="value"
    )
    found["ahead"], found["ahead_se"] = mean_se(aurocs["diff"] - aurocs["infovae"])
    return found


def _row(title: str, name: str, value: str, decimals: int) -> str:
    cells = [f"{{{kind}_{value}:.{decimals}f}} ± {{{kind}_{value}_se:.{decimals}f}}"
             for kind in ("diff", "infovae", "untrained")]  # fmt: skip
    return f"| {title} | " + " | ".join(cells) + " |"


@functools.cache
def detected() -> Mapping[str, float]:
    """Standard errors of the FID: data set, distortion, and its place in the order of strength (`sprites_blur_0`)."""
    found: dict[str, float] = {}
    rows = select.only(reference("infodiffusion/sensitivity"), seed=0)
    for (dataset, distortion), own in rows.groupby(["dataset", "distortion"]):
        for place, value in enumerate(own.sort_values("strength")["standard_errors"]):
            found[f"{str(dataset).split('-')[0]}_{distortion}_{place}"] = float(value)
    return found


SENSITIVITY = {  # the table's lines; decimals of the three strengths of noise, blur, shift and of a class left out
    "sprites | 3,000": ("sprites", "000 000 110 111"),
    "MNIST | 3,000": ("mnist", "000 000 100 111"),
    "Fashion-MNIST | 3,000": ("fashion", "000 100 000 111"),
    "digits (shifts of 0.25, 0.5, 1) | 360": ("digits", "100 100 111 111"),
}


def _line(title: str, key: str, decimals: str) -> str:
    cells = [
        ", ".join(f"{{{key}_{distortion}_{place}:.{k}f}}" for place, k in enumerate(own))
        for distortion, own in zip(("noise", "blur", "shift", "mode"), decimals.split(), strict=True)
    ]
    return f"| {title} | {' | '.join(cells)} |"


QUOTES = [
    Quote(LAB, "digit read from the code {percent_diff:.1f} ± {percent_diff_se:.1f}% (untrained encoder "
          "{percent_untrained:.1f} ± {percent_untrained_se:.1f}%); sprites, AUROC of the factors over 3 seeds: diff "
          "{diff_auroc:.3f} ± {diff_auroc_se:.3f}, InfoVAE {infovae_auroc:.3f} ± {infovae_auroc_se:.3f}, untrained "
          "{untrained_auroc:.3f} ± {untrained_auroc_se:.3f}", codes),
    Quote(PAPER, "with accuracy {digits_diff:.3f} ± {digits_diff_se:.3f} (5 folds of 1,797 codes, one seed, 264 steps of "
          "32 images); from the same encoder untrained {digits_untrained:.3f} ± {digits_untrained_se:.3f}.", codes),
    *(Quote(PAPER, _row(title, title, name, 3), codes)
      for title, name in (("AUROC of the factors (logistic regression)", "auroc"),
                          ("accuracy of the factors (the same)", "accuracy"), ("DCI informativeness", "informed"),
                          ("DCI disentanglement", "apart"))),
    Quote(PAPER, "| TAD (attributes captured) | {diff_tad:.2f} ± {diff_tad_se:.2f} ({diff_captured:.0f}) | "
          "{infovae_tad:.2f} ± {infovae_tad_se:.2f} ({infovae_captured:.0f}) | {untrained_tad:.2f} ± "
          "{untrained_tad_se:.2f} ({untrained_captured:.1f}) |", codes),
    *(Quote(PAPER, _line(title, *row), detected) for title, row in SENSITIVITY.items()),
    Quote(PAPER, "by {ahead:.3f} ± {ahead_se:.3f} in the mean.", codes),
]  # fmt: skip
