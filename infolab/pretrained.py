"""Denoisers from a path: IDDPM's .pt, a Hugging Face folder with its scheduler, or one of this lab's runs."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infolab.denoise import Denoiser
from infolab.device import Network
from infolab.errors import UserError
from infolab.files import DamagedFileError, load_json, reading
from infolab.nn.unet import UNet, UNetConfig, iddpm_cifar10_config, load_iddpm_state
from infolab.schedules import DDPM

# ----------
# What diffusers' scheduler_config.json says of a model's training: betas, what it predicts, its reverse variance.

MOST_STEPS = 1_000_000
"""Training steps that a file may name; one damaged digit must not take the memory."""
PREDICTS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
"""diffusers' prediction types, in the words of `infolab.predictions`."""
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "trained_betas")
WHAT, REMEDY = "a scheduler_config.json of diffusers", "copy it again"


def read_scheduler(folder: Path) -> dict[str, Any]:
    """Plain values of the scheduler beside the network in `folder`, or in scheduler/; without one, DDPM's.

    Returns:
        steps, beta_start, beta_end, betas (a kind of `BETAS`), trained_betas (a list, for that kind), predicts ("eps",
        "x0" or "v") and variance ("large" or "small").

    Raises:
        UserError: a damaged file, or a schedule or prediction type that is not read here.
    """
    places = [folder / "scheduler_config.json", folder.parent / "scheduler" / "scheduler_config.json"]
    place = next((place for place in places if place.is_file()), None)
    found = load_json(place, dict, WHAT, REMEDY) if place else {}
    trained = found.get("trained_betas")
    kind = "trained_betas" if trained is not None else found.get("beta_schedule", "linear")
    if kind not in BETAS:
        raise UserError(f"'{folder}' was trained with the noise schedule '{kind}': read are {', '.join(BETAS)}")
    predicts = str(found.get("prediction_type", "epsilon"))
    if predicts not in PREDICTS:
        raise UserError(f"'{folder}' predicts '{predicts}': read are {', '.join(PREDICTS)}")
    if found.get("rescale_betas_zero_snr"):
        raise UserError(
            f"'{folder}' was trained down to a signal of 0 (rescale_betas_zero_snr), where eps says nothing"
        )
    small = str(found.get("variance_type", "fixed_large")).startswith("fixed_small")
    with reading(place or folder, WHAT, REMEDY):
        steps = int(found.get("num_train_timesteps", 1000))
        start, end = float(found.get("beta_start", 1e-4)), float(found.get("beta_end", 0.02))
        if not (2 <= steps <= MOST_STEPS and 0 < start < 1 and 0 < end < 1):
            raise DamagedFileError(f"{steps} steps with betas {start:g} .. {end:g}")
        scheduler = {
            "steps": steps, "beta_start": start, "beta_end": end, "variance": "small" if small else "large",
            "betas": kind, "predicts": PREDICTS[predicts],
        }  # fmt: skip
        if trained is not None:
            scheduler["trained_betas"] = [float(beta) for beta in trained]
        schedule_of(scheduler)  # betas that are none are the file's damage
    return scheduler


def schedule_of(scheduler: dict[str, Any]) -> DDPM:
    """The noise schedule that `read_scheduler` describes; its network is fed the step.

    Runs that were written before other kinds than `linear` were read have no key `betas`.
    """
    steps, start, end = scheduler["steps"], scheduler["beta_start"], scheduler["beta_end"]
    kind = scheduler.get("betas", "linear")
    if kind == "scaled_linear":
        return DDPM(torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2)
    if kind == "squaredcos_cap_v2":
        return DDPM(DDPM.cosine(steps).betas)  # the betas alone: diffusers feeds the step, not IDDPM's time
    if kind == "trained_betas":
        return DDPM(torch.tensor(scheduler["trained_betas"], dtype=torch.float64))
    return DDPM.linear(steps, start, end)


# ----------
# The two published pre-trained networks as denoisers at continuous log-SNR: IDDPM's .pt and a Hugging Face folder.

