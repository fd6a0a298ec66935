"""log p(x | z) of one network for many codes per image: fused for the Bernoulli MLP, plain for the convolutions."""

import torch
from torch import Tensor

from common.errors import UserError
from vae.likelihoods import Bernoulli
from vae.models import VAE, Flat

ROWS = 2048
"""Codes decoded at a time: the largest buffer, ROWS x 1024 pixels in float32, is 8 MB."""


class FusedBernoulli:
    """log p(x | z) = x . l - sum_i softplus(l_i), l = h W + b, for many z per image of one Bernoulli MLP.

    The images enter by h . (W x) + b . x, a product over hidden units instead of pixels; probabilities are never
    formed, and one set of buffers serves all blocks of ROWS codes.

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
        flat = x.reshape(n, -1).to(weight.dtype)
        seen, constant = flat @ weight.T, flat @ bias  # W x and b . x of each image
        found = weight.new_empty(n, n_z)
        images, codes = max(1, self.rows // n_z), min(self.rows, n_z)
        for first in range(0, n, images):
            for start in range(0, n_z, codes):
                here = slice(first, first + images), slice(start, start + codes)
                found[here] = self._log_p(z[here], seen[first : first + images])
        return found + constant[:, None]

    def _log_p(self, z: Tensor, seen: Tensor) -> Tensor:
        """h . (W x) - sum softplus(h W + b) of some images and codes (g, c, L), (g, c)."""
        g, c, _ = z.shape
        h = z.reshape(g * c, -1)
        for (weight, bias), buffer in zip(self.layers[:-1], self.buffers[:-1], strict=True):
            h = torch.addmm(bias, h, weight, out=buffer[: g * c]).relu_()
        inner = torch.bmm(h.view(g, c, -1), seen[:, :, None])[..., 0]
        weight, bias = self.layers[-1]
        logits = torch.addmm(bias, h, weight, out=self.buffers[-1][: g * c])
        torch.ops.aten.softplus.out(logits, out=logits)
        return inner - logits.sum(1).view(g, c)


class PlainDecoder:
    """log p(x | z) of the one network of a VAE by its own decoder and likelihood; batch norm as in evaluation.

    Args:
        vae: a VAE of one member, or the member to take.
        rows: codes decoded at a time.
    """

    def __init__(self, vae: VAE, rows: int = ROWS):
        self.vae, self.rows = vae, rows

    @torch.no_grad()
    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (n, N), of images x (n, c, h, w) and codes z (n, N, L)."""
        n, n_z, latent = z.shape
        image = torch.arange(n, device=z.device).repeat_interleave(n_z)
        parts = [
            self.vae.likelihood.log_prob(self.vae.decoder(codes[None]), x[rows][None])[0]
            for codes, rows in zip(z.reshape(-1, latent).split(self.rows), image.split(self.rows), strict=True)
        ]
        return torch.cat(parts).view(n, n_z)


def make_log_likelihood(vae: VAE, member: int) -> FusedBernoulli | PlainDecoder:
    """The fastest log p(x | z) of one member.

    Raises:
        UserError: a convolutional VAE has one member only.
    """
    if isinstance(vae.decoder, Flat) and isinstance(vae.likelihood, Bernoulli):
        return FusedBernoulli(vae.decoder.mlp.member(member))
    if member:
        raise UserError(f"a convolutional VAE is a batch of one network: there is no member {member}")
    return PlainDecoder(vae)
