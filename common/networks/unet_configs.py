"""The U-Net sizes that the papers publish, by name, and a small one for the built-in digits."""

import dataclasses
from collections.abc import Callable
from typing import Any

from common.networks.unet import UNetConfig


def mnist_config(dropout: float = 0.0) -> UNetConfig:
    """Return the U-Net for 28x28 grey images: 32 channels, multipliers 1, 2, 2, two blocks a level.

    The published flag asks for attention at 16 and compares it with a level's size in pixels. A 28x28 input has levels
    of 28, 14 and 7, so the only attention is the bottleneck's. (IDDPM would read the same flag as a factor,
    28 // 16 = 1, and attend at 28.) Source: Huang, Lim and Courville 2021, public code, whose
    time embedding (sines first, exponent k/(h - 1)), initial weights (uniform by fan average, zero biases) and group
    norm's eps (1e-6) differ from IDDPM's, which are kept here.
    """
    return UNetConfig(
        image_size=28,
        in_channels=1,
        model_channels=32,
        channel_mult=(1, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(16,),
        use_scale_shift_norm=False,
        dropout=dropout,
    )


def cifar10_config(dropout: float = 0.0) -> UNetConfig:
    """Return the U-Net for 32x32 colour images: 128 channels, multipliers 1, 2, 2, 2, attention at 16.

    It has 35,746,307 parameters. Source: Ho et al. 2020, appendix B, as taken over by Huang, Lim and Courville 2021.
    """
    return UNetConfig(
        image_size=32,
        in_channels=3,
        model_channels=128,
        channel_mult=(1, 2, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(16,),
        use_scale_shift_norm=False,
        dropout=dropout,
    )


def digits_config(dropout: float = 0.0) -> UNetConfig:
    """Return a small U-Net for 8x8 grey digits: 32 channels, multipliers 1, 2, one block a level, attention at 4."""
    return UNetConfig(
        image_size=8,
        in_channels=1,
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(4,),
        dropout=dropout,
    )


def iddpm_cifar10_config(dropout: float = 0.3) -> UNetConfig:
    """Return the U-Net of IDDPM's `cifar10_uncond_vlb_50M_500K.pt`: 446 tensors, 52,546,438 parameters.

    Its time is a step index in [0, 1000), whole or fractional, so `time_scale` is 1; the output has 6 channels, eps_hat
    then the variance's interpolation. Source: Nichol and Dhariwal 2021, public code.
    """
    return UNetConfig(
        image_size=32,
        in_channels=3,
        model_channels=128,
        channel_mult=(1, 2, 2, 2),
        num_res_blocks=3,
        attention_resolutions=(16, 8),
        num_heads=4,
        learn_sigma=True,
        dropout=dropout,
        time_scale=1.0,
    )


def _changed(size: Callable[..., UNetConfig], **changes: Any) -> Callable[..., UNetConfig]:
    return lambda dropout=0.0: dataclasses.replace(size(dropout), **changes)


# Beside the published sizes: `narrow` for a CPU, `tiny` for tests.
NETWORKS: dict[str, Callable[..., UNetConfig]] = {
    "digits": digits_config,
    "digits-narrow": _changed(digits_config, model_channels=16),
    "digits-tiny": _changed(digits_config, model_channels=4, norm_groups=4),
    "mnist": mnist_config,
    "mnist-narrow": _changed(mnist_config, model_channels=8, num_res_blocks=1, norm_groups=4),
    "mnist-tiny": _changed(mnist_config, model_channels=4, num_res_blocks=1, norm_groups=4, channel_mult=(1, 1, 1)),
    "cifar10": cifar10_config,
    "cifar10-narrow": _changed(
        cifar10_config, model_channels=8, num_res_blocks=1, norm_groups=4, channel_mult=(1, 2, 2)
    ),
    "cifar10-tiny": _changed(cifar10_config, model_channels=4, num_res_blocks=1, norm_groups=4, channel_mult=(1, 1, 1)),
}
"""U-Nets by the names that the image studies take; each takes its dropout."""
