"""Long evaluations in pieces: each result is on disk when the next begins, so that a stop loses one piece at most."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from common import distributed
from common.signals import stopped, stops_raise, time_is_up
from common.tensor_files import DamagedTensorsError, canonical, fingerprint, read_tensors, write_tensors

FOLDER = "pieces"

Compute = Callable[[], dict[str, Tensor]]
Keep = Callable[[str, Compute], dict[str, Tensor]]
"""(name, compute) -> the piece of that name: a `Pieces`, or `unkept` where there is no run's folder."""


def unkept(name: str, compute: Compute) -> dict[str, Tensor]:
    """The piece, computed and not kept, in the form in which `Pieces` returns it: the same numbers follow from it."""
    return {key: canonical(value) for key, value in compute().items()}


def under(keep: Keep, prefix: str) -> Keep:
    """`keep` whose names all begin with `prefix` and a hyphen, for a part of an evaluation that is done more than once.

    >>> under(lambda name, compute: {"name": name}, "seed3")("term1", dict)
    {'name': 'seed3-term1'}
    """
    return lambda name, compute: keep(f"{prefix}-{name}", compute)


class Pieces:
    """The pieces of one evaluation, kept in the run's folder until the run has written its results.

    >>> import tempfile, torch
    >>> folder = Path(tempfile.mkdtemp())
    >>> Pieces(folder, "weights of step 10")("sum", lambda: {"value": torch.tensor(3.0)})["value"]
    tensor(3.)

    The process that comes after a stop finds it, and does not compute it again:

    >>> Pieces(folder, "weights of step 10")("sum", lambda: 1 / 0)["value"]
    tensor(3.)

    Args:
        folder: the run's folder.
        of: what is evaluated: a network, or a text. Pieces of anything else (older weights) are dropped.
    """

    def __init__(self, folder: Path, of: nn.Module | str):
        self.folder = folder / FOLDER
        self.of = of if isinstance(of, str) else fingerprint(dict(of.state_dict()))
        self._computed = False

    def __call__(self, name: str, compute: Compute) -> dict[str, Tensor]:
        """The piece called `name`, on the CPU and contiguous: read from the folder, or computed and kept there.

        Under torchrun each process has pieces of its own. A stop signal ends the computation at once; the time limit
        is looked at after each piece, so that every start gets at least one done.

        Raises:
            InterruptedRunError: a signal or the time limit came; all earlier pieces are kept.
        """
        kept = self.read(name)
        if kept is not None:
            return kept
        if self._computed and time_is_up():
            raise stopped(None, f"before '{name}' of an evaluation")
        with stops_raise(f"in '{name}' of an evaluation"):
            found = unkept(name, compute)
            write_tensors(self._path(name), found, {}, of=self.of)
        self._computed = True
        return found

    def read(self, name: str) -> dict[str, Tensor] | None:
        """The piece called `name` where it is kept; None where it is not, or was damaged, or is of something else."""
        path = self._path(name)
        try:
            tensors, _, labels = read_tensors(path)
        except (FileNotFoundError, DamagedTensorsError):
            tensors, labels = {}, {}  # not there, or damaged and made again
        if labels.get("of") == self.of:
            return tensors
        path.unlink(missing_ok=True)
        return None

    def _path(self, name: str) -> Path:
        part = f"-{distributed.rank()}of{distributed.world_size()}" if distributed.world_size() > 1 else ""
        return self.folder / f"{name}{part}.safetensors"


def drop_pieces(folder: Path) -> None:
    """Remove what `Pieces` has kept in the run's folder."""
    for path in (folder / FOLDER).glob("*"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / FOLDER).rmdir()
