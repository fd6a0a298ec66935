"""`python -m benchmarks.same_results OLD [NEW]`: what two commits make of the same commands, byte by byte.

Each commit is checked out beside the repository. Every launcher runs in its smoke preset, every instrument on the same
arrays, with one thread and one process; tables and arrays (without wall times), run ids, what instruments print, and
the sentence of every refusal are compared. For a change of structure: OLD is where it began, and nothing may differ but
what the change says. On one machine only: another processor rounds differently.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.commands import Parser
from benchmarks.stops import results_in
from infolab.errors import LabError, run_main

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = """
import torch


def denoise(z, logsnr):
    return torch.sigmoid(-logsnr).sqrt()[:, None] * z


def score(x, t):
    return -x
"""
INSTRUMENTS = (
    "itdiffusion.nll --denoiser my_model:denoise --data x.npy --points 20",
    "itdiffusion.nll --denoiser my_model:denoise --data levels.npy --discrete-step 1 --points 20 --dequantized",
    "itdiffusion.mi --x x.npy --y y.npy --steps 20",
    "diffusion.terms --data x.npy --T 1.0",
    "diffusion.terms --data swiss_roll --T 0.4",
    "scoregen.kl --score my_model:score --modes modes.npy",
    "vae.memorization scores --logpx long.csv --out scores.csv",
    *(f"infodiffusion.metrics {name} --codes x.npy --factors labels.npy" for name in ("dci", "mig", "tad", "auroc")),
    *(f"infodiffusion.metrics {name} --real x.npy --generated y.npy --features none" for name in ("fid", "kid", "mmd")),
    "itdiffusion.nll --denoiser my_model:denoise --data nowhere.npy",
    "itdiffusion.mi --x x.npy",
    "diffusion.toy unknown",
    "diffusion.toy --lerning-rate 1",
    "infodiffusion.metrics nothing",
)
"""Instruments and refusals; in the folder that `make_arrays` fills."""
TIMES = re.compile(r'("seconds": )[0-9.e+-]+|(after )[0-9]+( s\b)')


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        where: launcher or command, and file.
        what: how it differs.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def main() -> None:
    """Run everything at both commits and print what differs."""
    parser = Parser(prog="python -m benchmarks.same_results", description=__doc__)
    parser.add_argument("old", help="commit, branch or tag")
    parser.add_argument("new", nargs="?", default="HEAD", help="the other one (default: HEAD)")
    parser.add_argument("--only", default="", help="launchers and commands whose text has this in it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_arrays(folder / "arrays")
        found = [everything(commit, folder / side, folder / "arrays", options.only)
                 for side, commit in (("old", options.old), ("new", options.new))]  # fmt: skip
    differences = list(compare(*found))
    for difference in differences:
        print(difference)
    print(f"{len(found[0])} launchers and commands: {len(differences)} differences")
    if differences:
        raise LabError(f"{options.old} and {options.new} do not have the same results")


def make_arrays(folder: Path) -> None:
    """The arrays, the table and the functions that instruments read."""
    folder.mkdir()
    source = np.random.default_rng(0)
    x = source.normal(size=(300, 2))
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", x + source.normal(size=(300, 2)))
    np.save(folder / "levels.npy", source.integers(0, 5, (200, 2)))
    np.save(folder / "labels.npy", (x > 0).astype(np.int64))
    np.save(folder / "modes.npy", np.array([-2.0, 1.0]))
    rows = "".join(f"{run},{i},{int((i + run) % 3 > 0)},{source.normal():.6f}\n" for run in range(6) for i in range(40))
    (folder / "long.csv").write_text("run,index,inside,logpx\n" + rows)
    (folder / "my_model.py").write_text(MODULE)


def everything(commit: str, folder: Path, arrays: Path, only: str) -> dict[str, dict[str, bytes]]:
    """What each launcher and command leaves and says at `commit`, by its text and then by name.

    Raises:
        LabError: there is no such commit.
    """
    subprocess.run(["git", "-C", str(REPOSITORY), "worktree", "prune"], check=True)
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "worktree", "add", "--detach", str(folder), commit],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LabError(f"'{commit}' cannot be checked out: {done.stderr.strip().splitlines()[-1]}")
    try:
        launchers = sorted(str(path.relative_to(folder)) for path in folder.glob("*/run_*.sh"))
        wanted = [words for words in (*launchers, *INSTRUMENTS) if only in words]
        return dict(_told(words, run_one(words, folder, arrays)) for words in wanted)
    finally:
        subprocess.run(["git", "-C", str(REPOSITORY), "worktree", "remove", "--force", str(folder)], check=True)


def run_one(words: str, commit: Path, arrays: Path) -> dict[str, bytes]:
    """What one launcher (its path) or command (module and flags) leaves and says."""
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "JOBS": "1", "PY": sys.executable, "DEVICE": "cpu",
        "PYTHONPATH": str(commit),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if words.endswith(".sh"):
            places = ["--runs-dir", str(place / "runs"), "--results-dir", str(place / "results")]
            command, here = ["sh", words, "smoke", *places], commit
        else:
            for path in arrays.iterdir():
                (place / path.name).write_bytes(path.read_bytes())
            flags = [] if words.split()[0] == "diffusion.toy" else ["--json"]
            command, here = [sys.executable, "-m", *words.split(), *flags], place
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
        left = results_in(place) | {path.name: path.read_bytes() for path in place.glob("scores.csv")}
        refusal = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        said = {"code": done.returncode, "refusal": _neutral("".join(refusal), place, commit)}
        if not words.endswith(".sh"):
            said["printed"] = _neutral(done.stdout, place, commit)
        return left | {name: str(item).encode() for name, item in said.items()}


def compare(old: dict[str, dict[str, bytes]], new: dict[str, dict[str, bytes]]) -> Iterator[Difference]:
    """What the second side has otherwise than the first."""
    for words in sorted({*old, *new}):
        if words not in new or words not in old:
            yield Difference(words, "only in the " + ("new" if words in new else "old") + " commit")
            continue
        for name in sorted({*old[words], *new[words]}):
            ours, theirs = old[words].get(name), new[words].get(name)
            if ours != theirs:
                yield Difference(f"{words}: {name}", _how(ours, theirs))


def _how(old: bytes | None, new: bytes | None) -> str:
    if old is None or new is None:
        return "only in the " + ("new" if old is None else "old") + " commit"
    if len(old) + len(new) < 2_000:
        return f"{old.decode(errors='replace').strip()} -> {new.decode(errors='replace').strip()}"
    lines = [(a, b) for a, b in zip(old.split(b"\n"), new.split(b"\n"), strict=False) if a != b]
    first = f"; first: {lines[0][0][:120].decode(errors='replace')} -> {lines[0][1][:120].decode(errors='replace')}"
    return f"{len(lines)} lines differ{first if lines else ''}"


def _told(words: str, found: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    sys.stderr.write(f"{words}: {json.dumps(sorted(found))[:100]}\n")
    return words, found


def _neutral(text: str, place: Path, commit: Path) -> str:
    """Without the folders and the seconds, which differ from run to run."""
    return TIMES.sub(r"\1\2*\3", text.replace(str(place), "PLACE").replace(str(commit), "COMMIT"))


if __name__ == "__main__":
    run_main(main)
