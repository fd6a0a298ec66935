"""The priors over codes and the models: encoder, VAE decoder, diffusion with a code, diffusion over codes."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from infolab.errors import UserError, check_choice
from infolab.nn.mlp import GaussianCode, LatentMLP
from infolab.nn.unet import UNet, UNetConfig
from infolab.noise import derive, initialise_
from infolab.schedules import DDPM, append_dims
from infolab.toy import swiss_roll

# ----------
# The priors over codes: a standard Gaussian, a ring of ten Gaussians in each pair of coordinates, a swiss roll.

PRIORS = ("regular", "10mix", "roll")
RING = 10
SHIFT, LONG, SHORT = 1.4, 0.5, 0.1
"""Of one Gaussian of the ring: its mean's distance from the origin, standard deviations along and across the radius."""


def check_prior(name: str, a_dim: int) -> None:
    """Refuse a prior that does not exist at this length of the code.

    Raises:
        UserError: an unknown name, `10mix` at an odd length, `roll` at any but 2.
    """
    check_choice("prior", name, PRIORS)
    if name == "10mix" and a_dim % 2:
        raise UserError(f"--prior 10mix lives in pairs of coordinates: --a-dim must be even, not {a_dim}")
    if name == "roll" and a_dim != 2:
        raise UserError(f"--prior roll lives in the plane: --a-dim must be 2, not {a_dim}")


