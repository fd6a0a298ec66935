"""One run on several GPUs: a process each over its share of every batch, gradients averaged, the first one writes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from infolab.signals import SIGNALS

# ----------
# Several GPUs by torchrun: a process each over its share of every batch, gradients averaged, the first one writes.

PATIENCE = timedelta(hours=12)
"""How long processes wait for the first one, which evaluates and writes alone."""


def join() -> None:
    """Join the processes that `torchrun` started (it sets WORLD_SIZE); does nothing in a process of its own.

    NCCL between GPUs, gloo between CPUs.
    """
    if processes_asked_for() > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def processes_asked_for() -> int:
    """How many processes `torchrun` has started for this run; 1 without it, and where WORLD_SIZE says nothing."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if size.isdigit() and "RANK" in os.environ else 1


def leave() -> None:
    """Leave them again."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes work on this run; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """The number of this process on its machine: the GPU that it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """True in the process that writes files and talks to the user."""
    return rank() == 0


def share(rows: Tensor) -> Tensor:
    """This process's rows of a batch: every world_size-th, from its rank on.

    Batches whose rows divide evenly give, averaged over processes, the mean over the whole batch.
    """
    return rows[rank() :: world_size()]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one message per dtype."""
    if world_size() == 1:
        return
    gradients = [item.grad for item in parameters if item.grad is not None]
    for dtype in {item.dtype for item in gradients}:
        of_dtype = [item for item in gradients if item.dtype == dtype]
        flat = average(torch.cat([item.flatten() for item in of_dtype]))
        parts = flat.split([item.numel() for item in of_dtype])
        torch._foreach_copy_(of_dtype, [part.view_as(item) for part, item in zip(parts, of_dtype, strict=True)])


def average(values: Tensor) -> Tensor:
    """The mean of `values` over the processes, the same in all of them."""
    if world_size() > 1:
        values = values.to(_device()) if dist.get_backend() == "nccl" else values
        dist.all_reduce(values)
        values /= world_size()
    return values


def gather(item: Any) -> list[Any]:
    """The items of all processes, in the order of their ranks."""
    if world_size() == 1:
        return [item]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, item)
    return found


def anyone(flag: bool) -> bool:
    """True in every process where `flag` is True in one of them, so that all stop after the same step."""
    if world_size() == 1:
        return flag
    return float(average(torch.tensor([float(flag)]))) > 0


def wait() -> None:
    """Wait until every process has come here."""
    if world_size() > 1:
        dist.barrier()


@contextlib.contextmanager
def first_goes_ahead() -> Iterator[None]:
    """The first process does the block, then all others."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def _device() -> torch.device:
    return torch.device("cuda", local_rank())


# ----------
# One run on several GPUs: `python -m infolab.distributed N MODULE [arguments]` starts N processes that share it.
#
# Each gets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as under torchrun; but signals reach every
# process, and the exit code is that of the first process that failed (75: try again), which torchrun turns into 1.

GRACE_SECONDS = 50.0
"""Time that processes have to end in after one of them has failed."""


def main(words: Sequence[str]) -> int:
    """Start the processes, pass signals on, and return the first exit code that is not 0."""
    count, module, *arguments = words
    shared = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    command = [sys.executable, "-m", module, *arguments]
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    for number in SIGNALS:
        signal.signal(number, pass_on)
    for rank in range(int(count)):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(subprocess.Popen(command, env={**os.environ, **shared, **own}))
    return _first_failure(processes)


def _first_failure(processes: list[subprocess.Popen[bytes]]) -> int:
    """Wait for all; once one fails the others are told to stop, and ended after `GRACE_SECONDS`."""
    code, deadline = 0, float("inf")
    while None in [process.poll() for process in processes]:  # asks each of them
        failed = [(rank, process) for rank, process in enumerate(processes) if process.returncode]
        if failed and not code:
            rank, process = failed[0]
            code, deadline = process.returncode, time.monotonic() + GRACE_SECONDS
            sys.stderr.write(f"process {rank} of {len(processes)} ended with code {code}: the others are stopped\n")
            for other in processes:
                other.terminate()
        if time.monotonic() > deadline:
            for other in processes:
                other.kill()
        time.sleep(0.1)
    return code or next((process.returncode for process in processes if process.returncode), 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
