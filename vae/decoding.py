"""log p(x | z) of one network for many codes per image: fused for the Bernoulli MLP, plain for the convolutions."""

from collections.abc import Callable

import torch
from torch import Tensor

from common.errors import UserError
from common.networks.arithmetic import bf16_forward
from vae.likelihoods import Bernoulli, Likelihood
from vae.models import VAE, Flat

ROWS = 1024
"""Codes decoded at a time: the largest buffer, ROWS x 1024 pixels in float32, is 4 MB."""
GROUP = 32
"""Factors 1 + exp(-|l|), each in (1, 2], that are multiplied before a logarithm is taken: at most 2^32."""


class FusedBernoulli:
    """log p(x | z) = x . l - sum_i softplus(l_i), l = h W + b, for many z per image of one Bernoulli MLP.

    With softplus(l) = l / 2 + |l| / 2 + log(1 + exp(-|l|)) this is

        (x - 1/2) . l - sum_i |l_i| / 2 - sum_groups log prod_{i in group} (1 + exp(-|l_i|)).

    The images enter by h . (W y) + b . y, y = x - 1/2, a product over hidden units instead of pixels; a logarithm is
    taken once for a group of pixels, and one set of buffers serves all blocks of ROWS codes.

    Args:
        layers: weight (in, out) and bias (out,) of each decoder layer.
        rows: codes decoded at a time.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], rows: int = ROWS):
        self.layers, self.rows = layers, rows
        self.buffers = [weight.new_empty(rows, weight.shape[1]) for weight, _ in layers]

    @torch.no_grad()
    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (n, N), of images x (n, ...) of zeros and ones and codes z (n, N, L)."""
        n, n_z, _ = z.shape
        weight, bias = self.layers[-1]
        y = x.reshape(n, -1).to(weight.dtype) - 0.5
        seen, constant = y @ weight.T, y @ bias  # W y and b . y of each image
        found = weight.new_empty(n, n_z)
        images, codes = max(1, self.rows // n_z), min(self.rows, n_z)
        for first in range(0, n, images):
            for start in range(0, n_z, codes):
                here = slice(first, first + images), slice(start, start + codes)
                found[here] = self._log_p(z[here], seen[first : first + images])
        return found + constant[:, None]

    def _log_p(self, z: Tensor, seen: Tensor) -> Tensor:
        """h . (W y) - sum_i (softplus(l_i) - l_i / 2) of some images and codes (g, c, L), (g, c)."""
        g, c, _ = z.shape
        h = z.reshape(g * c, -1)
        for (weight, bias), buffer in zip(self.layers[:-1], self.buffers[:-1], strict=True):
            h = torch.mm(h, weight, out=buffer[: g * c]).add_(bias).relu_()
        inner = torch.bmm(h.view(g, c, -1), seen[:, :, None])[..., 0]
        weight, bias = self.layers[-1]
        logits = torch.mm(h, weight, out=self.buffers[-1][: g * c]).add_(bias)
        return inner - _even_softplus(logits).view(g, c)


def _even_softplus(logits: Tensor) -> Tensor:
    """sum_i |l_i| / 2 + log(1 + exp(-|l_i|)) = sum_i softplus(l_i) - l_i / 2 of each row (overwritten)."""
    group = max(size for size in range(1, GROUP + 1) if logits.shape[1] % size == 0)
    negative = logits.copysign_(-1.0)
    half = -0.5 * negative.sum(1)
    factors = negative.exp_().add_(1)
    return half + factors.unflatten(1, (group, -1)).prod(1).log_().sum(1)


class PlainDecoder:
    """log p(x | z) of one network of a VAE by its decoder and likelihood; batch norm as in evaluation.

    Args:
        decode: codes (n, L) -> outputs (1, n, ...).
        likelihood: of the images given these outputs.
        rows: codes decoded at a time.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], likelihood: Likelihood, rows: int = ROWS):
        self.decode, self.likelihood, self.rows = decode, likelihood, rows

    @torch.no_grad()
    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (n, N), of images x (n, c, h, w) and codes z (n, N, L)."""
        n, n_z, latent = z.shape
        image = torch.arange(n, device=z.device).repeat_interleave(n_z)
        parts = [
            self.likelihood.log_prob(self.decode(codes), x[rows][None])[0]
            for codes, rows in zip(z.reshape(-1, latent).split(self.rows), image.split(self.rows), strict=True)
        ]
        return torch.cat(parts).view(n, n_z)


def make_log_likelihood(vae: VAE, member: int) -> FusedBernoulli | PlainDecoder:
    """The fastest log p(x | z) of one member.

    Raises:
        UserError: a convolutional VAE has one member only.
    """
    if isinstance(vae.decoder, Flat):
        layers, shape = vae.decoder.mlp.member(member), vae.decoder.shape or ()
        if vae.decoder.precision != "bf16" and isinstance(vae.likelihood, Bernoulli):
            return FusedBernoulli(layers)
        return PlainDecoder(lambda codes: bf16_forward(layers, codes).view(1, -1, *shape), vae.likelihood)
    if member:
        raise UserError(f"a convolutional VAE is a batch of one network: there is no member {member}")
    return PlainDecoder(lambda codes: vae.decoder(codes[None]), vae.likelihood)
