"""The denoisers of the 2-D study, a batch of them: the published network, or a Gaussian's linear denoiser plus it."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from common.immse import GaussianReference
from common.networks.fourier_mlp import FourierMLPs
from common.schedules import logsnr_to_alpha_sigma

PRECONDITIONS = ("none", "gaussian")


class Gaussians(nn.Module):
    """k Gaussians N(mu, Sigma), one per member, as the buffers of a module (so that they move and are saved with it).

    Args:
        references: one Gaussian of full covariance per member (k,).
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    def __init__(self, references: Sequence[GaussianReference]):
        super().__init__()
        for name in ("mean", "eigenvalues", "eigenvectors"):
            stacked = torch.stack([torch.as_tensor(getattr(one, name)) for one in references])
            self.register_buffer(name, stacked.float())

    def eps_hat(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """The Gaussian's optimal denoiser, sigma (alpha^2 Sigma + sigma^2 I)^-1 (z - alpha mu), (k, n, d).

        Args:
            z: points (k, n, d).
            logsnr: log-SNRs (k, n), or any shape that broadcasts with it.
        """
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        along = (z - alpha * self.mean[:, None]) @ self.eigenvectors
        along = along * (sigma / (alpha**2 * self.eigenvalues[:, None] + sigma**2))
        return along @ self.eigenvectors.mT

    def shaped(self, out: Tensor, logsnr: Tensor) -> Tensor:
        """`out` (k, n, d) times the square root of the error covariance of `eps_hat`.

        That root has the eigenvectors of Sigma and the eigenvalues sqrt(s(logsnr + log l_i)).
        """
        return ((out @ self.eigenvectors) * self._residual(logsnr)) @ self.eigenvectors.mT

    def divergence(self, jacobian: Tensor, logsnr: Tensor) -> Tensor:
        """Divergence in z (k, n) of eps_hat(z) + shaped(out(z)), from the Jacobian (k, n, d, d) of out."""
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        own = (sigma / (alpha**2 * self.eigenvalues[:, None] + sigma**2)).sum(-1)
        turned = torch.einsum("kie,knij,kje->kne", self.eigenvectors, jacobian, self.eigenvectors)
        return own + (turned * self._residual(logsnr)).sum(-1)

    def _residual(self, logsnr: Tensor) -> Tensor:
        return torch.exp(logsigmoid(logsnr[..., None] + self.eigenvalues[:, None].log()) / 2)


class ShapesModel(nn.Module):
    """k denoisers eps_hat(z, logsnr) trained and evaluated side by side.

    With `precondition` "none" eps_hat is the network's output. With "gaussian" it is the optimal denoiser of the
    Gaussian with the training set's moments, plus the network's output times the square root of that denoiser's error
    covariance: where the data looks Gaussian the network has nothing to do, and it sees a target of unit variance.

    Args:
        network: the k networks.
        gaussians: one Gaussian per member.
        precondition: "none" or "gaussian".
    """

    def __init__(self, network: FourierMLPs, gaussians: Gaussians, precondition: str):
        super().__init__()
        self.network, self.gaussians, self.precondition = network, gaussians, precondition

    def __len__(self) -> int:
        return len(self.network)

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat (k, n, d) at points z (k, n, d) and log-SNRs (k, n)."""
        return self._combine(self.network(z, logsnr), z, logsnr)

    def on_grid(self, axes: Sequence[Tensor], logsnr: Tensor) -> Tensor:
        """eps_hat (k, N, d) at the N points of the product of `axes` (n_i,), first axis slowest, at one logsnr ()."""
        out = self.network.on_grid(axes, logsnr).flatten(1, -2)
        return self._combine(out, torch.cartesian_prod(*axes), logsnr.expand(1, 1))

    def value_and_divergence(self, z: Tensor, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        """eps_hat (k, n, d) and its exact divergence in z (k, n)."""
        out, jacobian = self.network.value_and_jacobian(z, logsnr)
        if self.precondition == "none":
            return out, jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
        return self._combine(out, z, logsnr), self.gaussians.divergence(jacobian, logsnr)

    def denoiser(self, member: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Member `member` alone: (z (n, d), logsnr (n,)) -> eps_hat (n, d)."""
        alone = self.select([member])

        @torch.no_grad()
        def eps_hat(z: Tensor, logsnr: Tensor) -> Tensor:
            return alone(z[None], logsnr[None].to(z.dtype))[0]

        return eps_hat

    def select(self, members: Sequence[int]) -> "ShapesModel":
        """The named members as a batch of their own, with copies of their present weights."""
        chosen = copy.deepcopy(self)
        for item in chosen.state_dict(keep_vars=True).values():
            item.data = item.data[list(members)]
        return chosen

    def _combine(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        if self.precondition == "none":
            return out
        return self.gaussians.eps_hat(z, logsnr) + self.gaussians.shaped(out, logsnr)
