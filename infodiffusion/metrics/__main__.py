"""`python -m infodiffusion.metrics COMMAND`: metrics of samples and codes on plain files; `USAGE` says which."""

import json
import sys
from typing import Any

from common.config import parse_options
from common.errors import choose, run_main
from infodiffusion.metrics.commands import COMMANDS

USAGE = """\
`python -m infodiffusion.metrics COMMAND`: metrics of samples and codes on plain files.

dci, mig, tad, auroc    --codes A.npy --factors Y.npy
fid, kid, mmd           --real X.npy --generated Y.npy --features none|pixels|PATH
stats                   --images DIR --out STATS.npz --features none|pixels|PATH
features                --data sprites --out NET.safetensors
information             --codes A.npy --inputs X.npy
Each with --json for one JSON object, --help for every option.
"""
# Not the docstring, which python -OO leaves out.


def main() -> None:
    """Run the command named first."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    command = choose("command", words[0], list(COMMANDS))
    options_type, run = COMMANDS[command]
    options: Any = parse_options(options_type, f"python -m infodiffusion.metrics {command}", words[1:])
    record = run(options)
    if options.json:
        print(json.dumps(record))
        return
    for name, item in record.items():
        print(f"{name:22} {_line(item)}")


def _line(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    error = "" if item["se"] is None else f" +- {item['se']:.4g}"
    rest = ", ".join(f"{key} {number:.6g}" for key, number in item.items() if key not in ("value", "se", "name"))
    return f"{item['value']:.6g}{error}  ({item['name']}; {rest})"


if __name__ == "__main__":
    run_main(main)
