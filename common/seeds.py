"""All randomness of a run flows from one recorded seed through named streams."""

import hashlib

import torch


def derive(seed: int, *stream: str | int) -> int:
    """Return a 63-bit seed for the stream named by `stream`, a function of its arguments only.

    Streams with different names are independent for all practical purposes (BLAKE2b of the name), so noise can be a
    function of (seed, step, sample index) and never of the batch size, the resume point or who drew before.

    >>> derive(0, "noise", 3) == derive(0, "noise", 3), derive(0, "noise", 3) == derive(0, "noise", 4)
    (True, False)
    """
    text = "/".join(str(part) for part in (int(seed), *stream))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *stream: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh `torch.Generator` at the start of the stream named by `stream` (see `derive`)."""
    return torch.Generator(device=device).manual_seed(derive(seed, *stream))
