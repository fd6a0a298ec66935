"""Tables of itdiffusion/: curves of denoising errors, the likelihoods that are their integrals, densities on a grid."""

from common.results import schema


@schema.table("itdiffusion/mse_curve", 1, "Mean denoising error of a network, and of the Gaussian, along the log-SNR.")
class MseCurve:
    """One log-SNR point of one network at one epoch; what was not measured is empty."""

    dataset: str = schema.setting("data set and split")
    model: str = schema.setting("network")
    seed: int = schema.setting("seed of data, initial weights, noise and log-SNR points")
    epoch: int = schema.setting("passes over the training set so far", "epochs")
    d: int = schema.setting("dimensions of one example")
    n: int = schema.setting("examples", "examples")
    data_scale: str = schema.setting("range or scaling of the data that the network sees")
    bin_width: float = schema.setting("step D of the grid that the data lies on; 0: none", "data unit")
    integrator: str | None = schema.setting("rule that the point belongs to: deterministic, random or rqmc")
    logsnr: float = schema.setting("log of the signal-to-noise ratio", "nats")
    mse_se: float = schema.error("mse", note="over examples and noise")
    mse: float = schema.value(
        "E|eps - eps_hat|^2, summed over dimensions; for data on a grid x_hat is clamped to the data's range"
    )
    mse_hard: float | None = schema.value("the same with x_hat rounded to the nearest bin", default=None)
    mse_soft: float | None = schema.value("the same with x_hat softly rounded", default=None)
    mse_dequantized: float | None = schema.value("the same on x + D (u - 1/2), u uniform, not clamped", default=None)
    mse_gaussian: float | None = schema.value("sum_i s(logsnr + log l_i) of the data's spectrum l", default=None)
    loc: float | None = schema.context("location of the log-SNR range", "nats", default=None)
    scale: float | None = schema.context("scale of the log-SNR range, which is loc -+ clip scale", "nats", default=None)
    clip: float | None = schema.context("cut of the log-SNR range in units of scale", default=None)


@schema.table("itdiffusion/nll", 1, "Negative log likelihood of data under a denoiser, its errors and its estimand.")
class Nll:
    """One estimate of one network (or ensemble) at one epoch."""

    dataset: str = schema.setting("data set and split")
    model: str = schema.setting("network, or the members of an ensemble")
    seed: int = schema.setting("seed of data, initial weights, noise and log-SNR points")
    epoch: int = schema.setting("passes over the training set so far", "epochs")
    d: int = schema.setting("dimensions of one example")
    n: int = schema.setting("examples", "examples")
    data_scale: str = schema.setting("range or scaling of the data that the network sees")
    bin_width: float = schema.setting("step D where the estimand is a mass; 0 where it is a density", "data unit")
    estimator: str = schema.setting(
        "continuous: a density; dequantized, discrete: a mass (the first bounds it); ensemble: the member with the "
        "least error at each log-SNR; variational: the discrete-time bound; ode: the same network's flow"
    )
    rounding: str | None = schema.setting("what is done to x_hat: none, raw (clamped), hard, soft, best")
    integrator: str | None = schema.setting("deterministic, random or rqmc")
    points: int | None = schema.setting("log-SNR points, or steps", "points")
    nll_nats: float = schema.value("E[-log p(x)] or E[-log P(x)] per example", "nats")
    nll_bpd: float = schema.value("nll_nats / (d log 2)", "bits/dim")
    se_quadrature_nats: float = schema.error("nll_nats", "nats", note="of the integral over log-SNR")
    se_data_nats: float = schema.error("nll_nats", "nats", note="over examples and noise")
    se_bpd: float = schema.error("nll_bpd", "bits/dim", note="both together")
    tail_nats: float | None = schema.context("what may lie outside the log-SNR range", "nats", default=None)
    reference_nats: float | None = schema.value(
        "exact NLL of the same examples, where the law is known", "nats", default=None
    )
    excess_nats: float | None = schema.value("nll_nats - reference_nats", "nats", default=None)
    excess_se_nats: float | None = schema.error(
        "excess_nats", "nats", default=None, note="over examples and noise; the same examples stand in both"
    )
    gaussian_nats: float | None = schema.value(
        "-log N(x; mu, Sigma) of the same examples; for a mass, -log P of that Gaussian on the grid; dequantised: "
        "minus d log D",
        "nats",
        default=None,
    )
    optimistic_nats: float | None = schema.value(
        "the NLL when denoisers are chosen on the very examples that are averaged", "nats", default=None
    )
    loc: float | None = schema.context("location of the log-SNR range", "nats", default=None)
    scale: float | None = schema.context("scale of the log-SNR range, which is loc -+ clip scale", "nats", default=None)
    clip: float | None = schema.context("cut of the log-SNR range in units of scale", default=None)
    evaluations: int = schema.context("network evaluations (examples that went through the network)", default=0)


@schema.table("itdiffusion/density_grid", 1, "-log p(x, y) of a 2-D model on a grid of points.")
class DensityGrid:
    """One point of one network at one epoch."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting("network")
    seed: int = schema.setting("seed of data, initial weights and noise")
    epoch: int = schema.setting("passes over the training set so far", "epochs")
    x: float = schema.setting("first coordinate", "data unit")
    y: float = schema.setting("second coordinate", "data unit")
    nll_nats: float = schema.value("-log p(x, y)", "nats")
    nll_se: float = schema.error("nll_nats", "nats", note="over the draws of noise")
