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


@schema.table("calibration/coverage", 1, "Are the reported errors honest? One estimator on one law, over many seeds.")
class Coverage:
    """Repetitions of one estimator on one law."""

    estimator: str = schema.setting("which estimator")
    case: str = schema.setting("law whose answer is known")
    d: int = schema.setting("dimensions of one example")
    n: int = schema.setting("examples of one repetition")
    points: int = schema.setting("log-SNR points of one repetition")
    seeds: int = schema.setting("repetitions")
    within_2_se: float = schema.value("share of repetitions within 2 standard errors (and the tail) of the truth")
    within_2_se_se: float = schema.error("within_2_se")
    bias_nats: float = schema.value("mean of estimate - truth", "nats")
    bias_se: float = schema.error("bias_nats", "nats")
    reported_se_nats: float = schema.value("root mean square of the reported standard errors", "nats")
    spread_nats: float = schema.value("standard deviation of the estimates over the repetitions", "nats")
    quadrature_nats_per_dim: float | None = schema.value(
        "largest difference, with 100 points, same examples and noise, to 800 points on a range wider by 8 nats of "
        "log-SNR on each side, per dimension",
        "nats",
        default=None,
    )


@schema.table("calibration/control_variate", 1, "Noise of the NLL over eps, given the examples, with and without it.")
class ControlVariate:
    """One law, at equal network evaluations."""

    case: str = schema.setting("law, with its optimal denoiser")
    d: int = schema.setting("dimensions of one example")
    n: int = schema.setting("examples")
    points: int = schema.setting("log-SNR points")
    noise: str = schema.setting(
        "shared: one eps along the curve, independent: one at each point, both with and without; default: independent "
        "eps without, and with it the quasi-random eps of the default estimator"
    )
    plain_sd_nats: float = schema.value("standard deviation without the control variate", "nats")
    control_sd_nats: float = schema.value("standard deviation with it", "nats")
    ratio: float = schema.value("plain over control; 0 where the control variate leaves rounding errors only")


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


@schema.table("bench/throughput", 1, "Images a second of one device, in training and in the evaluation of the NLL.")
class Throughput:
    """One kind of work in one precision; the median and the range over repetitions."""

    work: str = schema.setting("train: optimiser steps of the image study; nll: network calls of an I-MMSE curve")
    setting: str = schema.setting("network and batch")
    device: str = schema.setting("device and its name")
    precision: str = schema.setting("fp32, tf32 or bf16")
    compiled: bool = schema.setting("whether the network was compiled")
    images_per_second: float = schema.context("median over repetitions")
    images_per_second_low: float = schema.context("least of a repetition")
    images_per_second_high: float = schema.context("most of a repetition")
    parameters: int = schema.context("weights of the network")
