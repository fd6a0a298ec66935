"""The modes by name: for which models they are, which settings of their own they have, and the table they fill."""

from dataclasses import dataclass

CODED = ("diff", "vae")
ALL = ("diff", "vae", "vanilla")
LATENT = ("latent_epochs", "latent_batch")
DRAWN = ("n", "steps", "eta", "sampling", "split_step", *LATENT)


@dataclass(frozen=True)
class Mode:
    """A mode.

    Attributes:
        models: models that have it.
        about: what it makes, for the README and messages.
        uses: settings that it has beside those of the training; all others of the modes do not enter its run.
        untrained: it makes sense for a model without training (--epochs 0).
        results: table whose rows mark it as done: training, outputs or quality.
        one_seed: of a sweep over seeds it takes the first one only: a picture.
    """

    models: tuple[str, ...]
    about: str
    uses: tuple[str, ...] = ()
    untrained: bool = False
    results: str = "outputs"
    one_seed: bool = False


MODES = {
    "train": Mode(ALL, "the model", results="training"),
    "eval": Mode(ALL, "n sampled images beside training images", DRAWN, one_seed=True),
    "eval_fid": Mode(ALL, "n sampled images as an array and as files", DRAWN),
    "save_latent": Mode(CODED, "codes of training and test images", untrained=True),
    "disentangle": Mode(
        CODED, "traversals: one coordinate of a code moved, x_T kept", ("img_id", "steps", "eta"), one_seed=True
    ),
    "interpolate": Mode(ALL, "ten images between two test images", ("img_id", "steps", "eta"), one_seed=True),
    "latent_quality": Mode(("diff",), "one code and n draws of x_T", ("img_id", "n", "steps", "eta"), one_seed=True),
    "train_latent_ddim": Mode(CODED, "the diffusion over codes", LATENT, results="training"),
    "plot_latent": Mode(CODED, "two coordinates of the codes, with labels", untrained=True, one_seed=True),
    "save_original_img": Mode(ALL, "training images as an array and as files", ("n",)),
    "eval_disentangle": Mode(CODED, "DCI, MIG, TAD of the saved codes", ("codes", "dci_variant"), True, "quality"),
    "train_classifier": Mode(CODED, "latent classification of the saved codes", ("codes",), True, "quality"),
    "calc_fid": Mode(ALL, "FID, KID and MMD of eval_fid's images", (*DRAWN, "reference", "features"), False, "quality"),
}
"""The ten modes of the public code, then its evaluation scripts."""