IDDPM_STEPS = 4000
FILES = "expected config.json and diffusion_pytorch_model.safetensors (or .bin)"


class PretrainedDenoiser(Denoiser):
    """A network that was trained on whole steps, as a denoiser; the time is interpolated in log-SNR, per sample.

    At the log-SNR of a step it is fed what training fed it there; beyond the ends of its schedule the time is held.

    Args:
        network: takes (x, t), t the step times `schedule.time_per_step`.
        schedule: its noise schedule.
        shape: (c, h, w) of an image; what the network puts out beyond c channels parametrises a variance.
        name: what tables call it.
        variance: its reverse variance, `large`, `small` or `learned` (`infolab.variational`).
        levels: grey levels of its training images in [-1, 1].
        architecture: plain JSON values from which `rebuild` makes the same network with other weights.
        predicts: what the network puts out: eps, x0 or v.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: DDPM,
        shape: tuple[int, int, int],
        name: str,
        variance: str,
        levels: int | None = 256,
        architecture: dict[str, Any] | None = None,
        predicts: str = "eps",
    ):
        super().__init__(network, predicts, schedule)
        self.architecture = {**(architecture or {}), "name": name}
        self.shape, self.name, self.variance, self.levels = shape, name, variance, levels

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


def load_iddpm(path: Path, size: UNetConfig | None = None) -> PretrainedDenoiser:
    """IDDPM's checkpoint, `cifar10_uncond_vlb_50M_500K.pt` for one: a state dict of improved-diffusion's U-Net.

    Args:
        path: the .pt file; read without running code from it.
        size: the network; None: that checkpoint's (cosine schedule of 4,000 steps, learned variance).

    Raises:
        UserError: not a file of tensors, or tensors that do not fit the network, by name.
    """
    size = size or iddpm_cifar10_config(dropout=0.0)
    with reading(path, "a PyTorch file of tensors", "expected IDDPM's .pt"):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(item, Tensor) for item in state.values()):
        raise UserError(f"'{path}' holds no state dict of tensors: expected IDDPM's .pt")
    network = UNet(size)
    with reading(path, "a state dict of numbers", "expected IDDPM's .pt"):
        load_iddpm_state(network, state)
    return _iddpm(network, f"iddpm[{path.stem}]")


def _iddpm(network: UNet, name: str) -> PretrainedDenoiser:
    size = network.config
    shape = (size.in_channels, size.image_size, size.image_size)
    variance = "learned" if size.learn_sigma else "large"
    architecture = {"unet": dataclasses.asdict(size)}
    return PretrainedDenoiser(network, DDPM.cosine(IDDPM_STEPS), shape, name, variance, architecture=architecture)


class _DiffusersNetwork(Network):
    """diffusers' U-Net as a function of (x, t) that returns a tensor."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t).sample


def load_hugging_face(folder: Path) -> PretrainedDenoiser:
    """A U-Net in diffusers' format, `google/ddpm-cifar10-32` for one: config.json and weights, perhaps a scheduler's.

    A pipeline's folder too. Networks that predict eps, x0 (`sample`) or v, with linear, scaled linear, squared-cosine
    or given betas (`infolab.pretrained`).

    Raises:
        UserError: diffusers is not installed, the folder does not hold such a model, or its schedule is another one.
    """
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise UserError(
            f"'{folder}' is a Hugging Face model, which needs the package diffusers: pip install diffusers"
        ) from error
    if not (folder / "config.json").is_file() and (folder / "unet" / "config.json").is_file():
        return load_hugging_face(folder / "unet")
    scheduler = read_scheduler(folder)
    with reading(folder, "a whole DDPM of diffusers", FILES):
        unet = UNet2DModel.from_pretrained(str(folder), local_files_only=True, low_cpu_mem_usage=False)
        return _ddpm(unet, scheduler, f"ddpm[{folder.name}]")


