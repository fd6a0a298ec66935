"""The image study's settings, data and denoisers: a U-Net at continuous log-SNR and what its output means."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from infolab.baselines import pixel_log_mass
from infolab.config import EXCLUDED_FROM_RUN_ID, AtLeast, OneOf, Positive, RunConfig, Share
from infolab.data import NAMES, ImageSet, load, registry
from infolab.data.folders import load_folder
from infolab.data.places import default_data_dir
from infolab.denoise import Denoiser
from infolab.device import PRECISIONS
from infolab.errors import UserError, check_choice
from infolab.immse import GaussianReference, LogsnrRange
from infolab.nn.unet import NETWORKS, UNet, UNetConfig
from infolab.pretrained import split_member
from infolab.schedules import append_dims, logsnr_to_alpha_sigma
from infolab.storage import is_complete
from infolab.training import SCHEDULES
from itdiffusion.shapes_model import Gaussians

# ----------
# Settings of the image study: which denoisers, trained from scratch or fine-tuned, and how their NLL is measured.

HEADS = ("noise", "gaussian", "levels")
PUBLISHED = {"iddpm": "cifar10_uncond_vlb_50M_500K.pt", "ddpm": "ddpm-cifar10-32"}
"""The paper's pre-trained networks by name, as files below DATA_DIR/pretrained."""
TUNED = "tuned:"
FOLDERS = ("train_folder", "test_folder")
INTEGRATORS = ("deterministic", "random", "rqmc")


