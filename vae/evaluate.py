"""What is measured of the VAEs after some epochs: loss, KL, reconstruction, the mutual-information terms, log p(x)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from common.estimate import mean_and_se
from common.networks.arithmetic import set_arithmetic
from common.results.tables.vae import Curves
from common.runs import Run
from common.seeds import derive
from vae.config import VAEConfig
from vae.images import Inputs
from vae.logpx import NOISE_BLOCK, LogPx, Points
from vae.measure import LogPxMeasurement
from vae.members import Member
from vae.models import build_decoder
from vae.objective import Trained

BLOCK = 512
"""Images that go through the networks at a time, a multiple of the block in which noise is drawn."""
assert BLOCK % NOISE_BLOCK == 0


class Evaluation:
    """Rows of vae/curves of the networks of one run.

    Args:
        run: the run; log p(x) of single images is kept in its folder.
        train: the training images.
        test: the test images.
        members: the networks, in the order of the batch.
    """

    def __init__(self, run: Run, config: VAEConfig, train: Inputs, test: Inputs, members: Sequence[Member]):
        self.config, self.train, self.test, self.members = config, train, test, list(members)
        self.log_px = LogPxMeasurement(run, config, train, test, self.members)
        self.untrained = None
        if config.mode == "full":
            seeds = [derive(member.seed, "untrained") for member in self.members]
            self.untrained = build_decoder(config, seeds, train.shape).to(train.pixels.device)
            set_arithmetic(self.untrained, config)

    @torch.no_grad()
    def rows(self, trained: Trained, epoch: int) -> list[Curves]:
        """The rows after `epoch` epochs: one for each network and split."""
        trained.eval()
        second = trained.ghost if self.config.mode == "ghost" else self.untrained
        terms = {"train": self._terms(trained, self.train, second)}
        if self.config.mode != "cv":
            terms["test"] = self._terms(trained, self.test, None)
        due = self.config.logpx_every and epoch % self.config.logpx_every == 0
        found = self.log_px.measure(trained.vae, epoch) if due else []
        rows = []
        for place, member in enumerate(self.members):
            for split in ("train", "test"):
                chosen, source = self._rows_of(member, split)
                part = {name: values[place][chosen] for name, values in terms[source].items()}
                row = {**self._settings(member, epoch, split), **self._elbo_columns(part)}
                if due:
                    row |= self._log_px_columns(found[place][source], member, split)
                rows.append(Curves(**row))
        trained.train()
        return rows

    def _rows_of(self, member: Member, split: str) -> tuple[Tensor, str]:
        """Rows of the images of `split`, and of which set they are."""
        if split == "train":
            return member.rows, "train"
        if member.held_out is not None:
            return member.held_out, "train"
        return torch.arange(len(self.test)), "test"

    def _terms(self, trained: Trained, inputs: Inputs, second: nn.Module | None) -> dict[str, Tensor]:
        """KL, reconstruction and (with a second decoder) its difference to the first one's, of each image, (k, n)."""
        points = Points("random", 1, self.config.latent, self.config.seed, ("elbo", inputs.split))
        vae, k = trained.vae, len(self.members)
        parts: dict[str, list[Tensor]] = {}
        for first in range(0, len(inputs), BLOCK):
            x = inputs.evaluation(first, min(first + BLOCK, len(inputs)))
            x = x[None].expand(k, *x.shape)
            code = vae.encode(x)
            z = code.sample(points(first, x.shape[1])[:, 0].to(x))
            log_p = vae.log_p_x_given_z(x, z)
            found = {"kl": code.kl(), "rec": -(log_p + vae.likelihood.to_mass(x))}
            if second is not None:
                found["mi"] = log_p - vae.likelihood.log_prob(second(z), x)
            for name, values in found.items():
                parts.setdefault(name, []).append(values.double().cpu())
        return {name: torch.cat(values, dim=1) for name, values in parts.items()}

    def _settings(self, member: Member, epoch: int, split: str) -> dict[str, Any]:
        config, grid = self.config, self.config.mode == "cv"
        mi = {"full": "untrained-decoder", "ghost": "ghost"}.get(config.mode) if split == "train" else None
        return {
            "dataset": config.dataset, "model": config.model_name, "seed": config.seed, "mode": config.mode,
            "m": len(member.rows), "d": math.prod(self.train.shape), "lr": config.lr, "K": config.K if grid else 0,
            "repeat": config.repeat, "fold": member.fold, "epoch": epoch, "split": split, "mi_estimator": mi or "none",
            "n_z": config.n_z, "proposal": f"{config.proposal}/{config.points}", "logpx_images": 0,
        }  # fmt: skip

    @staticmethod
    def _elbo_columns(part: dict[str, Tensor]) -> dict[str, float]:
        columns = {}
        for name, values in {"loss": part["rec"] + part["kl"], **part}.items():
            columns[f"{name}_nats"], columns[f"{name}_se"] = mean_and_se(values)
        return columns

    def _log_px_columns(self, found: LogPx, member: Member, split: str) -> dict[str, float | int]:
        """Means over the images of `split` among those whose log p(x) was measured."""
        if member.held_out is not None or split == "train":
            wanted = member.rows if split == "train" else member.held_out
            assert wanted is not None
            chosen = torch.isin(self.log_px.rows, wanted)
        else:
            chosen = torch.ones(len(found.value), dtype=torch.bool)
        if int(chosen.sum()) < 2:
            return {}
        value, se = mean_and_se(found.value[chosen])
        return {
            "logpx_nats": value, "logpx_se": se, "logpx_images": int(chosen.sum()),
            "logpx_mc_se": float(found.se[chosen].square().mean().sqrt()), "ess": float(found.ess[chosen].mean()),
        }  # fmt: skip
