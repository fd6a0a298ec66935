"""Tables of the lab itself: calibration and speed."""

from infolab.results import store


@store.table("calibration/estimators", 1, "Every estimator on a case whose answer is known.")
class Calibration:
    """One estimator on one case."""

    estimator: str = store.setting("which estimator")
    case: str = store.setting("law whose answer is known")
    d: int = store.setting("dimensions of one example")
    snr: float | None = store.setting("signal-to-noise ratio gamma, where the case has one")
    n: int = store.setting("examples used")
    seed: int = store.setting("seed")
    truth_nats: float = store.value("closed form or quadrature", "nats")
    estimate_nats: float = store.value("what the estimator says", "nats")
    se: float = store.error("estimate_nats", "nats")
    bias_bound: float = store.value("what is known of its bias: |bias| is at most this", "nats")
    evaluations: int = store.context("evaluations of the score or denoiser, per example")
    seconds: float = store.context("wall time", "s")


@store.table("calibration/coverage", 1, "Are the reported errors honest? One estimator on one law, over many seeds.")
class Coverage:
    """Repetitions of one estimator on one law."""

    estimator: str = store.setting("which estimator")
    case: str = store.setting("law whose answer is known")
    d: int = store.setting("dimensions of one example")
    n: int = store.setting("examples of one repetition")
    points: int = store.setting("log-SNR points of one repetition")
    seeds: int = store.setting("repetitions")
    within_2_se: float = store.value("share of repetitions within 2 standard errors (and the tail) of the truth")
    within_2_se_se: float = store.error("within_2_se")
    bias_nats: float = store.value("mean of estimate - truth", "nats")
    bias_se: float = store.error("bias_nats", "nats")
    reported_se_nats: float = store.value("root mean square of the reported standard errors", "nats")
    spread_nats: float = store.value("standard deviation of the estimates over the repetitions", "nats")
    quadrature_nats_per_dim: float | None = store.value(
        "largest difference, with 100 points, same examples and noise, to 800 points on a range wider by 8 nats of "
        "log-SNR on each side, per dimension",
        "nats",
        default=None,
    )


@store.table("calibration/control_variate", 1, "Noise of the NLL over eps, given the examples, with and without it.")
class ControlVariate:
    """One distribution, at equal network evaluations."""

    case: str = store.setting("law, with its optimal denoiser")
    d: int = store.setting("dimensions of one example")
    n: int = store.setting("examples")
    points: int = store.setting("log-SNR points")
    noise: str = store.setting(
        "shared: one eps along the curve, independent: one at each point, both with and without; default: independent "
        "eps without, and with it the quasi-random eps of the default estimator"
    )
    plain_sd_nats: float = store.value("standard deviation without the control variate", "nats")
    control_sd_nats: float = store.value("standard deviation with it", "nats")
    ratio: float = store.value("plain over control; 0 where the control variate leaves rounding errors only")


@store.table("bench/speed", 1, "Speed of each hot path beside a plain reference of the published algorithm.")
class Speed:
    """One row of the speed table: medians over repetitions within one run, and the ratio's range."""

    name: str = store.setting("which hot path")
    setting: str = store.setting("its settings")
    unit: str = store.setting("unit of ours and reference")
    ours: float = store.context("this repository, median")
    reference: float = store.context("plain reference, median")
    ratio: float = store.context("reference over ours, median of the pairs")
    ratio_low: float = store.context("smallest ratio of a pair")
    ratio_high: float = store.context("largest ratio of a pair")
    wanted: float = store.setting("the least ratio wanted on two CPU cores")
    evaluations_ours: int = store.context("network evaluations of ours")
    evaluations_reference: int = store.context("network evaluations of the reference")


@store.table("bench/throughput", 1, "Images a second of one device, in training and in the evaluation of the NLL.")
class Throughput:
    """One kind of work in one precision; the median and the range over repetitions."""

    work: str = store.setting("train: optimiser steps of the image study; nll: network calls of an I-MMSE curve")
    setting: str = store.setting("network and batch")
    device: str = store.setting("device and its name")
    precision: str = store.setting("fp32, tf32 or bf16")
    compiled: bool = store.setting("whether the network was compiled")
    images_per_second: float = store.context("median over repetitions")
    images_per_second_low: float = store.context("least of a repetition")
    images_per_second_high: float = store.context("most of a repetition")
    parameters: int = store.context("weights of the network")
