"""Tensors and a JSON header in one safetensors file: whole or not at all, and checked by digest when read."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from common import atomic
from common.errors import LabError, in_a_line


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
