"""Tensors on disk: safetensors files with a digest, checkpoints of a training, pieces of a long evaluation."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from infolab import atomic, distributed
from infolab.errors import LabError, in_a_line
from infolab.signals import stopped, stops_raise, time_is_up

# ----------
# Tensors and a JSON header in one safetensors file: whole or not at all, and checked by digest when read.


class DamagedTensorsError(Exception):
    """A file is not whole, or not what `write_tensors` wrote."""


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any], **labels: str) -> None:
    """Write `tensors`, the JSON-able `state` and `labels` (short texts beside it) to `path` in one step.

    Raises:
        OSError: the folder cannot be written or the disk is full; an older file is untouched.
    """
    plain = {name: canonical(tensor) for name, tensor in tensors.items()}
    text = json.dumps(state)
    header = {**labels, "state": text, "digest": _digest(plain, labels, text)}
    atomic.write_bytes(path, save(plain, metadata=header))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, str]]:
    """Tensors, state and labels that `write_tensors` wrote; the tensors contiguous and on the CPU.

    Raises:
        DamagedTensorsError: it is not a file of this kind, or not whole, or a bit of it has changed.
        OSError: it cannot be read.
    """
    with _parsing(path), safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
        # Copied to where torch puts its own: some products round differently by the alignment in memory.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        text, digest = header.pop("state"), header.pop("digest")
        if digest != _digest(tensors, header, text):
            raise ValueError("digest does not match")
        return tensors, json.loads(text), header


def read_state(path: Path) -> dict[str, Any]:
    """The `state` alone, without the tensors and unchecked.

    Raises:
        DamagedTensorsError, OSError: see `read_tensors`.
    """
    with _parsing(path), safe_open(path, framework="pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()["state"])
        return state


@contextlib.contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Around the reading of `path`: what is no failure of the disk, of the memory or a stop is damage."""
    try:
        yield
    except (OSError, MemoryError, LabError):
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise DamagedTensorsError(f"'{path}': {in_a_line(error)}") from error


def canonical(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as files hold it: without a graph, on the CPU, contiguous.

    What may come from a file is brought to this form when it is computed too, since products of two memory layouts
    round differently on some processors.
    """
    return tensor.detach().cpu().contiguous()


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """32 hex digits of BLAKE2b over names, types, shapes and values."""
    return _digest({name: canonical(tensor) for name, tensor in tensors.items()}, {}, "")


def _digest(tensors: dict[str, torch.Tensor], labels: dict[str, str], text: str) -> str:
    # safetensors notices a truncated file but not a flipped bit.
    digest = hashlib.blake2b("/".join([*(labels[name] for name in sorted(labels)), text]).encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name}/{tensors[name].dtype}/{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# ----------
# Checkpoints of a training: plain tensors and a JSON state in one file, whole or not at all, checked when read.

KEEP = 2
"""Checkpoints kept of a run that goes on: the last, and the one before it should the last be damaged."""


def save_checkpoint(folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> Path:
    """Write `tensors` and the JSON-able `state` as the checkpoint of `step`, then drop the older ones.

    Two are kept while the run goes on; of a run whose state says `complete` the last alone. Everything is on disk under
    a temporary name before the rename, so a kill or a full disk leaves the older ones whole.
    """
    path = folder / f"checkpoint-{step:09d}.safetensors"
    write_tensors(path, tensors, state, step=str(step))
    for old in _paths(folder)[1 if state.get("complete") else KEEP :]:
        old.unlink()
    return path


def load_latest(folder: Path) -> tuple[int, dict[str, torch.Tensor], dict[str, Any], list[str]] | None:
    """Read the newest whole checkpoint in `folder`: (step, tensors, state, names of damaged files set aside).

    A damaged file is renamed to `<name>.corrupt` and the one before it is used. None where there is none.

    Raises:
        OSError: a file is there and cannot be read.
    """
    damaged: list[str] = []
    for path in _paths(folder):
        try:
            tensors, state, labels = read_tensors(path)
            step = int(labels["step"])
        except (DamagedTensorsError, KeyError, ValueError):
            path.rename(path.with_suffix(".safetensors.corrupt"))
            damaged.append(path.name)
            continue
        return step, tensors, state, damaged
    return (0, {}, {}, damaged) if damaged else None


def is_complete(folder: Path) -> bool:
    """True when the newest checkpoint in `folder` says so in its state (`complete`); reads headers only."""
    try:
        return bool(read_state(_paths(folder)[0])["complete"])
    except (IndexError, KeyError, TypeError, OSError, DamagedTensorsError):
        return False


def _paths(folder: Path) -> list[Path]:
    """All checkpoints, the newest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)


# ----------
# Long evaluations in pieces: each result is on disk when the next begins, so that a stop loses one piece at most.

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