def draw_prior(name: str, n: int, a_dim: int, source: torch.Generator) -> Tensor:
    """Draw codes (n, a_dim), float32 (Wang et al. 2023, appendix; the ring is Makhzani et al.'s).

    `regular` is N(0, I). `10mix`: each pair of coordinates is N(0, 0.5^2) x N(0, 0.1^2), shifted by 1.4 along its first
    axis and turned by one of ten angles 2 pi k / 10, pairs independent. `roll` is `infolab.toy.swiss_roll`.

    Raises:
        UserError: see `check_prior`.
    """
    check_prior(name, a_dim)
    if name == "regular":
        return torch.randn(n, a_dim, generator=source)
    if name == "roll":
        return swiss_roll().sample(n, source)
    normal = torch.randn(n, a_dim // 2, 2, generator=source)
    along, across = SHIFT + LONG * normal[..., 0], SHORT * normal[..., 1]
    angle = (2 * math.pi / RING) * torch.randint(RING, along.shape, generator=source)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([along * cos - across * sin, along * sin + across * cos], -1).flatten(1)


# ----------
# The models: encoder, VAE decoder, auxiliary-variable diffusion (`diff`), `vae`, `vanilla`, and that over codes.


class Patches(nn.Module):
    """Images as a U-Net sees them: each patch x patch square of pixels is one position of patch^2 times the channels.

    Args:
        patch: side of a square; 1 leaves images as they are (published).
    """

    def __init__(self, patch: int):
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c p^2, h/p, w/p)."""
        return pixel_unshuffle(x, self.patch) if self.patch > 1 else x

    def back(self, h: Tensor) -> Tensor:
        """(n, c p^2, h/p, w/p) -> (n, c, h, w)."""
        return pixel_shuffle(h, self.patch) if self.patch > 1 else h


class Output(nn.Module):
    """eps_hat from what a denoising network gives: itself, or v_hat.

    v = sqrt(abar) eps - sqrt(1 - abar) x is the velocity (Salimans and Ho 2022), eps_hat = sqrt(1 - abar) x_t +
    sqrt(abar) v_hat: where only noise is left, eps_hat is x_t whatever the network says.

    Args:
        parametrization: noise (published) or velocity.
        schedule: the steps' noise.
    """

    alpha: Tensor
    sigma: Tensor

    def __init__(self, parametrization: str, schedule: DDPM):
        super().__init__()
        self.parametrization = parametrization
        self.register_buffer("alpha", schedule.alpha.float(), persistent=False)
        self.register_buffer("sigma", schedule.sigma.float(), persistent=False)

    def eps_hat(self, output: Tensor, x_t: Tensor, step: Tensor) -> Tensor:
        """eps_hat (n, c, h, w) for outputs of that shape at x_t and steps (n,)."""
        if self.parametrization == "noise":
            return output
        return append_dims(self.sigma[step], x_t) * x_t + append_dims(self.alpha[step], x_t) * output

    def noised(self, x: Tensor, eps: Tensor, step: Tensor) -> Tensor:
        """x_t = sqrt(abar) x + sqrt(1 - abar) eps, (n, c, h, w), at steps (n,)."""
        return append_dims(self.alpha[step], x) * x + append_dims(self.sigma[step], x) * eps

    def weight(self, step: Tensor) -> Tensor:
        """(squared error of the output) / (squared error of eps_hat) at steps (n,): 1, or 1 / abar."""
        alpha = self.alpha[step]
        return torch.ones_like(alpha) if self.parametrization == "noise" else 1 / alpha.square()


@dataclass(frozen=True)
class Code(GaussianCode):
    """q(a | x) = N(mu, diag exp(log_variance)) and the deterministic code a, all (n, a_dim)."""

    a: Tensor


class Encoder(nn.Module):
    """A U-Net without time to one channel, flattened, linear to a, then linear to mu and log variance.

    Args:
        size: the U-Net for the image's channels.
        a_dim: length of the code.
        patch: see `Patches`.
        seed: of the initial weights. Unlike in a denoiser no branch starts at 0: the codes of an untrained encoder are
            random features of the image.
    """

    def __init__(self, size: UNetConfig, a_dim: int, patch: int, seed: int):
        super().__init__()
        self.patches = Patches(patch)
        self.network = UNet(dataclasses.replace(size, timed=False, code_dim=0, out_channels=1), seed)
        self.to_a = nn.Linear(size.image_size**2, a_dim)
        self.to_mu = nn.Linear(a_dim, a_dim)
        self.to_log_variance = nn.Linear(a_dim, a_dim)
        initialise_(self, seed)

    def forward(self, x: Tensor) -> Code:
        """The codes of images x (n, c, h, w)."""
        a = self.to_a(self.network(self.patches(x)).flatten(1))
        return Code(self.to_mu(a), self.to_log_variance(a), a)


class Decoder(nn.Module):
    """Images from codes: linear to the image's shape, then a U-Net without time.

    Args:
        size: the U-Net for the image's channels.
        a_dim: length of the code.
        patch: see `Patches`.
        seed: of the initial weights.
    """

    def __init__(self, size: UNetConfig, a_dim: int, patch: int, seed: int):
        super().__init__()
        self.patches = Patches(patch)
        self.shape = (size.in_channels, size.image_size, size.image_size)
        self.from_a = nn.Linear(a_dim, size.in_channels * size.image_size**2)
        initialise_(self.from_a, seed)
        self.network = UNet(dataclasses.replace(size, timed=False, code_dim=0), seed)

    def forward(self, code: Tensor) -> Tensor:
        """Images (n, c, h, w) in [-1, 1] for codes (n, a_dim)."""
        return self.patches.back(self.network(self.from_a(code).view(-1, *self.shape)))


class Autoencoder(nn.Module):
    """What `diff` and `vae` share: an encoder, and the rule that says which code is used.

    Attributes:
        sampled: training gives the decoder mu + std eps rather than the deterministic code; the code of an image is
            then mu, else a.
    """

    encoder: Encoder
    sampled: bool

    def code(self, x: Tensor) -> Tensor:
        """The code of each image (n, a_dim), without noise."""
        found = self.encoder(x)
        return found.mu if self.sampled else found.a


class Diff(Autoencoder):
    """Auxiliary-variable diffusion (Wang et al. 2023): eps_hat(x_t, step, code), the code entering every block.

    Args:
        size: the U-Net with `code_dim` and `code_blocks`.
        sampled: see `Autoencoder`.
        patch: see `Patches`.
        seed: of the initial weights.
        output: what the network gives.
    """

    def __init__(self, size: UNetConfig, sampled: bool, patch: int, seed: int, output: Output):
        super().__init__()
        self.patches, self.output = Patches(patch), output
        self.network = UNet(size, derive(seed, "network"))
        self.encoder = Encoder(size, size.code_dim, patch, derive(seed, "encoder"))
        self.sampled = sampled

    def forward(self, x_t: Tensor, step: Tensor, code: Tensor) -> Tensor:
        """eps_hat, of the shape of x_t (n, c, h, w), at steps (n,) 0 .. T - 1 and codes (n, a_dim)."""
        out = self.patches.back(self.network(self.patches(x_t), step, code))
        return self.output.eps_hat(out, x_t, step)


class VAE(Autoencoder):
    """Encoder and decoder; the weights of KL and MMD make it a VAE, beta-VAE or InfoVAE, and neither an autoencoder.

    Args:
        size: the U-Net of both; its code_dim is the length of the code.
        sampled: see `Autoencoder`.
        patch: see `Patches`.
        seed: of the initial weights.
    """

    def __init__(self, size: UNetConfig, sampled: bool, patch: int, seed: int):
        super().__init__()
        self.encoder = Encoder(size, size.code_dim, patch, derive(seed, "encoder"))
        self.decoder = Decoder(size, size.code_dim, patch, derive(seed, "network"))
        self.sampled = sampled

    def forward(self, code: Tensor) -> Tensor:
        """Images (n, c, h, w) for codes (n, a_dim)."""
        image: Tensor = self.decoder(code)
        return image


class Vanilla(nn.Module):
    """A diffusion model without a code: eps_hat(x_t, step).

    Args:
        size: the U-Net.
        patch: see `Patches`.
        seed: of the initial weights.
        output: what the network gives.
    """

    def __init__(self, size: UNetConfig, patch: int, seed: int, output: Output):
        super().__init__()
        self.patches, self.output = Patches(patch), output
        self.network = UNet(dataclasses.replace(size, code_dim=0), derive(seed, "network"))

    def forward(self, x_t: Tensor, step: Tensor) -> Tensor:
        """eps_hat, of the shape of x_t (n, c, h, w), at steps (n,)."""
        return self.output.eps_hat(self.patches.back(self.network(self.patches(x_t), step)), x_t, step)


class LatentDiffusion(nn.Module):
    """The denoiser of codes with the codes' mean and standard deviation, (a_dim,) each.

    Args:
        codes: the training codes (n, a_dim).
        seed: of the initial weights.
    """

    def __init__(self, codes: Tensor, seed: int):
        super().__init__()
        self.network = LatentMLP(codes.shape[1], seed)
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", codes.mean(0))
        self.register_buffer("scale", codes.std(0).clamp(min=1e-6))

    def forward(self, a_t: Tensor, step: Tensor) -> Tensor:
        """eps_hat (n, a_dim) at noised normalised codes a_t and steps (n,)."""
        eps_hat: Tensor = self.network(a_t, step)
        return eps_hat
