"""`python -m benchmarks.stops`: runs stopped at random moments end with the bytes of unstopped runs.

Each trial begins a run of one thread in a folder of its own, sends a signal at a moment drawn from the duration of an
undisturbed run, takes the time until the process has ended, starts the same command again until it is finished, and
compares every table and array, byte by byte (without the columns of wall time), with those of the undisturbed run.
"""

import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.commands import Parser
from infolab.errors import InterruptedRunError, LabError, check_choice, run_main
from infolab.noise import generator

REPOSITORY = Path(__file__).resolve().parents[1]
COMMANDS = {
    "diffusion": "diffusion.digits {preset} --m 16 --T 0.5 --seed 0",
    "itdiffusion": "itdiffusion.digits {preset} --seed 0",
    "vae": "vae.full {preset} --lr 1e-3",
    "infodiffusion": "infodiffusion.run {preset} --dataset digits --model diff --epochs 2 --mode "
    "train,save_latent,train_classifier,eval_fid,interpolate",
}
"""One module of each paper that trains on images, with its flags."""
SIGNALS = ("SIGUSR1", "SIGTERM", "SIGINT")
MOST_SECONDS = 20.0
"""From the signal to the end of the process."""
EARLIEST = 0.2
"""Seconds after which the first signal may come: Python itself takes some hundredths to begin, and dies of it there."""
STARTS = 5
"""Starts after the stop, at most; one is enough where nothing else stops them."""
HEAD = f"{'command':14} {'moment':>8} {'to exit':>8} {'code':>5} {'starts':>6}  same bytes"


@dataclass(frozen=True)
class Trial:
    """One run that was stopped.

    Attributes:
        name: key of `COMMANDS`.
        moment: when the signal came, seconds after the start.
        seconds: from the signal to the exit.
        code: exit code; 0 where the run had ended before the signal.
        starts: later starts that it took to finish.
        same: whether they left the bytes of the undisturbed run.
    """

    name: str
    moment: float
    seconds: float
    code: int
    starts: int
    same: bool

    @property
    def passes(self) -> bool:
        """It ended in time, with the code to try again (or had ended), and left the same bytes."""
        return self.same and self.seconds <= MOST_SECONDS and self.code in (0, InterruptedRunError.exit_code)

    def __str__(self) -> str:
        verdict = ("yes" if self.same else "NO") + ("" if self.passes else "  FAIL")
        return f"{self.name:14} {self.moment:6.1f} s {self.seconds:6.2f} s {self.code:5} {self.starts:6}  {verdict}"


def main() -> None:
    """Stop runs, print each trial, and fail when one does not end in time or not with the same results."""
    parser = Parser(prog="python -m benchmarks.stops", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="signals to each command (default: 20)")
    parser.add_argument("--preset", default="quick", help="preset of the runs (default: quick)")
    parser.add_argument("--only", default="", help=f"one of {', '.join(COMMANDS)} (default: all)")
    parser.add_argument("--signal", default=SIGNALS[0], help=f"one of {', '.join(SIGNALS)} (default: {SIGNALS[0]})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    check_choice("preset", options.preset, ("smoke", "quick", "paper"))
    number = signal.Signals[check_choice("signal", options.signal, SIGNALS)]
    names = [check_choice("command", options.only, list(COMMANDS))] if options.only else list(COMMANDS)
    print(HEAD, flush=True)
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            seconds, whole = undisturbed(name, options.preset, Path(folder) / name)
            u = torch.rand(options.times, generator=generator(options.seed, "stops", name)).tolist()
            for index, share in enumerate(u):
                place, moment = Path(folder) / f"{name}-{index}", EARLIEST + share * max(0.0, seconds - EARLIEST)
                trials.append(trial(name, options.preset, place, moment, number, whole))
                print(trials[-1], flush=True)
    failed = [one for one in trials if not one.passes]
    if failed:
        raise LabError(f"{len(failed)} of {len(trials)} stops went wrong: {'; '.join(map(str, failed))}")


def undisturbed(name: str, preset: str, folder: Path) -> tuple[float, dict[str, bytes]]:
    """Seconds that the run takes, and what it leaves.

    Raises:
        LabError: it fails.
    """
    began = time.monotonic()
    code = start(name, preset, folder).wait()
    if code:
        raise LabError(f"the undisturbed run of {name} ended with code {code}: {_last_line(folder)}")
    return time.monotonic() - began, results_in(folder)


def trial(
    name: str, preset: str, folder: Path, moment: float, number: signal.Signals, whole: dict[str, bytes]
) -> Trial:
    """Stop a run `moment` seconds after its start by signal `number`, finish it, and compare it with `whole`."""
    process = start(name, preset, folder)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    sent = time.monotonic()
    code = process.wait()
    seconds, last, starts = time.monotonic() - sent, code, 0
    while last and starts < STARTS:
        last = start(name, preset, folder).wait()
        starts += 1
    return Trial(name, moment, seconds, code, starts, results_in(folder) == whole)


def start(name: str, preset: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Begin the command in `folder`, with one thread."""
    folder.mkdir(exist_ok=True)
    words = COMMANDS[name].format(preset=preset).split()
    places = ["--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *words, *places, "--threads", "1", "--device", "cpu"],
            cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
        )  # fmt: skip


def results_in(folder: Path) -> dict[str, bytes]:
    """Tables and arrays by their paths; tables without their columns of wall time."""
    results = folder / "results"
    paths = [path for kind in ("*.csv", "*.npz", "*.csv.gz") for path in results.rglob(kind)]
    return {str(path.relative_to(results)): _without_time(path) for path in paths}


def _without_time(path: Path) -> bytes:
    content = path.read_bytes()
    rows = list(csv.reader(io.StringIO(content.decode()))) if path.suffix == ".csv" else []
    if not rows or "seconds" not in rows[0]:
        return content
    at = rows[0].index("seconds")
    return "\n".join(",".join(row[:at] + row[at + 1 :]) for row in rows).encode()


def _last_line(folder: Path) -> str:
    lines = (folder / "log.txt").read_text().splitlines()
    return lines[-1] if lines else "it said nothing"


if __name__ == "__main__":
    run_main(main)