def rebuild(architecture: dict[str, Any]) -> PretrainedDenoiser:
    """A network of the same architecture, its weights to be loaded: what a run that tuned one starts from."""
    if "unet" in architecture:
        unet: dict[str, Any] = architecture["unet"]
        fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in unet.items()}
        return _iddpm(UNet(UNetConfig(**fields)), architecture["name"])
    from diffusers import UNet2DModel

    network = UNet2DModel.from_config(architecture["diffusers"])
    return _ddpm(network, architecture["scheduler"], architecture["name"])


def _ddpm(unet: Any, scheduler: dict[str, Any], name: str) -> PretrainedDenoiser:
    size = unet.config.sample_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    shape = (int(unet.config.in_channels), int(height), int(width))
    architecture = {"diffusers": dict(unet.config), "scheduler": scheduler}
    return PretrainedDenoiser(
        _DiffusersNetwork(unet), schedule_of(scheduler), shape, name, scheduler["variance"],
        architecture=architecture, predicts=scheduler.get("predicts", "eps"),
    )  # fmt: skip


# ----------
# One denoiser from a path: this lab's runs, IDDPM's .pt, a Hugging Face DDPM folder.

EXPECTED = (
    "expected the folder of an image run (runs/itdiffusion/<set>/<id>), IDDPM's .pt, or a folder with diffusers' "
    "config.json and weights"
)


def load_denoiser(path: str | Path, data_shape: tuple[int, ...] | None = None) -> Denoiser:
    """The denoiser at `path`, in evaluation mode.

    It has `name` (for tables), `levels` (grey levels of its training images in [-1, 1]), `device` and `variance`. Of a
    run with several members the first is taken; `RUN@1` names the second.

    Args:
        path: see `EXPECTED`.
        data_shape: shape of one example (c, h, w), to be checked; None: unchecked.

    Raises:
        UserError: nothing there, or something else; says what was expected.
    """
    place, member = split_member(path)
    denoiser = _load(place, member)
    if data_shape is not None:
        _check_shape(denoiser, place, data_shape)
    return denoiser.eval()


def split_member(path: str | Path) -> tuple[Path, str]:
    """Folder and member's number of `RUN@1`; an @ elsewhere in the path, or of a path that is there, is part of it."""
    whole = Path(path).expanduser()
    before, at, member = str(whole).rpartition("@")
    return (Path(before), member) if at and member.isdigit() and not whole.exists() else (whole, "")


def _load(place: Path, member: str) -> Denoiser:
    if place.is_file() and place.suffix == ".safetensors":
        place = place.parent
    if place.is_dir():
        if any(place.glob("checkpoint-*.safetensors")):
            return _load_run(place, int(member or 0))
        if _is_hugging_face(place):
            return load_hugging_face(place)
        raise UserError(f"'{place}' holds no denoiser: {EXPECTED}")
    if not place.exists():
        raise UserError(f"there is no '{place}': {EXPECTED}")
    return load_iddpm(place)


def _load_run(place: Path, member: int) -> Denoiser:
    """A run of this lab, read by the paper that made it (in a clone; the installed library has no papers)."""
    try:
        paper = importlib.import_module("itdiffusion.checkpoint")
    except ModuleNotFoundError as error:
        raise UserError(f"'{place}' is a run of itdiffusion/: call this from a clone of the lab") from error
    return paper.load_run(place, member)


def _is_hugging_face(folder: Path) -> bool:
    for config in (folder / "config.json", folder / "unet" / "config.json"):
        if config.is_file():
            return load_json(config, dict, "a config.json", EXPECTED).get("_class_name") == "UNet2DModel"
    return False


def _check_shape(denoiser: Denoiser, place: Path, data_shape: tuple[int, ...]) -> None:
    expected = getattr(denoiser, "shape", None)
    if expected is not None and tuple(data_shape) != tuple(expected):
        raise UserError(
            f"'{place}' takes images of shape {tuple(expected)} (channels, height, width), the data's are "
            f"{tuple(data_shape)}: give data of that shape"
        )
