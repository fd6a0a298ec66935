"""Settings of the image study: which denoisers, trained from scratch or fine-tuned, and how their NLL is measured."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from common.checkpoints import is_complete
from common.config import NOT_IN_ID, RunConfig
from common.data import NAMES, contents
from common.data.places import default_data_dir
from common.device import PRECISIONS
from common.errors import UserError, choose
from common.learning_rate import SCHEDULES
from common.networks.unet import UNetConfig
from common.networks.unet_configs import NETWORKS
from itdiffusion.load import split_member

HEADS = ("noise", "gaussian", "levels")
PUBLISHED = {"iddpm": "cifar10_uncond_vlb_50M_500K.pt", "ddpm": "ddpm-cifar10-32"}
"""The paper's pre-trained networks by name, as files below DATA_DIR/pretrained."""
TUNED = "tuned:"
FOLDERS = ("train_folder", "test_folder")
INTEGRATORS = ("deterministic", "random", "rqmc")


@dataclass(frozen=True)
class ImagesConfig(RunConfig):
    """One training of one or more denoisers (members) side by side, on the same data and noise, and their ensemble."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=NOT_IN_ID)
    """Folder of data sets that are not built in; the default is the environment's DATA_DIR, else data/ in the
    repository (`python -m common.data doctor` says what is there)."""
    download: bool = field(default=False, metadata=NOT_IN_ID)
    """Fetch missing files of the data set into --data-dir first; nothing is downloaded otherwise."""
    dataset: str = "digits"
    """Image set (`python -m common.data doctor` lists them); with --train-folder, the name that tables show."""
    train_folder: str = ""
    """Folder of .png or .jpg training images (label: file name up to its first `_`) instead of a registered set."""
    test_folder: str = ""
    """Folder of .png or .jpg test images."""
    members: tuple[str, ...] = ("noise",)
    """Denoisers: noise (a U-Net that predicts eps, published), gaussian (the linear optimal denoiser plus a U-Net),
    levels (a U-Net that predicts each pixel's grey level), all from scratch; or a pre-trained one: iddpm or ddpm, the
    published networks (files below DATA_DIR/pretrained); tuned:iddpm, the last finished run that fine-tuned it; or a
    path: IDDPM's .pt, a Hugging Face DDPM folder, the folder of a run of this lab."""
    seed: int = 0
    """Seed of initial weights, order, noise and evaluation."""
    network: str = "digits"
    """U-Net size of members from scratch: digits, mnist or cifar10, each also as -narrow (for a CPU) and -tiny."""
    epochs: int = 20
    """Passes over the training set; 0: evaluate only (pre-trained members)."""
    batch: int = 128
    """Images of one optimiser step."""
    parts: int = field(default=1, metadata=NOT_IN_ID)
    """Backward passes that one step is made of (gradient accumulation): less memory, the same step up to rounding."""
    lr: float = 1e-4
    """Learning rate of Adam."""
    lr_schedule: str = "constant"
    """constant (published) or cosine, to zero at the end."""
    ema_decay: float = 0.0
    """Decay of the average of the weights that is evaluated; 0: the weights themselves (published)."""
    dropout: float = 0.0
    """Dropout of the U-Net."""
    precision: str = "fp32"
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=NOT_IN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""
    dequantize: bool = False
    """Train on dequantised images, x + D (u - 1/2), instead of the grey levels themselves (published)."""
    loc: float = 0.0
    """Location of the logistic law of log-SNR in training; with --scale 0 both come from the data's spectrum."""
    scale: float = 0.0
    """Scale of the logistic law of log-SNR; 0: from the data's spectrum."""
    clip: float = 4.0
    """The law is cut at this many scales on either side."""
    evaluate_every: int = 0
    """Epochs between evaluations while training; 0: at the end only."""
    test_images: int = 0
    """Test images of the evaluation, evenly spread over the test set; 0: all."""
    points: int = 100
    """Log-SNR points of the last evaluation."""
    points_while_training: int = 32
    """Log-SNR points of the others, by the deterministic rule."""
    integrator: str = "deterministic"
    """Rule of the last evaluation's integral: deterministic, random (published) or rqmc."""
    continuous: bool = False
    """Also measure the published continuous NLL, of the grey levels taken for points of a density (one pass more)."""
    widen: bool = True
    """Widen the range of the integral until what lies beyond it is negligible; otherwise that of training."""
    variational_steps: int = 0
    """Steps of the discrete-time variational bound that are evaluated (each network's own schedule; linear, 1,000
    steps, where it was trained on continuous log-SNR); 0: no bound, -1: all steps."""
    samples: int = 36
    """Images drawn by the reverse process for a picture; 0: none."""
    sample_steps: int = 100
    """Steps of the reverse process."""
    eval_batch: int = field(default=512, metadata=NOT_IN_ID)
    """Images per network call in the evaluation."""

    def read_contents(self) -> dict[str, str]:
        """See `RunConfig.read_contents`: the images, and the members that are not trained from scratch."""
        if self.train_folder:
            data = {name: contents.of_folder(Path(getattr(self, name)), below=False) for name in FOLDERS}
        else:
            data = {"data": contents.of_set(self.dataset, self.data_dir)}
        members = {member: self._weights_of(member) for member in self.members if member not in HEADS}
        return contents.joined(**data, **members)

    def _weights_of(self, member: str) -> str:
        try:
            return contents.of_weights(split_member(self.path_of(member))[0])
        except UserError:  # not there: `check` says so
            return ""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        if bool(self.train_folder) != bool(self.test_folder):
            raise UserError("give both --train-folder and --test-folder, or neither")
        if not self.train_folder:
            choose("data set", self.dataset, NAMES)
        choose("network", self.network, sorted(NETWORKS))
        choose("integrator", self.integrator, INTEGRATORS)
        choose("precision", self.precision, PRECISIONS)
        choose("learning-rate schedule", self.lr_schedule, SCHEDULES)
        self._check_members()
        for name, least in (
            ("epochs", 0), ("evaluate_every", 0), ("samples", 0), ("variational_steps", -1), ("batch", 1),
            ("parts", 1), ("eval_batch", 1), ("sample_steps", 1), ("points", 4), ("points_while_training", 4),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(self, name)}")
        if self.test_images < 0 or self.test_images in (1, 2, 3):
            raise UserError(f"--test-images must be 0 (all) or at least 4, not {self.test_images}")
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name} must be positive, not {getattr(self, name)}")
        if self.scale < 0:
            raise UserError(f"--scale must be positive, or 0 to take it from the data, not {self.scale}")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"--ema-decay must lie in [0, 1), not {self.ema_decay}")

    def _check_members(self) -> None:
        if not self.members or len(set(self.members)) < len(self.members):
            raise UserError(f"--members needs one name or path or more, each once, not {' '.join(self.members)!r}")
        for member in self.members:
            if member in HEADS and not self.epochs:
                raise UserError(f"member '{member}' starts from scratch: give --epochs, or the path of a trained one")
            if member not in HEADS:
                self.path_of(member)

    def path_of(self, member: str) -> str:
        """Where a pre-trained member lies.

        Raises:
            UserError: it is not there.
        """
        if member.startswith(TUNED):
            return str(self._tuned(member.removeprefix(TUNED)))
        path = self.data_dir / "pretrained" / PUBLISHED[member] if member in PUBLISHED else Path(member).expanduser()
        if not split_member(path)[0].exists():
            what = "copy it there, or take the members from scratch with --members noise"
            if member not in PUBLISHED:
                what = f"choose one of {', '.join([*HEADS, *PUBLISHED])}, or the path of a checkpoint"
            raise UserError(f"member '{member}': there is no '{path}'; {what}")
        return str(path)

    def _tuned(self, member: str) -> Path:
        """The folder of the newest finished run of this data set that fine-tuned `member` alone."""
        folder = self.runs_dir / "itdiffusion" / self.dataset
        for path in sorted(folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime, reverse=True):
            found = json.loads(path.read_text())
            if found.get("members") == [member] and found.get("epochs") and is_complete(path.parent):
                return path.parent
        raise UserError(f"no finished run in '{folder}' has fine-tuned '{member}': run the preset that does so first")

    def unet(self) -> UNetConfig:
        """Size of the members from scratch."""
        return NETWORKS[self.network](dropout=self.dropout)


def over_seeds(base: ImagesConfig, seeds: tuple[int, ...]) -> list[ImagesConfig]:
    """The same settings with each seed."""
    return [dataclasses.replace(base, seed=seed) for seed in seeds]
