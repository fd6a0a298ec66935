"""Tables of vae/: training curves with log p(x), the generalization bounds, and memorization scores."""

from infolab.results import store


@store.table("vae/curves", 1, "Loss, KL, reconstruction, mutual information and log p(x) of a VAE over its epochs.")
class Curves:
    """One network at one epoch on one split."""

    dataset: str = store.setting("data set")
    model: str = store.setting("likelihood and architecture, with the sizes of hidden layers (or features) and code")
    seed: int = store.setting("seed of drawn pixels, folds, initial weights, noise and evaluation")
    mode: str = store.setting(
        "full: all training images; ghost: one half of them, a second decoder on the other; cv: all folds but one"
    )
    m: int = store.setting("images that this network was trained on", "examples")
    d: int = store.setting("dimensions of one image")
    lr: float = store.setting("learning rate of Adam")
    K: int = store.setting("folds of the grid; 0 outside of a grid")
    repeat: int = store.setting("repeat of the grid; -1 outside of a grid")
    fold: int = store.setting("fold that this network holds out; -1 outside of a grid")
    epoch: int = store.setting("passes over the training images so far", "epochs")
    split: str = store.setting("train: the network's training images; test: the test set, or (cv) the held-out fold")
    mi_estimator: str = store.setting(
        "what mi_nats is: untrained-decoder (published: log p(x|z) minus that of a decoder that never trains; not a "
        "mutual information); ghost (minus that of a decoder trained on the other half); none"
    )
    n_z: int = store.setting("N_z, importance samples per image", "samples")
    proposal: str = store.setting("law of z in log p(x): encoder or full-covariance, with random or sobol points")
    loss_nats: float = store.value("rec_nats + kl_nats, the negative ELBO with one z per image", "nats")
    loss_se: float = store.error("loss_nats", "nats", note="over images")
    kl_nats: float = store.value("KL(q(z|x) || N(0, I)), mean over images", "nats")
    kl_se: float = store.error("kl_nats", "nats", note="over images")
    rec_nats: float = store.value(
        "-log p(x|z), z ~ q(z|x), mean over images; for the Gaussian models that of the pixels' mass (an upper bound)",
        "nats",
    )
    rec_se: float = store.error("rec_nats", "nats", note="over images")
    mi_nats: float | None = store.value("mutual-information term, see mi_estimator", "nats", default=None)
    mi_se: float | None = store.error("mi_nats", "nats", default=None, note="over images")
    logpx_nats: float | None = store.value(
        "importance-weighted log p(x), mean over images; a lower bound in expectation", "nats", default=None
    )
    logpx_se: float | None = store.error("logpx_nats", "nats", default=None, note="over images")
    logpx_images: int = store.setting("images of logpx_nats; 0: not measured at this epoch", "examples")
    logpx_mc_se: float | None = store.context(
        "root mean square over images of the Monte Carlo error of one log p(x)", "nats", default=None
    )
    ess: float | None = store.value(
        "effective sample size (sum w)^2 / sum w^2 of n_z, mean over images", "samples", default=None
    )


@store.table("vae/bounds", 1, "Generalization bounds of a VAE over its epochs (Chen, Zhu, Shkurti 2025).")
class Bounds:
    """One network at one epoch with one mutual-information estimator; all per example."""

    dataset: str = store.setting("data set")
    model: str = store.setting("likelihood and architecture")
    seed: int = store.setting("seed of drawn pixels, initial weights, noise and evaluation")
    mode: str = store.setting("full, ghost or cv, see vae/curves")
    lr: float = store.setting("learning rate of Adam")
    epoch: int = store.setting("passes over the training images so far", "epochs")
    m: int = store.setting("images that the network was trained on", "examples")
    mi_estimator: str = store.setting(
        "untrained-decoder (published), ghost, or held-out (mean memorization score of the grid)"
    )
    mi_nats: float = store.value("MI, which enters the bound as 2 sqrt(MI / m); below 0 it counts as 0", "nats")
    mi_se: float = store.error("mi_nats", "nats", note="over images")
    ours_nats: float = store.value("REC + 2 sqrt(KL) + 2 sqrt(MI / m)", "nats")
    ours_se: float = store.error("ours_nats", "nats", note="over images")
    previous_nats: float = store.value("REC + sqrt(KL)", "nats")
    previous_se: float = store.error("previous_nats", "nats", note="over images")
    test_nats: float = store.value("REC + sqrt(KL) on the test images", "nats")
    test_se: float = store.error("test_nats", "nats", note="over images")


