"""Evaluation of one image run: MSE curves of all members on shared data and noise, and every NLL from them."""

from typing import Any

from torch import Tensor, nn

from common import distributed
from common.data import ImageSet
from common.errors import UserError
from common.immse import (
    Bins,
    Curve,
    GaussianReference,
    LogsnrGrid,
    LogsnrRange,
    NllEstimate,
    continuous_nll,
    dequantized_nll,
    discrete_nll,
    ensemble_nll,
    make_grid,
    measure_curve_in_pieces,
    merge,
    widen_range_in_a_piece,
)
from common.pieces import Keep, under, unkept
from itdiffusion.images_config import ImagesConfig
from itdiffusion.images_data import to_unit
from itdiffusion.images_rows import curve_rows, nll_row
from itdiffusion.images_train import Members
from itdiffusion.images_variational import variational_rows

ROUNDINGS = ("best", "raw", "hard", "soft")


class ImagesEvaluation:
    """Measures the members of one image run on its test images, all on the same data, noise and log-SNR points.

    Started by torchrun, each process measures a part of the test images; all return the same rows.

    Args:
        config: the run's settings.
        test: the test images, on the device.
        reference: Gaussian of the training images, floored at D^2/12.
        law: range of log-SNR in training.

    Raises:
        UserError: the continuous NLL is asked for, of images that are constant in some direction.
    """

    def __init__(self, config: ImagesConfig, test: ImageSet, reference: GaussianReference, law: LogsnrRange):
        self.config, self.test, self.reference, self.law = config, test, reference, law
        self.bins = Bins.of_levels(test.levels)
        zeros = int((reference.eigenvalues <= 0).sum())
        if config.continuous and zeros:
            raise UserError(
                f"{zeros} of {reference.d} directions of {config.dataset} are constant, so it has no continuous NLL: "
                "give --no-continuous"
            )

    def rows(self, members: Members, epoch: int, points: int, last: bool, keep: Keep = unkept) -> list[dict[str, Any]]:
        """One record for each member and one for the ensemble: bits per dimension, and rows under `nll` and `curve`.

        The last evaluation adds the variational bound. `keep` keeps what is measured of these members piece by piece.
        """
        grid = self._grid(members, points, self.config.integrator if last else "deterministic", keep)
        masses = [self._curve(member, grid, self.bins, under(keep, key)) for key, member in members.items()]
        densities = [
            self._curve(member, grid, None, under(keep, key))
            for key, member in members.items()
            if self.config.continuous
        ]
        records = []
        for index, (name, mass) in enumerate(zip(members.names(), masses, strict=True)):
            found = [("discrete", discrete_nll(mass, how)) for how in ROUNDINGS]
            found.append(("dequantized", dequantized_nll(mass, gaussian_member=True)))
            if densities:
                found.append(("continuous", continuous_nll(densities[index])))
            records.append(self._record(name, epoch, found, [mass, *densities[index : index + 1]]))
        if len(members) > 1:
            found = [("ensemble", ensemble_nll(masses, kind)) for kind in ("discrete", "dequantized")]
            if densities:
                found.append(("ensemble", ensemble_nll(densities, "continuous")))
            records.append(self._record(f"ensemble[{' + '.join(members.names())}]", epoch, found, []))
        if last and self.config.variational_steps:
            for record, name, (key, member) in zip(records, members.names(), members.items(), strict=False):
                settings, below = self._settings(name, epoch), under(keep, f"{key}-variational")
                record["nll"] += variational_rows(self.config, member, self.test, settings, below)
        return records

    def _curve(self, member: nn.Module, grid: LogsnrGrid, bins: Bins | None, keep: Keep) -> Curve:
        """The member's curve over all test images, merged from the processes' parts; of a density without bins."""
        n, size, rank = len(self.test), distributed.world_size(), distributed.rank()
        first, stop = rank * n // size, (rank + 1) * n // size
        part = measure_curve_in_pieces(
            keep, "mass" if bins else "density", member, self.test.images[first:stop], grid, self.reference, bins=bins,
            dequantized=bins is not None, seed=self.config.seed, batch=self.config.eval_batch, transform=self._scaled,
            first=first,
        )  # fmt: skip
        return merge(distributed.gather(part)) if size > 1 else part

    def _grid(self, members: Members, points: int, integrator: str, keep: Keep) -> LogsnrGrid:
        """Log-SNR points for all members: the training range, each end moved out while a member has more to gain."""
        found = self.law
        for key, member in members.items() if self.config.widen else ():
            found = widen_range_in_a_piece(
                keep, f"{key}-range", member, self.test.images, self.reference, found, bins=self.bins,
                dequantized=True, seed=self.config.seed, batch=self.config.eval_batch, transform=self._scaled,
            )  # fmt: skip
        grid = make_grid(found, points, integrator, self.config.seed)
        return distributed.gather(grid)[0]  # roundings may differ between devices

    def _scaled(self, pixels: Tensor) -> Tensor:
        return to_unit(pixels, self.test.levels)

    def _record(
        self, name: str, epoch: int, found: list[tuple[str, NllEstimate]], curves: list[Curve]
    ) -> dict[str, Any]:
        settings = self._settings(name, epoch)
        by_kind = {
            "discrete_bpd": next(one for _, one in found if one.rounding == "best"),
            "dequantized_bpd": next(one for _, one in found if one.rounding == "none" and one.bin_width),
        }
        return {
            "epoch": epoch,
            **{kind: one.bpd for kind, one in by_kind.items()},
            "nll": [nll_row(kind, one, settings) for kind, one in found],
            "curve": [row for curve in curves for row in curve_rows(curve, settings)],
        }

    def _settings(self, name: str, epoch: int) -> dict[str, Any]:
        return {"dataset": self.config.dataset, "model": name, "seed": self.config.seed, "epoch": epoch}
