"""Tables of the lab itself: calibration and speed."""

from common.results import schema


@schema.table("calibration/estimators", 1, "Every estimator on a case whose answer is known.")
class Calibration:
    """One estimator on one case."""

    estimator: str = schema.setting("which estimator")
    case: str = schema.setting("law whose answer is known")
    d: int = schema.setting("dimensions of one example")
    snr: float | None = schema.setting("signal-to-noise ratio gamma, where the case has one")
    n: int = schema.setting("examples used")
    seed: int = schema.setting("seed")
    truth_nats: float = schema.value("closed form or quadrature", "nats")
    estimate_nats: float = schema.value("what the estimator says", "nats")
    se: float = schema.error("estimate_nats", "nats")
    bias_bound: float = schema.value("what is known of its bias: |bias| is at most this", "nats")
    evaluations: int = schema.context("evaluations of the score or denoiser, per example")
    seconds: float = schema.context("wall time", "s")


@schema.table("bench/speed", 1, "Speed of each hot path beside a plain reference of the published algorithm.")
class Speed:
    """One row of the speed table: medians over repetitions within one run, and the ratio's range."""

    name: str = schema.setting("which hot path")
    setting: str = schema.setting("its settings")
    unit: str = schema.setting("unit of ours and reference")
    ours: float = schema.context("this repository, median")
    reference: float = schema.context("plain reference, median")
    ratio: float = schema.context("reference over ours, median of the pairs")
    ratio_low: float = schema.context("smallest ratio of a pair")
    ratio_high: float = schema.context("largest ratio of a pair")
    wanted: float = schema.setting("the least ratio wanted on two CPU cores")
    evaluations_ours: int = schema.context("network evaluations of ours")
    evaluations_reference: int = schema.context("network evaluations of the reference")
