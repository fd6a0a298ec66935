"""Settings of every mode: the model and its training first, then what a trained model is asked for."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from infodiffusion.data import check_dataset, contents_of, published_shape
from infodiffusion.networks import check_prior
from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, Positive, RunConfig, Share, not_in_id_at
from infolab.data import registry
from infolab.data.places import default_data_dir
from infolab.device import PRECISIONS, precision_label
from infolab.errors import UserError, check_choice
from infolab.mmd import KERNELS
from infolab.nn.unet import UNetConfig

# ----------
# The modes by name: for which models they are, which settings of their own they have, and the table they fill.

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


# ----------
# Settings of every mode: the model and its training first, then what a trained model is asked for.

MODELS = ("diff", "vae", "vanilla")
PARAMETRIZATIONS = ("noise", "velocity")
LR_SCHEDULES = ("published", "cosine", "constant")
SAMPLINGS = ("prior", "two-phase", "latent")


@dataclass(frozen=True)
class InfoConfig(RunConfig):
    """One model, and one mode of it; modes other than train find the trained model by the same settings."""

    mode: str = "train"
    """What to do, or several separated by commas, in order: train, eval, eval_fid, save_latent, disentangle,
    interpolate, latent_quality, train_latent_ddim, plot_latent, save_original_img; or an evaluation: eval_disentangle,
    train_classifier, calc_fid (README.md of this folder says what each writes)."""
    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in; the default is the environment's DATA_DIR, else data/ in the
    repository (`python -m infolab.data doctor` says what is there)."""
    download: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Fetch missing files of the data set into --data-dir first; nothing is downloaded otherwise."""
    model: Annotated[str, OneOf("model", MODELS)] = "diff"
    """diff (a diffusion model with a code), vae, or vanilla (a diffusion model without one)."""
    dataset: str = "fashion-mnist"
    """Image set: sprites, digits, mnist, fashion-mnist, cifar10, celeba, dsprites, 3dshapes, or chairs, ffhq (folders
    of these names below --data-dir); with --train-folder, the name that tables show."""
    train_folder: str = ""
    """Folder of .png or .jpg training images (folders below it too), resized to --image-size."""
    test_folder: str = ""
    """Folder of .png or .jpg test images; empty with --train-folder: every tenth training image."""
    image_size: Annotated[int, AtLeast(0)] = 0
    """Side of the images in pixels; 0: the data set's published one."""
    m: Annotated[int, AtLeast(0)] = 0
    """Training images, chosen by the seed; 0: all."""
    a_dim: Annotated[int, AtLeast(1)] = 32
    """Length of the code (published: 32 or 256)."""
    prior: str = "regular"
    """Distribution of codes that the MMD compares with: regular, 10mix or roll."""
    mmd_weight: Annotated[float, AtLeast(0)] = 0.1
    """Weight of the MMD between codes and prior; with --kld-weight 0 too, diff is a DiffAE and vae an autoencoder."""
    mmd_kernel: Annotated[str, OneOf("kernel of the MMD", KERNELS)] = "published"
    """Kernel of the MMD: published, exp(-|x-y|^2/d^2), or dimension, exp(-|x-y|^2/(2d)), which sees a collapse."""
    kld_weight: Annotated[float, AtLeast(0)] = 0.0
    """Weight of KL(q(a|x) || N(0, I)), per example (the public diff sums it over the batch)."""
    use_c: bool = False
    """Penalise |KL - C| instead, C growing linearly over the epochs from 0 to --c-max (beta-VAE with capacity)."""
    c_max: Annotated[float, AtLeast(0)] = 25.0
    """Capacity C at the end, nats."""
    bottleneck: bool = False
    """The code enters the blocks of the bottleneck only."""
    channels: Annotated[int, AtLeast(0)] = 0
    """Channels of the first level of every U-Net; 0: 64 for colour images, 32 for grey ones and chairs (published)."""
    mult: tuple[int, ...] = ()
    """Channel multipliers of the levels; none: 1 2 2 2 for diff, 1 2 4 8 for vanilla and vae (published)."""
    blocks: Annotated[int, AtLeast(1)] = 2
    """Residual blocks of a level."""
    patch: Annotated[int, AtLeast(1)] = 1
    """Side of the squares of pixels that U-Nets take as one position; 1: pixels (published), 2 is faster."""
    convolutions: int = 3
    """Convolutions of a residual block: 3 (the public code) or 2 (the usual block)."""
    dropout: float = 0.1
    """Dropout of every U-Net."""
    parametrization: Annotated[str, OneOf("parametrization", PARAMETRIZATIONS)] = field(
        default="noise", metadata=not_in_id_at("noise")
    )
    """What the network of diff and vanilla gives: noise, eps_hat (published), or velocity, v_hat with
    eps_hat = sqrt(1 - abar) x_t + sqrt(abar) v_hat. Each learns by the squared error of its output, so that velocity
    has the published loss with weight 1/abar: images, and codes, are learned from high noise too."""
    T: Annotated[int, AtLeast(2)] = 1000
    """Diffusion steps."""
    beta_1: float = 1e-5
    """Variance of the first step."""
    beta_T: float = 1e-2
    """Variance of the last step; betas lie on a line."""
    epochs: Annotated[int, AtLeast(0)] = 20
    """Passes over the training images; 0: the model as it was initialised (a baseline for codes)."""
    batch: Annotated[int, AtLeast(2)] = 64
    """Images of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-4
    """Learning rate of AdamW in the first epoch."""
    lr_schedule: Annotated[str, OneOf("learning-rate schedule", LR_SCHEDULES)] = "published"
    """published: lr in the first epoch, 2 lr in the second, then cosine to 0 by epochs; cosine: from 2 lr to 0 by
    steps; constant: 2 lr."""
    weight_decay: Annotated[float, AtLeast(0)] = 1e-5
    """Weight decay of AdamW."""
    ema_decay: Annotated[float, Share()] = 0.0
    """Decay of the average of the weights that is used afterwards; 0: the weights themselves (published)."""
    flip: bool = False
    """Mirror each training image with probability 1/2 (published for all but mnist and dsprites)."""
    seed: int = 64
    """Seed of initial weights, order and noise, and of what the modes draw."""
    evaluate_every: Annotated[int, AtLeast(0)] = field(default=0, metadata=EXCLUDED_FROM_RUN_ID)
    """Epochs between evaluations on test images while training; 0: at the end only."""
    latent_epochs: Annotated[int, AtLeast(1)] = 50
    """Passes over the codes when the diffusion over codes is trained."""
    latent_batch: Annotated[int, AtLeast(1)] = 64
    """Codes of one of its steps."""
    sampling: Annotated[str, OneOf("sampling", SAMPLINGS)] = "prior"
    """How eval and eval_fid draw codes: prior; two-phase (the vanilla model for the first --split-step steps, then diff
    with a code from the prior); latent (a code from the diffusion over codes)."""
    n: Annotated[int, AtLeast(1)] = 16
    """Images that a mode draws, shows or encodes."""
    steps: Annotated[int, AtLeast(0)] = 100
    """DDIM steps; 0: DDPM with all its steps."""
    eta: Annotated[float, AtLeast(0)] = 0.01
    """Noise of DDIM (published: 0.01); inversion has none."""
    precision: Annotated[str, OneOf("precision", PRECISIONS)] = "fp32"
    """Arithmetic of the networks, in training and in all that is asked of them: fp32, tf32 (on a GPU that has it), or
    bf16. Under bf16 or tf32 a model that was trained so is taken, else the one that was trained in fp32."""
    compile: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Compile the networks in training (torch.compile): some minutes at the start, faster steps on a GPU."""
    split_step: Annotated[int, AtLeast(0)] = 500
    """Steps of T, from the noise on, that two-phase sampling leaves to the vanilla model."""
    img_id: Annotated[int, AtLeast(0)] = 0
    """Test image that disentangle and latent_quality start from; interpolate goes from it to the next."""
    reference: str = ""
    """Statistics (.npz) or images that calc_fid compares with; empty: the data set's own images."""
    features: str = "small"
    """Features of calc_fid: small (a network trained on the data set itself), or the path of Inception weights."""
    force_features: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Let calc_fid take a small network that hardly sees noise, or of which nobody measured what it sees (the smoke
    preset does)."""
    codes: Annotated[int, AtLeast(100)] = 10_000
    """Codes that eval_disentangle and train_classifier score, evenly spread over the test images."""
    dci_variant: Annotated[str, OneOf("variant of DCI", ("forest", "boosted"))] = "forest"
    """DCI of eval_disentangle: forest (fast) or boosted (published)."""
    write_png: bool = field(default=True, metadata=EXCLUDED_FROM_RUN_ID)
    """Also write eval_fid's and save_original_img's images as one .png each."""

    def read_contents(self) -> dict[str, str]:
        """See `RunConfig.read_contents`: the images, and what calc_fid compares them with and by."""
        data = contents_of(self.dataset, self.data_dir, (self.train_folder, self.test_folder))
        files = {"reference": self.reference, "features": "" if self.features == "small" else self.features}
        return data | registry.joined(**{name: registry.of_path(Path(path)) for name, path in files.items() if path})

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        check_choice("mode", self.mode, tuple(MODES))
        super().check()
        if self.model not in MODES[self.mode].models:
            raise UserError(f"--mode {self.mode} is for --model {' or '.join(MODES[self.mode].models)}")
        if not self.train_folder:
            check_dataset(self.dataset)
        check_prior(self.prior, self.a_dim)
        self._check_numbers()
        if self.model != "diff" and self.sampling != "prior":
            raise UserError(f"--sampling {self.sampling} is for --model diff: use --sampling prior")
        if not self.epochs and not MODES[self.mode].untrained:
            raise UserError(
                f"--epochs 0 is an untrained model, whose codes can be saved and scored, not --mode {self.mode}"
            )
        self.unet()

    def _check_numbers(self) -> None:
        if self.steps > self.T or self.split_step > self.T:
            raise UserError(f"--steps and --split-step must be at most --T, {self.T}")
        if not 0 < self.beta_1 <= self.beta_T < 1:
            raise UserError(
                f"--beta-1 and --beta-T must satisfy 0 < beta-1 <= beta-T < 1, not {self.beta_1}, {self.beta_T}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and side of the images; of a folder's they are (3, --image-size or 64)."""
        channels, side = (3, 64) if self.train_folder else published_shape(self.dataset)
        return channels, self.image_size or side

    @property
    def sampled(self) -> bool:
        """Whether training gives the decoder sampled codes: where there is a KL, and in an InfoVAE."""
        return self.kld_weight > 0 or (self.model == "vae" and self.mmd_weight > 0)

    def unet(self) -> UNetConfig:
        """Size of the model's U-Nets; time is a step index."""
        channels, side = self.shape
        if side % self.patch:
            raise UserError(f"--patch must divide the side of the images, {side} pixels, not {self.patch}")
        narrow = channels == 1 or self.dataset == "chairs"
        mult = self.mult or ((1, 2, 2, 2) if self.model == "diff" else (1, 2, 4, 8))
        size = UNetConfig(
            image_size=side // self.patch,
            in_channels=channels * self.patch**2,
            model_channels=self.channels or (32 if narrow else 64),
            channel_mult=mult,
            num_res_blocks=self.blocks,
            dropout=self.dropout,
            code_dim=0 if self.model == "vanilla" else self.a_dim,
            code_blocks="bottleneck" if self.bottleneck else "all",
            time_scale=1.0,
            block_convolutions=self.convolutions,
        )
        attended = size.level_sizes[2:3] or size.level_sizes[-1:]
        return dataclasses.replace(size, attention_resolutions=tuple(attended))

    @property
    def model_name(self) -> str:
        """What tables call the model: what it is by its weights, and the size of its network.

        >>> InfoConfig(model="vae", mmd_weight=0, kld_weight=4, use_c=True, a_dim=10).model_name
        'beta-vae[32x1-2-4-8,a=10,kld=4,C=25]'
        """
        size = self.unet()
        family = _family(self)
        parts = [f"patch={self.patch}"] if self.patch > 1 else []
        velocity = self.parametrization == "velocity" and self.model != "vae" and self.epochs
        parts += ["velocity"] if velocity else []
        parts += [f"{size.model_channels}x{'-'.join(map(str, size.channel_mult))}"]
        if self.model != "vanilla":
            parts.append(f"a={self.a_dim}")
            parts += [f"mmd={self.mmd_weight:g}"] if self.mmd_weight else []
            parts += [f"kld={self.kld_weight:g}"] if self.kld_weight else []
            parts += [f"C={self.c_max:g}"] if self.kld_weight and self.use_c else []
            parts += ["bottleneck"] if self.bottleneck and self.model == "diff" else []
        return f"{family}[{','.join(parts)}{precision_label(self.precision)}]"


