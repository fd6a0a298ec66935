"""Every mode of the study and its sweeps: train a model with a code, draw and move images, keep and score codes."""

import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable

from infodiffusion import sampling, scores
from infodiffusion.checkpoint import build
from infodiffusion.config import MODES, InfoConfig, canonical_config
from infodiffusion.tables import InfoOutput, InfoQuality, InfoTraining
from infodiffusion.train import train_latent, train_model
from infolab.errors import UserError, check_choice, report_once, run_main
from infolab.nn.unet import UNet, unet_size
from infolab.sweep import Cost, Experiment, run_sweep

# ----------
# The sweeps of the presets: sprites and digits in minutes, the published settings on CelebA and the other sets.

SEEDS = (64, 65, 66)

# ---- published settings (Wang et al. 2023, appendix and public code): T 1,000, betas 1e-5 .. 1e-2, AdamW, batch 64
CELEBA = InfoConfig(dataset="celeba", epochs=50, batch=32, flip=True, a_dim=32, n=64)
FASHION = InfoConfig(dataset="fashion-mnist", epochs=20, flip=True, n=64)
MNIST = InfoConfig(dataset="mnist", epochs=20, n=64)
CIFAR10 = InfoConfig(dataset="cifar10", epochs=50, flip=True, n=64)


def family(base: InfoConfig) -> list[InfoConfig]:
    """The models of the published tables on one data set: InfoDiffusion, DiffAE, vanilla, beta-VAE, InfoVAE."""
    vae = dataclasses.replace(base, model="vae")
    return [
        base,
        dataclasses.replace(base, mmd_weight=0.0),
        dataclasses.replace(base, model="vanilla"),
        dataclasses.replace(vae, mmd_weight=0.0, kld_weight=0.01, use_c=True),
        vae,
    ]


# ---- small networks, trained briefly, for two CPU cores
SPRITES = InfoConfig(
    dataset="sprites", a_dim=10, channels=32, mult=(1, 2), blocks=1, convolutions=2, patch=4, dropout=0.0,
    parametrization="velocity", mmd_kernel="dimension", m=9_600, epochs=1, batch=32, lr=1e-3, lr_schedule="cosine",
    ema_decay=0.99, n=16, steps=50, codes=2_000,
)  # fmt: skip
DIGITS = dataclasses.replace(SPRITES, dataset="digits", a_dim=32, patch=1, m=0, epochs=6)
SMOKE = dataclasses.replace(
    SPRITES, a_dim=4, channels=4, patch=2, m=64, epochs=1, batch=32, n=4, steps=3, latent_epochs=1,
    force_features=True,
)  # fmt: skip


def over_seeds(configs: list[InfoConfig]) -> list[InfoConfig]:
    """Each of `configs` with each seed."""
    return [dataclasses.replace(config, seed=seed) for config in configs for seed in SEEDS]


def compared(base: InfoConfig) -> list[InfoConfig]:
    """diff, a VAE and the encoder as it was initialised, at the same size."""
    return [base, dataclasses.replace(base, model="vae"), dataclasses.replace(base, epochs=0)]


SWEEPS: dict[str, list[InfoConfig]] = {
    "paper": [config for base in (CELEBA, FASHION, MNIST, CIFAR10) for config in family(base)],
    "quick": [*over_seeds(compared(SPRITES)), DIGITS, dataclasses.replace(DIGITS, epochs=0)],
    "smoke": [SMOKE, dataclasses.replace(SMOKE, model="vae"), dataclasses.replace(SMOKE, model="vanilla")],
}


# ----------
# Every mode of the study: train a model with a code, draw and move images, keep and score codes.
#
# `python -m infodiffusion.run [smoke|quick|paper] --mode MODE[,MODE...] [--flags]`; the launchers of this folder name
# the modes. A mode finds the model that the same flags have trained, and says so where there is none.


def _score(name: str) -> Callable[[str, InfoConfig], None]:
    """A function of `infodiffusion.scores`; scikit-learn is loaded when it is called, which no other mode waits for."""
    return lambda preset, config: getattr(importlib.import_module("infodiffusion.scores"), name)(preset, config)


