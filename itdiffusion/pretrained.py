"""The two published pre-trained networks as denoisers at continuous log-SNR: IDDPM's .pt and a Hugging Face folder."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.denoise import read_vp
from common.errors import UserError
from common.files import reading
from common.networks.arithmetic import Network
from common.networks.unet import UNet, UNetConfig, load_iddpm_state
from common.networks.unet_configs import iddpm_cifar10_config
from common.schedules import DDPM
from common.variational import StepModel
from itdiffusion.diffusers_scheduler import read_scheduler, schedule_of

IDDPM_STEPS = 4000
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
        super().__init__()
        self.architecture = {**(architecture or {}), "name": name}
        self.network, self.schedule, self.shape = network, schedule, shape
        self.name, self.variance, self.levels, self.predicts = name, variance, levels, predicts

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat at z (n, c, h, w) and log-SNR (n,)."""
        t = self.schedule.logsnr_to_network_t(logsnr.detach().cpu().double()).to(z)
        return self._eps(self.network(z, t)[:, : self.shape[0]], z, logsnr)

    def _eps(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat of what the network puts out at z and log-SNR (n,)."""
        return out if self.predicts == "eps" else read_vp(self.predicts, out, z, logsnr).eps_hat

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def step_model(self) -> StepModel:
        """eps_hat and the variance's v at whole steps, fed as in training: i for DDPM, 1,000 i / N for IDDPM."""
        scale = self.schedule.time_per_step

        def model(x_t: Tensor, step: Tensor) -> tuple[Tensor, Tensor | None]:
            out = self.network(x_t, step.to(x_t) * scale)
            eps_hat = self._eps(out[:, : self.shape[0]], x_t, self.schedule.logsnr.to(x_t.device)[step])
            return eps_hat, out[:, self.shape[0] :] if out.shape[1] > self.shape[0] else None

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
    """A U-Net in diffusers' format, `google/ddpm-cifar10-32` for one: config.json and weights, perhaps a scheduler's.

    A pipeline's folder too. Networks that predict eps, x0 (`sample`) or v, with linear, scaled linear, squared-cosine
    or given betas (`itdiffusion.diffusers_scheduler`).

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
        return _iddpm(UNetConfig(**fields), architecture["name"])
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
