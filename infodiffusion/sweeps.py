"""The sweeps of the presets: sprites and digits in minutes, the published settings on CelebA and the other sets."""

import dataclasses

from infodiffusion.config import InfoConfig

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