COMMAND = "python -m infodiffusion.run"
WORK = {
    "train": train_model,
    "eval": sampling.sample,
    "eval_fid": sampling.sample_for_fid,
    "save_latent": scores.save_codes,
    "disentangle": sampling.traverse,
    "interpolate": sampling.interpolate,
    "latent_quality": sampling.redraw,
    "train_latent_ddim": train_latent,
    "plot_latent": scores.plot_codes,
    "save_original_img": sampling.save_originals,
    "eval_disentangle": _score("score_disentanglement"),
    "train_classifier": _score("score_classification"),
    "calc_fid": _score("score_samples"),
}
EARLIER = {"train": 0, "train_latent_ddim": 1, "save_latent": 2, "eval_fid": 3}
"""Modes that others stand on, in the order in which they run; all others follow as they are named."""
TABLES = {"training": InfoTraining, "outputs": InfoOutput, "quality": InfoQuality}


def experiment(mode: str, model_given: bool = False) -> Experiment:
    """The sweeps of one mode: the models of each preset that have it (all, where the user names the model).

    Raises:
        UserError: an unknown mode.
    """
    chosen = MODES[check_choice("mode", mode, tuple(MODES))]

    def has(config: InfoConfig) -> bool:
        shown = not chosen.one_seed or config.seed == SEEDS[0]
        return shown and (model_given or (config.model in chosen.models and (config.epochs > 0 or chosen.untrained)))

    sweeps = {
        preset: [dataclasses.replace(config, mode=mode) for config in configs if has(config)]
        for preset, configs in SWEEPS.items()
    }
    return Experiment(
        command=COMMAND,
        presets=sweeps,
        row_type=TABLES[chosen.results],
        check=InfoConfig.check,
        run=WORK[mode],
        cost=cost,
        kind=lambda config: config.dataset,
        expand=lambda config: [canonical_config(config)],
        several_processes=mode == "train",
    )


SHAPE = (
    "model", "dataset", "train_folder", "image_size", "a_dim", "bottleneck", "channels", "mult", "blocks", "patch",
    "convolutions",
)  # fmt: skip
"""Settings that the network's size depends on."""


def cost(config: InfoConfig) -> Cost:
    """Expected cost of one run: passes of images through the network, in training or sampling."""
    shape = {name: getattr(config, name) for name in SHAPE}
    parameters, flops = _size(InfoConfig(**shape))
    n = config.m or {"sprites": 20_000, "digits": 1_437, "cifar10": 50_000, "celeba": 162_770}.get(
        config.dataset, 60_000
    )
    steps = (config.steps or config.T) * config.n
    images = {"train": 3.0 * n * config.epochs, "save_latent": n, "eval": steps, "eval_fid": steps}.get(
        config.mode, 100.0
    )
    side = config.shape[1]
    memory = 16.0 * parameters + config.batch * config.unet().model_channels * side**2 * 400.0
    return Cost(parameters, memory, images, images * flops)


@functools.lru_cache
def _size(config: InfoConfig) -> tuple[int, float]:
    """Parameters, and operations of one image's pass, that of its U-Nets."""
    model = build(config)
    parts = [part.config for part in model.modules() if isinstance(part, UNet)]
    return sum(item.numel() for item in model.parameters()), sum(unet_size(part)[1] for part in parts)


def main() -> None:
    """Run the modes of the command line, one after the other."""
    run_main(_main)


def _main() -> None:
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        run_sweep(experiment("train"), words)
        return
    modes, rest = split_modes(words)
    modes = sorted(dict.fromkeys(modes), key=lambda mode: EARLIER.get(mode, len(EARLIER)))
    with report_once():
        if not modes:
            raise UserError(f"give --mode, one or more of {', '.join(MODES)}, separated by commas")
        model_given = any(word.split("=")[0] == "--model" for word in rest)
        experiments = [(mode, experiment(mode, model_given)) for mode in modes]  # refuses a wrong name before any work
    for mode, one in experiments[:1] if "--count" in rest else experiments:  # a SLURM array has one size
        run_sweep(one, [*rest, "--mode", mode])


def split_modes(words: list[str]) -> tuple[list[str], list[str]]:
    """The modes that `--mode A,B` or `--mode=A,B` name, and the other words.

    >>> split_modes(["quick", "--mode", "train,eval", "--seed", "3"])
    (['train', 'eval'], ['quick', '--seed', '3'])
    """
    modes: list[str] = []
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--mode" and queue:
            modes += queue.pop(0).split(",")
        elif word.startswith("--mode="):
            modes += word.removeprefix("--mode=").split(",")
        else:
            rest.append(word)
    return modes, rest


if __name__ == "__main__":
    main()
