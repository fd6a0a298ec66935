"""What the CPU has drawn goes to the device in few copies: each copy costs more than the numbers in it."""

import torch
from torch import Tensor


def staged(device: torch.device | str, *parts: Tensor) -> tuple[Tensor, ...]:
    """The CPU tensors `parts` on `device`, packed into one copy for each type; on the CPU they are the same tensors.

    To a CUDA device the copies are from pinned memory and nobody waits for them.

    >>> [part.tolist() for part in staged("cpu", torch.arange(2), torch.ones(1, 2))]
    [[0, 1], [[1.0, 1.0]]]
    """
    device = torch.device(device)
    if device.type == "cpu":
        return parts
    moved: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(part.dtype for part in parts):
        places = [place for place, part in enumerate(parts) if part.dtype == dtype]
        flat = torch.cat([parts[place].reshape(-1) for place in places])
        if device.type == "cuda":
            flat = flat.pin_memory()
        pieces = flat.to(device, non_blocking=True).split([parts[place].numel() for place in places])
        moved |= {place: piece.view(parts[place].shape) for place, piece in zip(places, pieces, strict=True)}
    return tuple(moved[place] for place in range(len(parts)))
