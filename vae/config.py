"""Settings of a VAE run: one model on all images, one with a ghost decoder, or the folds of a cross-validation grid."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, Positive, RunConfig, not_in_id_at
from infolab.data import NAMES
from infolab.data.places import default_data_dir
from infolab.device import PRECISIONS, precision_label
from infolab.errors import UserError

MODES = ("full", "ghost", "cv")
MODELS = ("bernoulli-mlp", "bernoulli-dc", "mix-logistics-dc", "diagonal-gaussian-dc", "constant-gaussian-dc")
GREY = ("digits", "mnist", "fashion-mnist", "sprites")
"""Sets that the Bernoulli models take as the probabilities of black and white pixels."""


@dataclass(frozen=True)
class VAEConfig(RunConfig):
    """One VAE (or the VAEs of several folds, side by side): data, model, training, log p(x)."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in; the default is the environment's DATA_DIR, else data/ in the
    repository (`python -m infolab.data doctor` says what is there)."""
    download: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Fetch missing files of the data set into --data-dir first; nothing is downloaded otherwise."""
    mode: Annotated[str, OneOf("mode", MODES)] = "full"
    """full: all training images; ghost: the model on one half of them, a second decoder for its codes on the other
    half; cv: the runs of a K x L cross-validation grid."""
    dataset: Annotated[str, OneOf("data set", NAMES)] = "digits"
    """Image set (`python -m infolab.data doctor` lists them)."""
    m: Annotated[int, AtLeast(0)] = 0
    """Training images, chosen by the seed; 0: all."""
    canvas: Annotated[int, AtLeast(0)] = 32
    """Side to which images are padded with level 0 (published: 32); 0: as they are."""
    model: Annotated[str, OneOf("model", MODELS)] = "bernoulli-mlp"
    """bernoulli-mlp, bernoulli-dc, mix-logistics-dc, diagonal-gaussian-dc or constant-gaussian-dc
    (dc: convolutions)."""
    hidden: tuple[int, ...] = (512, 256)
    """Hidden layers of the encoder of bernoulli-mlp; its decoder has them in reverse."""
    features: Annotated[int, AtLeast(1)] = 32
    """Channels after the first convolution of the dc models; each further one doubles them."""
    latent: Annotated[int, AtLeast(1)] = 16
    """Dimensions of the code z."""
    epochs: Annotated[int, AtLeast(1)] = 100
    """Passes over the training images."""
    batch: Annotated[int, AtLeast(1)] = 64
    """Largest number of images of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate of Adam."""
    seed: int = 42
    """Seed of the drawn pixels, the folds, the initial weights, the noise and the evaluation."""
    redraw: bool = False
    """Draw the black and white training pixels anew in every epoch (as published); evaluation always uses one draw."""
    flip: bool = False
    """Mirror each training image with probability 1/2 (published for CIFAR-10 and CelebA)."""
    precision: Annotated[str, OneOf("precision", PRECISIONS)] = field(default="fp32", metadata=not_in_id_at("fp32"))
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""
    evaluate_every: Annotated[int, AtLeast(1)] = 2
    """Epochs between evaluations of loss, KL and reconstruction."""
    logpx_every: Annotated[int, AtLeast(0)] = 10
    """Epochs between evaluations of log p(x), a multiple of --evaluate-every; 0: never."""
    n_z: Annotated[int, AtLeast(1)] = 256
    """N_z, importance samples per image (published: 256 for binary images, 128 for colour)."""
    logpx_images: Annotated[int, AtLeast(0)] = 0
    """Training images whose log p(x) is measured, a fixed subset; 0: all."""
    proposal: Annotated[str, OneOf("proposal", ("encoder", "full-covariance"))] = "encoder"
    """Law of z in log p(x): encoder (published), or full-covariance (a second encoder, trained for the decoder)."""
    points: Annotated[str, OneOf("points", ("random", "sobol"))] = "random"
    """Points of the proposal: random (published), or sobol (randomly shifted Sobol points)."""
    proposal_epochs: Annotated[int, AtLeast(1)] = 3
    """Passes over the training images when the second encoder is trained."""
    K: Annotated[int, AtLeast(2)] = 10
    """Folds of the grid (cv)."""
    L: Annotated[int, AtLeast(1)] = field(default=10, metadata=EXCLUDED_FROM_RUN_ID)
    """Repeats of the grid (cv): partitions into K folds that are drawn anew. Each repeat is a run of its own."""
    repeat: int = -1
    """Which repeat (cv); -1: all L of them."""
    folds: tuple[int, ...] = ()
    """Which folds (cv); none named: all K."""
    together: Annotated[int, AtLeast(0)] = field(default=0, metadata=EXCLUDED_FROM_RUN_ID)
    """Folds trained as one batch of networks, in one run (cv); 0: all K for bernoulli-mlp, one for the dc models."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        super().check()
        if not self.hidden or min(self.hidden) < 1:
            raise UserError("--hidden needs at least one layer of at least one unit")
        if self.logpx_every % self.evaluate_every:
            raise UserError(f"--logpx-every must be a multiple of --evaluate-every ({self.evaluate_every}), or 0")
        if self.epochs % self.evaluate_every or (self.logpx_every and self.epochs % self.logpx_every):
            raise UserError(f"--evaluate-every and --logpx-every must divide --epochs ({self.epochs})")
        self._check_model()
        self._check_grid()

    def _check_model(self) -> None:
        binary, grey = self.model.startswith("bernoulli"), self.dataset in GREY
        if binary and not grey:
            raise UserError(f"--model {self.model} takes grey images ({', '.join(GREY)}), not {self.dataset}")
        if self.model == "mix-logistics-dc" and grey:
            raise UserError(f"--model mix-logistics-dc takes colour images, not {self.dataset}")
        if self.model.endswith("-dc") and grey and self.canvas != 32:
            raise UserError(f"the dc models take 32 x 32 images: --canvas 32, not {self.canvas}")
        if self.proposal == "full-covariance" and self.model != "bernoulli-mlp":
            raise UserError("--proposal full-covariance goes with --model bernoulli-mlp: use --proposal encoder")

    def _check_grid(self) -> None:
        if self.mode != "cv":
            return
        if self.logpx_every == 0:
            raise UserError("the grid measures log p(x): --logpx-every must be at least 1 in the mode cv")
        if len(set(self.folds)) < len(self.folds) or any(not 0 <= fold < self.K for fold in self.folds):
            raise UserError(f"--folds must name different folds of 0 .. {self.K - 1}")
        if not self.repeat >= -1:
            raise UserError(f"--repeat must be a repeat of 0 .. L - 1, or -1 for all, not {self.repeat}")
        if self.model != "bernoulli-mlp" and self.together > 1:
            raise UserError("only bernoulli-mlp trains several folds as one batch: --together 1 for the dc models")

    @property
    def model_name(self) -> str:
        """What the tables call the model: networks that differ in it are never averaged."""
        size = "-".join(map(str, self.hidden)) if self.model == "bernoulli-mlp" else f"features={self.features}"
        return f"{self.model}[{size}-{self.latent}{',redraw' if self.redraw else ''}{precision_label(self.precision)}]"

    @property
    def n_members(self) -> int:
        """Number of networks that this run trains side by side."""
        return len(self.folds) if self.mode == "cv" else 1


def runs(config: VAEConfig) -> list[VAEConfig]:
    """The runs that `config` stands for: itself, or (cv) one for each repeat and each group of folds."""
    if config.mode != "cv":
        return [config]
    repeats = range(config.L) if config.repeat < 0 else [config.repeat]
    folds = config.folds or tuple(range(config.K))
    size = config.together or (len(folds) if config.model == "bernoulli-mlp" else 1)
    groups = [folds[start : start + size] for start in range(0, len(folds), size)]
    return [dataclasses.replace(config, repeat=repeat, folds=group) for repeat in repeats for group in groups]


def kind(config: VAEConfig) -> tuple[str, str]:
    """Mode and family of data sets: a preset has settings of its own for each, which flags do not mix."""
    return config.mode, family(config)


def family(config: VAEConfig) -> str:
    """Family of data sets: grey, colour or faces."""
    return "grey" if config.dataset in GREY else "faces" if config.dataset == "celeba" else "colour"
