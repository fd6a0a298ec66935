"""Tables of itdiffusion/: denoising errors, likelihoods, densities, baselines, samples and mutual information."""

from infolab.results import store

# ----------
# Tables of itdiffusion/: curves of denoising errors, the likelihoods that are their integrals, densities on a grid.


@store.table("itdiffusion/mse_curve", 1, "Mean denoising error of a network, and of the Gaussian, along the log-SNR.")
class MseCurve:
    """One log-SNR point of one network at one epoch; what was not measured is empty."""

    dataset: str = store.setting("data set and split")
    model: str = store.setting("network")
    seed: int = store.setting("seed of data, initial weights, noise and log-SNR points")
    epoch: int = store.setting("passes over the training set so far", "epochs")
    d: int = store.setting("dimensions of one example")
    n: int = store.setting("examples", "examples")
    data_scale: str = store.setting("range or scaling of the data that the network sees")
    bin_width: float = store.setting("step D of the grid that the data lies on; 0: none", "data unit")
    integrator: str | None = store.setting("rule that the point belongs to: deterministic, random or rqmc")
    logsnr: float = store.setting("log of the signal-to-noise ratio", "nats")
    mse_se: float = store.error("mse", note="over examples and noise")
    mse: float = store.value(
        "E|eps - eps_hat|^2, summed over dimensions; for data on a grid x_hat is clamped to the data's range"
    )
    mse_hard: float | None = store.value("the same with x_hat rounded to the nearest bin", default=None)
    mse_soft: float | None = store.value("the same with x_hat softly rounded", default=None)
    mse_dequantized: float | None = store.value("the same on x + D (u - 1/2), u uniform, not clamped", default=None)
    mse_gaussian: float | None = store.value("sum_i s(logsnr + log l_i) of the data's spectrum l", default=None)
    loc: float | None = store.context("location of the log-SNR range", "nats", default=None)
    scale: float | None = store.context("scale of the log-SNR range, which is loc -+ clip scale", "nats", default=None)
    clip: float | None = store.context("cut of the log-SNR range in units of scale", default=None)


@store.table("itdiffusion/nll", 1, "Negative log likelihood of data under a denoiser, its errors and its estimand.")
class Nll:
    """One estimate of one network (or ensemble) at one epoch."""

    dataset: str = store.setting("data set and split")
    model: str = store.setting("network, or the members of an ensemble")
    seed: int = store.setting("seed of data, initial weights, noise and log-SNR points")
    epoch: int = store.setting("passes over the training set so far", "epochs")
    d: int = store.setting("dimensions of one example")
    n: int = store.setting("examples", "examples")
    data_scale: str = store.setting("range or scaling of the data that the network sees")
    bin_width: float = store.setting("step D where the estimand is a mass; 0 where it is a density", "data unit")
    estimator: str = store.setting(
        "continuous: a density; dequantized, discrete: a mass (the first bounds it); ensemble: the member with the "
        "least error at each log-SNR; variational: the discrete-time bound; ode: the same network's flow"
    )
    rounding: str | None = store.setting("what is done to x_hat: none, raw (clamped), hard, soft, best")
    integrator: str | None = store.setting("deterministic, random or rqmc")
    points: int | None = store.setting("log-SNR points, or steps", "points")
    nll_nats: float = store.value("E[-log p(x)] or E[-log P(x)] per example", "nats")
    nll_bpd: float = store.value("nll_nats / (d log 2)", "bits/dim")
    se_quadrature_nats: float = store.error("nll_nats", "nats", note="of the integral over log-SNR")
    se_data_nats: float = store.error("nll_nats", "nats", note="over examples and noise")
    se_bpd: float = store.error("nll_bpd", "bits/dim", note="both together")
    tail_nats: float | None = store.context("what may lie outside the log-SNR range", "nats", default=None)
    reference_nats: float | None = store.value(
        "exact NLL of the same examples, where the law is known", "nats", default=None
    )
    excess_nats: float | None = store.value("nll_nats - reference_nats", "nats", default=None)
    excess_se_nats: float | None = store.error(
        "excess_nats", "nats", default=None, note="over examples and noise; the same examples stand in both"
    )
    gaussian_nats: float | None = store.value(
        "-log N(x; mu, Sigma) of the same examples; for a mass, -log P of that Gaussian on the grid; dequantised: "
        "minus d log D",
        "nats",
        default=None,
    )
    optimistic_nats: float | None = store.value(
        "the NLL when denoisers are chosen on the very examples that are averaged", "nats", default=None
    )
    loc: float | None = store.context("location of the log-SNR range", "nats", default=None)
    scale: float | None = store.context("scale of the log-SNR range, which is loc -+ clip scale", "nats", default=None)
    clip: float | None = store.context("cut of the log-SNR range in units of scale", default=None)
    evaluations: int = store.context("network evaluations (examples that went through the network)", default=0)


