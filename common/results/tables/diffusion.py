"""Tables of diffusion/: the bound, its terms and what it is compared with."""

from dataclasses import dataclass

from common.results import schema


@dataclass(frozen=True, kw_only=True)
class BoundColumns:
    """The terms of the generalization bound and what it is compared with, shared by toy and image experiments."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting("network: mlp, or unet[size,parametrization,law of t in training]")
    seed: int = schema.setting("seed of data, initial weights, noise and evaluation")
    m: int = schema.setting("number of training examples", "examples")
    d: int = schema.setting("dimensions of one example")
    T: float = schema.setting("diffusion time at which the forward process stops", "diffusion time")
    epoch: int = schema.setting("passes over the training set so far", "epochs")
    sde_steps: int = schema.setting("N, Euler-Maruyama steps of the sampler", "steps")
    step_rule: str = schema.setting("fixed_number: N does not depend on T; fixed_size: T/N does not")
    R: float = schema.setting("sub-Gaussian constant of the loss")
    variant: str = schema.setting(
        "published: score loss E 1/2 |sigma s + eps|^2, L the largest over steps of the mean score norm; "
        "exact: score loss (T/2) E g^2 |s - grad log p_hat_t|^2 from t_eps on, L the largest score norm seen"
    )
    t_eps: float = schema.setting("smallest time of the exact score loss, which diverges at 0", "diffusion time")
    term1: float = schema.value("T1 = -(1/m) sum KL(E_T(x_i) || mixture) = -I(X; X_T) of the training set", "nats")
    term1_se: float = schema.error("term1", "nats", note="over the noise draws and, where subsampled, the examples")
    term2: float = schema.value("T2 = (1/m) sum sqrt(KL(E_T(x_i) || N(0, I)))", "sqrt(nats)")
    term3: float = schema.value("T3 = sqrt(T L^2 / (2 m N) sum_k beta(t_k))")
    score_norm: float = schema.value("L, bound of the score norm along the sampler's path", "1/data unit")
    score_loss_nats: float = schema.value("score-matching loss on the training set", "nats")
    score_loss_se: float = schema.error("score_loss_nats", "nats", note="over times, noise and training examples drawn")
    bound_nats: float = schema.value("term1 + sqrt(2) R (term2 + term3) + score_loss_nats", "nats")
    bound_se: float = schema.error(
        "bound_nats",
        "nats",
        note="of term1 and the score loss alone; the noise of L in term3, which is larger, shows "
        "in the spread over seeds",
    )
    kl_test_nats: float | None = schema.value(
        "E_p[log p - log p_theta], p exact, p_theta by the ODE", "nats", default=None
    )
    kl_test_se: float | None = schema.error("kl_test_nats", "nats", default=None, note="over the test points")
    kl_kde_nats: float | None = schema.value(
        "the published estimate: two Gaussian kernel densities of bandwidth 0.1, of test points and of samples",
        "nats",
        default=None,
    )
    kl_kde_floor_nats: float | None = schema.value(
        "what kl_kde_nats reads between two samples of the true law", "nats", default=None
    )
    bpd_elbo: float | None = schema.value(
        "upper bound of the bits per dimension, from the ELBO", "bits/dim", default=None
    )
    bpd_elbo_se: float | None = schema.error("bpd_elbo", "bits/dim", default=None, note="over images, times and noise")
    bpd_ode: float | None = schema.value(
        "bits per dimension from the probability-flow ODE, with uniform dequantisation (an upper bound of the bits of "
        "the grey levels' mass under that model)",
        "bits/dim",
        default=None,
    )
    bpd_ode_se: float | None = schema.error(
        "bpd_ode", "bits/dim", default=None, note="over images and probes; the solver's error is not in it"
    )


@schema.table(
    "diffusion/toy_bound", 1, "The bound and the test KL of a diffusion model of a 2-D toy set, against T and m."
)
class ToyBound(BoundColumns):
    """One network, at one epoch, under one step rule and variant."""


@schema.table("diffusion/image_bound", 1, "The bound and the test bits per dimension of a diffusion model of images.")
class ImageBound(BoundColumns):
    """One network, at one epoch, under one step rule and variant."""

    split: str = schema.setting("few_shot or full: which of the two image experiments")
    bpd_histogram: float = schema.value("per-pixel histogram (Laplace-smoothed) of the same training set", "bits/dim")
    bpd_histogram_se: float = schema.error("bpd_histogram", "bits/dim", note="over the test images")
    ode_evaluations: int = schema.context("network evaluations of the ODE solver")
