"""`python -m benchmarks.size`: how much there is to read: lines, modules, and the files that one run passes through."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.commands import Parser
from infolab.errors import run_main
from scripts.tables import papers

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("infolab", *papers(), "scripts")
LONG = 450
RUNS = {
    "diffusion/run_toy.sh": ("diffusion.toy",),
    "infodiffusion/run_train.sh": ("infodiffusion.run", "--mode", "train"),
}
FOLLOW = """
import atexit, json, os, runpy, sys
seen, root, out = set(), sys.argv[1] + "/", sys.argv[2]

def importing(frame):
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False

def note(frame, event, _):
    name = frame.f_code.co_filename
    if event == "call" and name.startswith(root) and "/.venv/" not in name and name[len(root):] not in seen:
        if not importing(frame):
            seen.add(name[len(root):])

sys.argv = sys.argv[3:]
sys.path.insert(0, root)
atexit.register(lambda: open(out, "w").write(json.dumps(sorted(seen))))
sys.setprofile(note)
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""A run that notes the files of the lab in which a function was called; definitions alone do not count."""


def sources() -> dict[str, int]:
    """Lines of each Python file of the product, by name: the library, the papers and scripts."""
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    chosen = [name for name in names.stdout.split() if name.split("/")[0] in PRODUCT]
    return {name: len((ROOT / name).read_text().splitlines()) for name in chosen}


def followed(run: tuple[str, ...]) -> list[str]:
    """Files of the lab whose functions are called by one smoke run, (module, flags...), sorted."""
    module, *flags = run
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seen.json"
        words = [
            module,
            "smoke",
            *flags,
            "--runs-dir",
            f"{folder}/runs",
            "--results-dir",
            f"{folder}/results",
            "--threads",
            "1",
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-c", FOLLOW, str(ROOT), str(out), *words],
            env=environment,
            check=True,
            capture_output=True,
        )
        return json.loads(out.read_text())


def main() -> None:
    """Print the counts; with --json as one object."""
    parser = Parser(prog="python -m benchmarks.size", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    lines = sources()
    record: dict[str, Any] = {
        "lines": sum(lines.values()),
        "modules": len(lines),
        "by_folder": {
            folder: sum(n for name, n in lines.items() if name.startswith(f"{folder}/")) for folder in PRODUCT
        },
        "long_files": {name: n for name, n in lines.items() if n > LONG},
        "followed": {name: followed(run) for name, run in RUNS.items()},
    }
    if options.json:
        print(json.dumps(record))
        return
    print(f"{record['lines']:,} lines in {record['modules']} modules")
    print(f"longer than {LONG} lines: {record['long_files'] or 'none'}")
    print("lines by folder:", ", ".join(f"{name} {n:,}" for name, n in record["by_folder"].items()))
    for name, files in record["followed"].items():
        print(f"{name} calls functions of {len(files)} files: {', '.join(files)}")


if __name__ == "__main__":
    run_main(main)