@store.table("itdiffusion/density_grid", 1, "-log p(x, y) of a 2-D model on a grid of points.")
class DensityGrid:
    """One point of one network at one epoch."""

    dataset: str = store.setting("data set")
    model: str = store.setting("network")
    seed: int = store.setting("seed of data, initial weights and noise")
    epoch: int = store.setting("passes over the training set so far", "epochs")
    x: float = store.setting("first coordinate", "data unit")
    y: float = store.setting("second coordinate", "data unit")
    nll_nats: float = store.value("-log p(x, y)", "nats")
    nll_se: float = store.error("nll_nats", "nats", note="over the draws of noise")


# ----------
# Table of itdiffusion/'s image study: the simple distributions that a denoiser's discrete NLL must beat.


@store.table("itdiffusion/baselines", 1, "Simple laws of grey levels, fitted to the training set of an image run.")
class ImageBaseline:
    """One baseline on the test images of one run."""

    dataset: str = store.setting("data set")
    model: str = store.setting(
        "uniform; histogram (per pixel, one count added to every level); gaussian[floor=F] (full covariance, F squared "
        "grey levels added to every variance; the product over pixels of the mass that each bin has given the pixels "
        "before it, end bins taking the tails); mixture[C,smoothing=A] (C components of independent pixel histograms, "
        "by EM, A counts added to every level)"
    )
    seed: int = store.setting("seed of the run, which starts the mixture's EM")
    d: int = store.setting("dimensions of one image")
    n: int = store.setting("test images")
    levels: int = store.setting("Q, grey levels")
    nll_bpd: float = store.value("mean -log2 of the images' probability mass, per dimension", "bits/dim")
    nll_bpd_se: float = store.error("nll_bpd", "bits/dim", note="over the test images")


# ----------
# Table of itdiffusion/'s samples: how far those of the reverse process lie from held-out data.


@store.table(
    "itdiffusion/samples",
    1,
    "MMD of samples of the reverse process to held-out data, beside that of two held-out halves.",
)
class ShapeSamples:
    """One network, at one epoch."""

    dataset: str = store.setting("data set")
    model: str = store.setting("network and how it was trained")
    seed: int = store.setting("seed of data, initial weights, noise and evaluation")
    epoch: int = store.setting("passes over the training set so far", "epochs")
    n: int = store.setting("samples, and points of each held-out half", "examples")
    sampler_steps: int = store.setting("steps of the reverse SDE, even in log-SNR", "steps")
    bandwidth: float = store.value("of the Gaussian kernel: median distance of the held-out points", "data unit")
    mmd2: float = store.value("unbiased MMD^2 between samples and one held-out half")
    mmd2_se: float = store.error("mmd2", note="over samples and held-out points")
    mmd2_heldout: float = store.value("unbiased MMD^2 between the two held-out halves")
    mmd2_heldout_se: float = store.error("mmd2_heldout", note="over held-out points")


# ----------
# Table of mutual information: estimates from denoising errors beside what is known.


@store.table("itdiffusion/mi", 1, "Mutual information from denoising errors, on pairs whose answer is known or not.")
class MutualInformation:
    """One estimate."""

    dataset: str = store.setting("kind of law, or the data set")
    case: str = store.setting("law of the pair, dimensions of x + dimensions of y; or the two parts of the data")
    n: int = store.setting("pairs; half of them train the networks that are evaluated on the other half", "examples")
    d_x: int = store.setting("dimensions of x")
    d_y: int = store.setting("dimensions of y")
    seed: int = store.setting("seed of data, halves, initial weights and noise")
    form: str = store.setting("difference of errors, or orthogonal (squared distance of denoisers, less its floor)")
    minutes: float = store.setting("wall time that decides the number of steps; 0: steps were given", "min")
    method: str = store.context("how the estimate was made: form or closed form, and which side was noised")
    maps: str = store.context("invertible maps of the noised and the given side, one pair for each half")
    truth_nats: float | None = store.value("closed form, empty where it is not known", "nats", default=None)
    mi_nats: float = store.value("estimate of I(x; y)", "nats")
    se_nats: float = store.error("mi_nats", "nats", note="over pairs and, as far as it shows, of training")
    se_data_nats: float = store.context("the part of se_nats over pairs", "nats")
    gaussian_nats: float | None = store.value("what the conditional Gaussians alone give", "nats", default=None)
    squared_nats: float | None = store.value("the orthogonal form, floor not subtracted", "nats", default=None)
    floor_nats: float | None = store.value("the orthogonal form with y permuted", "nats", default=None)
    steps: int = store.context("optimiser steps of the denoiser", "steps")
    evaluations: int = store.context("pairs that went through a network in the evaluation")
    seconds: float = store.context("wall time", "s")