@dataclass(frozen=True)
class ImagesConfig(RunConfig):
    """One training of one or more denoisers (members) side by side, on the same data and noise, and their ensemble."""

    data_dir: Path = field(default_factory=default_data_dir, metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in; the default is the environment's DATA_DIR, else data/ in the
    repository (`python -m infolab.data doctor` says what is there)."""
    download: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Fetch missing files of the data set into --data-dir first; nothing is downloaded otherwise."""
    dataset: str = "digits"
    """Image set (`python -m infolab.data doctor` lists them); with --train-folder, the name that tables show."""
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
    network: Annotated[str, OneOf("network", sorted(NETWORKS))] = "digits"
    """U-Net size of members from scratch: digits, mnist or cifar10, each also as -narrow (for a CPU) and -tiny."""
    epochs: Annotated[int, AtLeast(0)] = 20
    """Passes over the training set; 0: evaluate only (pre-trained members)."""
    batch: Annotated[int, AtLeast(1)] = 128
    """Images of one optimiser step."""
    parts: Annotated[int, AtLeast(1)] = field(default=1, metadata=EXCLUDED_FROM_RUN_ID)
    """Backward passes that one step is made of (gradient accumulation): less memory, the same step up to rounding."""
    lr: Annotated[float, Positive()] = 1e-4
    """Learning rate of Adam."""
    lr_schedule: Annotated[str, OneOf("learning-rate schedule", SCHEDULES)] = "constant"
    """constant (published) or cosine, to zero at the end."""
    ema_decay: Annotated[float, Share()] = 0.0
    """Decay of the average of the weights that is evaluated; 0: the weights themselves (published)."""
    dropout: float = 0.0
    """Dropout of the U-Net."""
    precision: Annotated[str, OneOf("precision", PRECISIONS)] = "fp32"
    """Arithmetic of the networks, in training and evaluation: fp32, tf32 (on a GPU that has it), or bf16 (autocast)."""
    compile: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Compile the networks (torch.compile): some minutes at the start, faster steps on a GPU."""
    dequantize: bool = False
    """Train on dequantised images, x + D (u - 1/2), instead of the grey levels themselves (published)."""
    loc: float = 0.0
    """Location of the logistic law of log-SNR in training; with --scale 0 both come from the data's spectrum."""
    scale: float = 0.0
    """Scale of the logistic distribution of log-SNR; 0: from the data's spectrum."""
    clip: Annotated[float, Positive()] = 4.0
    """The distribution is cut at this many scales on either side."""
    evaluate_every: Annotated[int, AtLeast(0)] = 0
    """Epochs between evaluations while training; 0: at the end only."""
    test_images: int = 0
    """Test images of the evaluation, evenly spread over the test set; 0: all."""
    points: Annotated[int, AtLeast(4)] = 100
    """Log-SNR points of the last evaluation."""
    points_while_training: Annotated[int, AtLeast(4)] = 32
    """Log-SNR points of the others, by the deterministic rule."""
    integrator: Annotated[str, OneOf("integrator", INTEGRATORS)] = "deterministic"
    """Rule of the last evaluation's integral: deterministic, random (published) or rqmc."""
    continuous: bool = False
    """Also measure the published continuous NLL, of the grey levels taken for points of a density (one pass more)."""
    widen: bool = True
    """Widen the range of the integral until what lies beyond it is negligible; otherwise that of training."""
    variational_steps: Annotated[int, AtLeast(-1)] = 0
    """Steps of the discrete-time variational bound that are evaluated (each network's own schedule; linear, 1,000
    steps, where it was trained on continuous log-SNR); 0: no bound, -1: all steps."""
    samples: Annotated[int, AtLeast(0)] = 36
    """Images drawn by the reverse process for a picture; 0: none."""
    sample_steps: Annotated[int, AtLeast(1)] = 100
    """Steps of the reverse process."""
    eval_batch: Annotated[int, AtLeast(1)] = field(default=512, metadata=EXCLUDED_FROM_RUN_ID)
    """Images per network call in the evaluation."""

    def read_contents(self) -> dict[str, str]:
        """See `RunConfig.read_contents`: the images, and the members that are not trained from scratch."""
        if self.train_folder:
            data = {name: registry.of_folder(Path(getattr(self, name)), below=False) for name in FOLDERS}
        else:
            data = {"data": registry.of_set(self.dataset, self.data_dir)}
        members = {member: self._weights_of(member) for member in self.members if member not in HEADS}
        return registry.joined(**data, **members)

    def _weights_of(self, member: str) -> str:
        try:
            return registry.of_weights(split_member(self.path_of(member))[0])
        except UserError:  # not there: `check` says so
            return ""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        if bool(self.train_folder) != bool(self.test_folder):
            raise UserError("give both --train-folder and --test-folder, or neither")
        if not self.train_folder:
            check_choice("data set", self.dataset, NAMES)
        super().check()
        self._check_members()
        if self.test_images < 0 or self.test_images in (1, 2, 3):
            raise UserError(f"--test-images must be 0 (all) or at least 4, not {self.test_images}")
        if self.scale < 0:
            raise UserError(f"--scale must be positive, or 0 to take it from the data, not {self.scale}")

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


# ----------
# The images of one run in [-1, 1], and the Gaussian reference of its training set, computed once and cached.

BLOCK = 4_096


def load_images(config: ImagesConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """Training and test set of `config` as recorded, on `device`; of the test set `test_images`, evenly spread over it.

    Raises:
        UserError: unknown set, files that are missing or damaged, or images that do not fit the network.
    """
    if config.train_folder:
        train, test = load_folder(config.train_folder, "train"), load_folder(config.test_folder, "test")
    else:
        train, test = (
            load(config.dataset, split, data_dir=config.data_dir, download=config.download)
            for split in ("train", "test")
        )
    if train.shape != test.shape:
        raise UserError(f"training images of shape {train.shape} and test images of {test.shape}: expected the same")
    size = config.unet()
    expected = (size.in_channels, size.image_size, size.image_size)
    if tuple(train.shape) != expected and set(config.members) & set(HEADS):
        raise UserError(
            f"--network {config.network} takes images of shape {expected}, these are {tuple(train.shape)}: choose the "
            "network of that data set"
        )
    if 0 < config.test_images < len(test):
        test = test.take(torch.linspace(0, len(test) - 1, config.test_images).round().long())
    return train.to(device), test.to(device)


def to_unit(pixels: Tensor, levels: int) -> Tensor:
    """Grey levels 0 .. Q - 1 as x = 2 k / (Q - 1) - 1 in [-1, 1], float32.

    >>> to_unit(torch.tensor([0, 8, 16], dtype=torch.uint8), 17)
    tensor([-1.,  0.,  1.])
    """
    return pixels.float() * (2 / (levels - 1)) - 1


def step_of(levels: int) -> float:
    """D = 2 / (Q - 1), the step between grey levels in [-1, 1]."""
    return 2 / (levels - 1)


def reference_of(train: ImageSet, cache: Path) -> GaussianReference:
    """The exact Gaussian of the training images in [-1, 1], its spectrum floored at D^2/12; from `cache` where it is.

    The file's name is a digest of the images, so another set never finds it; its provenance says what it is of.

    Args:
        train: the training images.
        cache: folder of the cached references.
    """
    digest = hashlib.blake2b(train.images.cpu().contiguous().numpy().data, digest_size=8).hexdigest()
    path = cache / f"{train.name}-{train.levels}-{digest}.safetensors"
    floor = step_of(train.levels) ** 2 / 12
    if path.is_file():
        return GaussianReference.load(path).floored(floor)
    provenance = {"dataset": train.name, "split": train.split, "images": digest, "data_scale": "[-1, 1]"}
    reference = GaussianReference.fit(_batches(train), floor=floor, provenance=provenance)
    path.parent.mkdir(parents=True, exist_ok=True)
    reference.save(path)
    return reference


def training_range(config: ImagesConfig, reference: GaussianReference) -> LogsnrRange:
    """The distribution of log-SNR in training: --loc and --scale, or those of the spectrum."""
    if config.scale:
        return LogsnrRange(config.loc, config.scale, config.clip)
    return LogsnrRange.from_spectrum(reference.spectrum, clip=config.clip)


def _batches(images: ImageSet) -> Iterator[Tensor]:
    for block in images.images.split(BLOCK):
        yield to_unit(block, images.levels)


# ----------
# The image denoisers: a U-Net at continuous log-SNR, and three heads that say what its output means.


class Head(nn.Module):
    """Makes eps_hat, of the shape of z (n, c, h, w), from the network's output (n, width c, h, w)."""

    width: int = 1


class NoiseHead(Head):
    """The output is eps_hat itself, as published."""

    def forward(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """`out`."""
        return out


class GaussianHead(Head):
    """eps_hat is the linear optimal denoiser of the data's Gaussian plus the output, scaled by its error's root.

    Args:
        reference: the Gaussian of the training images, of full covariance, with a floor for pixels that never vary.
    """

    def __init__(self, reference: GaussianReference):
        super().__init__()
        floored = GaussianReference(reference.mean, reference.spectrum, reference.eigenvectors)
        self.gaussians = Gaussians([floored])

    def forward(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """Linear part plus scaled output."""
        flat, a = z.flatten(1)[None], logsnr[None]
        eps_hat = self.gaussians.eps_hat(flat, a) + self.gaussians.shaped(out.flatten(1)[None], a)
        return eps_hat[0].view_as(z)


class LevelsHead(Head):
    """The output is, for each pixel, a logit for each grey level given the other pixels; the pixel's own noisy value
    enters by Bayes' rule.

    With y = z / alpha = x + e^(-logsnr/2) eps, the posterior of pixel i's level b_k is proportional to
    h_ik exp(out_ik) exp(-(y_i - b_k)^2 e^logsnr / 2), h the histogram of that pixel over the training images, and
    x_hat is its mean. At an output of 0 this is the optimal denoiser of independent pixels, whose NLL by I-MMSE is
    that of the histogram; at high log-SNR it rounds to the nearest level whatever the output is.

    Args:
        log_mass: log h, (c, Q, h, w).
    """

    def __init__(self, log_mass: Tensor):
        super().__init__()
        self.width = log_mass.shape[1]
        self.log_mass: Tensor
        self.levels: Tensor
        self.register_buffer("log_mass", log_mass.float().contiguous())  # as a checkpoint gives it back
        self.register_buffer("levels", torch.linspace(-1, 1, self.width)[:, None, None])

    def forward(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """(z - alpha x_hat) / sigma with x_hat the posterior mean."""
        alpha, sigma = (append_dims(part, z) for part in logsnr_to_alpha_sigma(logsnr))
        n, c, h, w = z.shape
        own = (z / alpha)[:, :, None] - self.levels  # (n, c, Q, h, w)
        log_posterior = out.view(n, c, self.width, h, w) + self.log_mass
        log_posterior = log_posterior - append_dims(logsnr.exp() / 2, own) * own.square()
        # Deviations from the pixel's own value rather than the levels themselves: nothing cancels at high log-SNR.
        deviation = (log_softmax(log_posterior, 2).exp() * own).sum(2)
        return deviation * alpha / sigma


class ImageDenoiser(Denoiser):
    """One member trained from scratch.

    The network's time is t = 1/2 + (loc - logsnr) / (2 clip scale): 0 to 1 over the range of training, beyond it the
    line goes on.

    Args:
        size: the U-Net for the image's channels; its output is widened as the head needs.
        head: what the output means.
        seed: of the initial weights.
        law: the range of log-SNR in training.
        name: what tables call it.
        levels: grey levels of the images in [-1, 1].
    """

    def __init__(self, size: UNetConfig, head: Head, seed: int, law: LogsnrRange, name: str, levels: int):
        super().__init__(UNet(dataclasses.replace(size, out_channels=head.width * size.in_channels), seed))
        self.head = head
        self.name, self.variance = name, "large"
        self.shape = (size.in_channels, size.image_size, size.image_size)
        self.law: Tensor
        self.grey_levels: Tensor
        # Buffers, so that a checkpoint alone says how the network is to be fed.
        self.register_buffer("law", torch.tensor([law.loc, law.scale, law.clip], dtype=torch.float32))
        self.register_buffer("grey_levels", torch.tensor(levels))

    def call(self, z: Tensor, logsnr: Tensor) -> Tensor:  # type: ignore[override]
        """eps_hat at z (n, c, h, w) and log-SNR (n,)."""
        a = logsnr.to(z)
        loc, scale, clip = self.law
        out = self.network(z, 0.5 + (loc - a) / (2 * clip * scale))
        with torch.autocast(z.device.type, enabled=False):  # heads subtract nearly equal numbers
            return self.head(out.float(), z, a)

    @property
    def levels(self) -> int:
        """Grey levels of its training images."""
        return int(self.grey_levels)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


def make_head(kind: str, train: ImageSet, reference: GaussianReference) -> Head:
    """The head `noise`, `gaussian` or `levels` for these training images."""
    if kind == "gaussian":
        return GaussianHead(reference)
    if kind == "levels":
        c, h, w = train.shape
        log_mass = pixel_log_mass(train.images.cpu(), train.levels).view(c, h, w, train.levels)
        return LevelsHead(log_mass.permute(0, 3, 1, 2))
    return NoiseHead()
