"""Table of mutual information: estimates from denoising errors beside what is known."""

from common.results import schema


@schema.table("itdiffusion/mi", 1, "Mutual information from denoising errors, on pairs whose answer is known or not.")
class MutualInformation:
    """One estimate."""

    dataset: str = schema.setting("kind of law, or the data set")
    case: str = schema.setting("law of the pair, dimensions of x + dimensions of y; or the two parts of the data")
    n: int = schema.setting("pairs; half of them train the networks that are evaluated on the other half", "examples")
    d_x: int = schema.setting("dimensions of x")
    d_y: int = schema.setting("dimensions of y")
    seed: int = schema.setting("seed of data, halves, initial weights and noise")
    form: str = schema.setting("difference of errors, or orthogonal (squared distance of denoisers, less its floor)")
    minutes: float = schema.setting("wall time that decides the number of steps; 0: steps were given", "min")
    method: str = schema.context("how the estimate was made: form or closed form, and which side was noised")
    maps: str = schema.context("invertible maps of the noised and the given side, one pair for each half")
    truth_nats: float | None = schema.value("closed form, empty where it is not known", "nats", default=None)
    mi_nats: float = schema.value("estimate of I(x; y)", "nats")
    se_nats: float = schema.error("mi_nats", "nats", note="over pairs and, as far as it shows, of training")
    se_data_nats: float = schema.context("the part of se_nats over pairs", "nats")
    gaussian_nats: float | None = schema.value("what the conditional Gaussians alone give", "nats", default=None)
    squared_nats: float | None = schema.value("the orthogonal form, floor not subtracted", "nats", default=None)
    floor_nats: float | None = schema.value("the orthogonal form with y permuted", "nats", default=None)
    steps: int = schema.context("optimiser steps of the denoiser", "steps")
    evaluations: int = schema.context("pairs that went through a network in the evaluation")
    seconds: float = schema.context("wall time", "s")
