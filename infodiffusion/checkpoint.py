"""The images of a run, and models by their settings: at initial weights, or out of the run that trained them."""

import dataclasses
import functools
from pathlib import Path

import torch
from torch import nn

from infodiffusion.config import InfoConfig, canonical_config
from infodiffusion.data import load_images
from infodiffusion.networks import VAE, Autoencoder, Diff, LatentDiffusion, Output, Vanilla
from infodiffusion.objective import schedule_of
from infolab.config import run_id
from infolab.data import ImageSet
from infolab.device import set_arithmetic
from infolab.errors import UserError
from infolab.storage import is_complete, load_latest

# ----------
# The training and test images of a run, on its device, and their way to [-1, 1] and back.


def images_of(config: InfoConfig, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """Training and test images of `config`.

    Raises:
        UserError: files that are missing or damaged, or images of another shape.
    """
    loaded = _loaded(
        config.dataset,
        config.shape,
        data_dir=config.data_dir,
        download=config.download,
        folders=(config.train_folder, config.test_folder),
        m=config.m,
        seed=config.seed,
    )
    train, test = loaded
    return train.to(device), test.to(device)


# The runs of a sweep share their images; drawing or reading them takes longer than a small mode.
_loaded = functools.lru_cache(maxsize=2)(load_images)


# ----------
# Models by their settings: built at their initial weights, or out of the run that trained them.


def build(config: InfoConfig) -> nn.Module:
    """The model of `config` at its initial weights."""
    size = config.unet()
    if config.model == "vae":
        return VAE(size, config.sampled, config.patch, config.seed)
    output = Output(config.parametrization, schedule_of(config))
    if config.model == "vanilla":
        return Vanilla(size, config.patch, config.seed, output)
    return Diff(size, config.sampled, config.patch, config.seed, output)


def load_coded(config: InfoConfig, device: torch.device) -> Autoencoder:
    """`load_model` of a model that has codes."""
    model = load_model(config, device)
    assert isinstance(model, Autoencoder)
    return model


def experiment_of(config: InfoConfig) -> str:
    """The folder of a mode's runs: the data set for training, else mode and data set."""
    return config.dataset if config.mode == "train" else f"{config.mode}-{config.dataset}"


def folder_of(config: InfoConfig) -> Path:
    """The folder of the run that `config`, settled, describes."""
    return config.runs_dir / "infodiffusion" / experiment_of(config) / run_id(config)


def load_model(config: InfoConfig, device: torch.device) -> nn.Module:
    """The trained model of `config`, in evaluation mode, without gradients; untrained where `epochs` is 0.

    Raises:
        UserError: no finished training with these settings; says which command makes it.
    """
    model = build(config)
    if config.epochs:
        model.load_state_dict(_trained(_same_or_fp32(canonical_config(config, "train"))))
    set_arithmetic(model, config)
    return model.to(device).eval().requires_grad_(False)


def load_latent(config: InfoConfig, device: torch.device) -> LatentDiffusion:
    """The trained diffusion over the codes of the model of `config`.

    Raises:
        UserError: it has not been trained.
    """
    latent = LatentDiffusion(torch.zeros(2, config.a_dim), 0)
    latent.load_state_dict(_trained(_same_or_fp32(canonical_config(config, "train_latent_ddim"))))
    return latent.to(device).eval().requires_grad_(False)


def _same_or_fp32(config: InfoConfig) -> InfoConfig:
    """The training at the precision of `config` where it has finished, else the one in fp32."""
    return config if is_complete(folder_of(config)) else dataclasses.replace(config, precision="fp32")


def _trained(config: InfoConfig) -> dict[str, torch.Tensor]:
    """The weights at the end of the run that `config` itself describes, averaged where an average was kept."""
    folder = folder_of(config)
    if not is_complete(folder):
        state = "has not finished" if folder.is_dir() else "has not been run"
        raise UserError(
            f"the {config.model} model of these settings needs --mode {config.mode}, which {state} (expected "
            f"'{folder}'): run the same command with --model {config.model} --mode {config.mode} first"
        )
    found = load_latest(folder)
    if found is None or not found[1]:
        raise UserError(f"'{folder}' holds no whole checkpoint: run its training again")
    return _part(found[1], "model/") | _part(found[1], "ema/")


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)}