@store.table("vae/memorization", 1, "Memorization scores: what an image gains in log p(x) by being trained on.")
class Memorization:
    """One image at one epoch of one grid (van den Burg and Williams 2021); logmeanexp is log of the mean of p(x)."""

    dataset: str = store.setting("data set")
    model: str = store.setting("likelihood and architecture, or the denoiser of a diffusion model")
    seed: int = store.setting("seed of drawn pixels, folds, initial weights, noise and evaluation")
    m: int = store.setting("images of the grid", "examples")
    lr: float = store.setting("learning rate of Adam")
    K: int = store.setting("folds of the grid; 0: not a partition into folds")
    L: int = store.setting("repeats of the grid")
    estimator: str = store.setting(
        "how log p(x) was estimated: importance[N_z, proposal/points], i-mmse[points x draws], imported"
    )
    epoch: int = store.setting("passes over the training images so far", "epochs")
    index: int = store.setting("position of the image in the data set's training split")
    label: int = store.context("class of the image, -1 where it has none")
    logpx_in: float = store.value("logmeanexp of log p(x) over networks trained on the image", "nats")
    logpx_out: float = store.value("logmeanexp of log p(x) over networks that never saw it", "nats")
    score: float = store.value(
        "logpx_in - logpx_out; with few repeats biased upward, by about var(log p)/2 (1/L - 1/((K - 1) L))", "nats"
    )
    score_se: float | None = store.error(
        "score", "nats", default=None, note="over networks taken as independent; empty with one on a side (L = 1)"
    )
    runs_in: int = store.setting("networks trained on the image", "networks")
    runs_out: int = store.setting("networks that never saw it", "networks")


@store.table("vae/neighbours", 1, "How near a training image is to unseen images and to a model's samples.")
class Neighbours:
    """One training image; distances are Euclidean, pixels in [0, 1], at half resolution."""

    dataset: str = store.setting("data set")
    model: str = store.setting("likelihood and architecture")
    seed: int = store.setting("seed of drawn pixels, folds, initial weights, noise and samples")
    m: int = store.setting("images of the grid", "examples")
    lr: float = store.setting("learning rate of Adam")
    K: int = store.setting("folds of the grid")
    epoch: int = store.setting("passes over the training images so far", "epochs")
    index: int = store.setting("position of the image in the data set's training split")
    label: int = store.context("class of the image, -1 where it has none")
    n: int = store.setting("unseen images, and as many samples (means of the decoder)", "examples")
    dist_heldout: float = store.value("distance to its nearest image of the test split")
    dist_sample: float = store.value("distance to its nearest sample of a network that was trained on it")
    ratio: float | None = store.value("rho = dist_heldout / dist_sample; empty where dist_sample is 0")


@store.table("vae/duplicates", 1, "Pairs of nearly equal training images.")
class Duplicates:
    """One pair: all pairs within the distance `within`, and in any case the `closest` ones."""

    dataset: str = store.setting("data set")
    seed: int = store.setting("seed of the subset of m images")
    m: int = store.setting("images that were compared, each with each", "examples")
    within: float = store.setting("pairs up to this distance are listed", "fraction of the grey range")
    closest: int = store.setting("so many closest pairs are listed in any case", "pairs")
    index_a: int = store.setting("position of one image in the data set's training split")
    index_b: int = store.setting("position of the other, above index_a")
    label_a: int = store.context("class of the first, -1 where it has none")
    label_b: int = store.context("class of the second")
    distance: float = store.value("root mean square over pixels of their difference", "fraction of the grey range")


@store.table("vae/imported_losses", 2, "Loss curves of the public memorization study, imported from its files.")
class ImportedLosses:
    """One network at one epoch on one split."""

    dataset: str = store.setting("data set")
    model: str = store.setting("the study's description of the model")
    seed: int = store.setting("root seed")
    m: int = store.setting("images of the grid", "examples")
    lr: float = store.setting("learning rate of Adam")
    K: int = store.setting("folds of the grid")
    grid: str = store.setting("digest of the grid's first file, which tells two grids of the same settings apart")
    repeat: int = store.setting("repeat of the grid")
    fold: int = store.setting("fold that this network holds out")
    epoch: int = store.setting("passes over the training images so far", "epochs")
    split: str = store.setting("train: mean over the batches of the epoch, while training; test: the held-out fold")
    loss_nats: float = store.value("negative ELBO with one z per image", "nats")
