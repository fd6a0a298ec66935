"""One run on several GPUs: `python -m common.ranks N MODULE [arguments]` starts N processes that share it.

Each gets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as under torchrun; but signals reach every process,
and the exit code is that of the first process that failed (75: try again), which torchrun turns into 1.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from common.signals import SIGNALS

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
