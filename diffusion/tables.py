"""Tables of diffusion/: the bound, its terms and what it is compared with."""

from dataclasses import dataclass

from infolab.results import store


@dataclass(frozen=True, kw_only=True)
class BoundColumns:
    """The terms of the generalization bound and what it is compared with, shared by toy and image experiments."""

    dataset: str = store.setting("data set")
    model: str = store.setting("network: mlp, or unet[size,parametrization,law of t in training]")
    seed: int = store.setting("seed of data, initial weights, noise and evaluation")
    m: int = store.setting("number of training examples", "examples")
    d: int = store.setting("dimensions of one example")
    T: float = store.setting("diffusion time at which the forward process stops", "diffusion time")
    epoch: int = store.setting("passes over the training set so far", "epochs")
    sde_steps: int = store.setting("N, Euler-Maruyama steps of the sampler", "steps")
    step_rule: str = store.setting("fixed_number: N does not depend on T; fixed_size: T/N does not")
    R: float = store.setting("sub-Gaussian constant of the loss")
    variant: str = store.setting(
        "published: score loss E 1/2 |sigma s + eps|^2, L the largest over steps of the mean score norm; "
        "exact: score loss (T/2) E g^2 |s - grad log p_hat_t|^2 from t_eps on, L the largest score norm seen"
    )
    t_eps: float = store.setting("smallest time of the exact score loss, which diverges at 0", "diffusion time")
    term1: float = store.value("T1 = -(1/m) sum KL(E_T(x_i) || mixture) = -I(X; X_T) of the training set", "nats")
    term1_se: float = store.error("term1", "nats", note="over the noise draws and, where subsampled, the examples")
    term2: float = store.value("T2 = (1/m) sum sqrt(KL(E_T(x_i) || N(0, I)))", "sqrt(nats)")
    term3: float = store.value("T3 = sqrt(T L^2 / (2 m N) sum_k beta(t_k))")
    score_norm: float = store.value("L, bound of the score norm along the sampler's path", "1/data unit")
    score_loss_nats: float = store.value("score-matching loss on the training set", "nats")
    score_loss_se: float = store.error("score_loss_nats", "nats", note="over times, noise and training examples drawn")
    bound_nats: float = store.value("term1 + sqrt(2) R (term2 + term3) + score_loss_nats", "nats")
    bound_se: float = store.error(
        "bound_nats",
        "nats",
        note="of term1 and the score loss alone; the noise of L in term3, which is larger, shows "
        "in the spread over seeds",
    )
    kl_test_nats: float | None = store.value(
        "E_p[log p - log p_theta], p exact, p_theta by the ODE", "nats", default=None
    )
    kl_test_se: float | None = store.error("kl_test_nats", "nats", default=None, note="over the test points")
    kl_kde_nats: float | None = store.value(
        "the published estimate: two Gaussian kernel densities of bandwidth 0.1, of test points and of samples",
        "nats",
        default=None,
    )
    kl_kde_floor_nats: float | None = store.value(
        "what kl_kde_nats reads between two samples of the true law", "nats", default=None
    )
    bpd_elbo: float | None = store.value(
        "upper bound of the bits per dimension, from the ELBO", "bits/dim", default=None
    )
    bpd_elbo_se: float | None = store.error("bpd_elbo", "bits/dim", default=None, note="over images, times and noise")
    bpd_ode: float | None = store.value(
        "bits per dimension from the probability-flow ODE, with uniform dequantisation (an upper bound of the bits of "
        "the grey levels' mass under that model)",
        "bits/dim",
        default=None,
    )
    bpd_ode_se: float | None = store.error(
        "bpd_ode", "bits/dim", default=None, note="over images and probes; the solver's error is not in it"
    )


@store.table(
    "diffusion/toy_bound", 1, "The bound and the test KL of a diffusion model of a 2-D toy set, against T and m."
)
class ToyBound(BoundColumns):
    """One network, at one epoch, under one step rule and variant."""


@dataclass(frozen=True, kw_only=True)
class ImageColumns(BoundColumns):
    """What the tables of image experiments have beside the bound."""

    split: str = store.setting("few_shot or full: which of the two image experiments")
    bpd_histogram: float = store.value("per-pixel histogram (Laplace-smoothed) of the same training set", "bits/dim")
    bpd_histogram_se: float = store.error("bpd_histogram", "bits/dim", note="over the test images")
    ode_evaluations: int = store.context("network evaluations of the ODE solver")


@store.table("diffusion/image_bound", 1, "The bound and the test bits per dimension of a diffusion model of images.")
class ImageBound(ImageColumns):
    """One network, at one epoch, under one step rule and variant."""


@dataclass(frozen=True, kw_only=True)
class PenaltyColumns:
    """How much of the bound entered the training loss."""

    penalty_weight: float = store.setting(
        "w of the training loss: denoising score matching + w sqrt(2) R T3(L_hat), L_hat the largest over time strata "
        "of the batch's mean score norm"
    )
    strata: int = store.setting("time strata of L_hat")


@store.table("diffusion/toy_penalty", 1, "Networks of a 2-D set trained with the bound's score-norm term as penalty.")
class ToyPenalty(PenaltyColumns, BoundColumns):
    """One network, under one step rule and variant."""


@store.table("diffusion/image_penalty", 1, "Image networks trained with the bound's score-norm term as penalty.")
class ImagePenalty(PenaltyColumns, ImageColumns):
    """One network, under one step rule and variant."""


@store.table(
    "diffusion/toy_choice",
    1,
    "Diffusion times chosen by the bound, and the bound and the test KL of networks trained at them and on a grid.",
)
class ToyChoice(PenaltyColumns, BoundColumns):
    """One network at one diffusion time, under one step rule and variant."""

    T: float = store.value("diffusion time at which the forward process stops", "diffusion time")
    T_given: float | None = store.setting("T where it was set; empty where it was chosen", "diffusion time")
    network: str = store.setting(
        "shared: one network for every T, trained on t ~ U(0, largest T), on which T is chosen; "
        "own: trained for this T alone, on t ~ U(0, T)"
    )
    rule: str = store.setting(
        "where T is from: gradient (trained with the shared network), search (over T, on the shared network), "
        "scan (the grid that the search looked at), grid (of the networks of their own)"
    )