def _family(config: InfoConfig) -> str:
    mmd, kld = config.mmd_weight > 0, config.kld_weight > 0
    if config.model != "vanilla" and not config.epochs:
        return "untrained"
    if config.model == "diff":
        return "diff" if mmd or kld else "diffae"
    if config.model == "vae":
        return "infovae" if mmd else "autoencoder" if not kld else "vae" if config.kld_weight == 1 else "beta-vae"
    return "vanilla"


def canonical_config(config: InfoConfig, mode: str = "", **changes: object) -> InfoConfig:
    """The settings of one mode (empty: `config`'s own): those that it, or a vanilla model, does not use are defaults.

    So one mode's run has one id, whatever the flags of other modes are, and every mode finds the training it needs as
    `canonical_config(config, "train")`.
    """
    mode = mode or config.mode
    plain = InfoConfig()
    owned = {name for other in MODES.values() for name in other.uses}
    unused = owned - set(MODES[mode].uses)
    if changes.get("model", config.model) == "vanilla":
        unused |= set(CODE_FIELDS)
    reset = {name: getattr(plain, name) for name in unused}
    return dataclasses.replace(config, **{**reset, "mode": mode, **changes})


def vanilla_of(config: InfoConfig) -> InfoConfig:
    """The training of the vanilla model that goes with `config`."""
    return canonical_config(config, "train", model="vanilla")


CODE_FIELDS = ("a_dim", "prior", "mmd_weight", "mmd_kernel", "kld_weight", "use_c", "c_max", "bottleneck")
"""Settings that a vanilla model does not have."""
