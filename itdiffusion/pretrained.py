"""The two published pre-trained networks as denoisers at continuous log-SNR: IDDPM's .pt and a Hugging Face folder."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files import DamagedFileError, load_json, reading
from common.networks.arithmetic import Network
from common.networks.unet import UNet, UNetConfig, load_iddpm_state
from common.networks.unet_configs import iddpm_cifar10_config
from common.schedules import DDPM
from common.variational import StepModel

IDDPM_STEPS = 4000
MOST_STEPS = 1_000_000
"""Training steps that a scheduler's file may name; one damaged digit must not take the memory."""
FILES = "expected config.json and diffusion_pytorch_model.safetensors (or .bin)"


class PretrainedDenoiser(nn.Module):
    """eps_hat(z, logsnr) of a network that was trained on whole steps, the time interpolated in log-SNR, per sample.

    At the log-SNR of a step it is fed what training fed it there; beyond the ends of its schedule the time is held.

    Args:
        network: takes (x, t), t what `schedule.logsnr_to_network_t` gives.
        schedule: its noise schedule.
        shape: (c, h, w) of an image; what the network puts out beyond c channels parametrises a variance.
        name: what tables call it.
        variance: its reverse variance, `large`, `small` or `learned` (`common.variational`).
        levels: grey levels of its training images in [-1, 1].
        architecture: plain JSON values from which `rebuild` makes the same network with other weights.
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
    ):
        super().__init__()
        self.architecture = {**(architecture or {}), "name": name}
        self.network, self.schedule, self.shape = network, schedule, shape
        self.name, self.variance, self.levels = name, variance, levels

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat at z (n, c, h, w) and log-SNR (n,)."""
        t = self.schedule.logsnr_to_network_t(logsnr.detach().cpu().double()).to(z)
        return self.network(z, t)[:, : self.shape[0]]

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def step_model(self) -> StepModel:
        """eps_hat and the variance's v at whole steps, fed as in training: i for DDPM, 1,000 i / N for IDDPM."""
        scale = self.schedule.time_per_step

        def model(x_t: Tensor, step: Tensor) -> tuple[Tensor, Tensor | None]:
            out = self.network(x_t, step.to(x_t) * scale)
            return out[:, : self.shape[0]], out[:, self.shape[0] :] if out.shape[1] > self.shape[0] else None

        return model


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
    denoiser = _iddpm(size, f"iddpm[{path.stem}]")
    with reading(path, "a state dict of numbers", "expected IDDPM's .pt"):
        load_iddpm_state(denoiser.network, state)
    return denoiser


def _iddpm(size: UNetConfig, name: str) -> PretrainedDenoiser:
    shape = (size.in_channels, size.image_size, size.image_size)
    variance = "learned" if size.learn_sigma else "large"
    architecture = {"unet": dataclasses.asdict(size)}
    return PretrainedDenoiser(UNet(size), DDPM.cosine(IDDPM_STEPS), shape, name, variance, architecture=architecture)


class _DiffusersNetwork(Network):
    """diffusers' U-Net as a function of (x, t) that returns a tensor."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t).sample


def load_hugging_face(folder: Path) -> PretrainedDenoiser:
    """A DDPM in diffusers' format, `google/ddpm-cifar10-32` for one: config.json and weights, perhaps a scheduler's.

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
    scheduler = _scheduler(folder)
    with reading(folder, "a whole DDPM of diffusers", FILES):
        unet = UNet2DModel.from_pretrained(str(folder), local_files_only=True, low_cpu_mem_usage=False)
        return _ddpm(unet, scheduler, f"ddpm[{folder.name}]")


def rebuild(architecture: dict[str, Any]) -> PretrainedDenoiser:
    """A network of the same architecture, its weights to be loaded: what a run that tuned one starts from."""
    if "unet" in architecture:
        unet: dict[str, Any] = architecture["unet"]
        fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in unet.items()}
        return _iddpm(UNetConfig(**fields), architecture["name"])
    from diffusers import UNet2DModel

    network = UNet2DModel.from_config(architecture["diffusers"])
    return _ddpm(network, architecture["scheduler"], architecture["name"])


def _ddpm(unet: Any, scheduler: dict[str, Any], name: str) -> PretrainedDenoiser:
    size = unet.config.sample_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    shape = (int(unet.config.in_channels), int(height), int(width))
    schedule = DDPM.linear(scheduler["steps"], scheduler["beta_start"], scheduler["beta_end"])
    architecture = {"diffusers": dict(unet.config), "scheduler": scheduler}
    return PretrainedDenoiser(
        _DiffusersNetwork(unet), schedule, shape, name, scheduler["variance"], architecture=architecture
    )


def _scheduler(folder: Path) -> dict[str, Any]:
    """Steps, betas and variance from scheduler_config.json, beside the network or in scheduler/; else those of DDPM."""
    places = [folder / "scheduler_config.json", folder.parent / "scheduler" / "scheduler_config.json"]
    place = next((place for place in places if place.is_file()), None)
    what, remedy = "a scheduler_config.json of diffusers", "copy it again"
    found = load_json(place, dict, what, remedy) if place else {}
    kind = found.get("beta_schedule", "linear")
    if kind != "linear":
        raise UserError(f"'{folder}' was trained with the noise schedule '{kind}': only 'linear' is read here")
    if found.get("prediction_type", "epsilon") != "epsilon":
        raise UserError(f"'{folder}' predicts '{found['prediction_type']}': only epsilon networks are read")
    small = str(found.get("variance_type", "fixed_large")).startswith("fixed_small")
    with reading(place or folder, what, remedy):
        steps = int(found.get("num_train_timesteps", 1000))
        start, end = float(found.get("beta_start", 1e-4)), float(found.get("beta_end", 0.02))
        if not (2 <= steps <= MOST_STEPS and 0 < start < 1 and 0 < end < 1):
            raise DamagedFileError(f"{steps} steps with betas {start:g} .. {end:g}")
    return {"steps": steps, "beta_start": start, "beta_end": end, "variance": "small" if small else "large"}
