"""`make new-paper NAME=x`: the folder of another paper with a study that runs, is tested, and is drawn.

Makes `x/` (study, tables, launcher, pages), scripts/x.py (its figure) and its tests, and adds the folder to the lists
of `LISTS` and to results/README.md. No file is overwritten.
"""

import argparse
import keyword
import re
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from infolab.errors import UserError, run_main

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "__init__.py": "{name}/__init__.py",
    "study.py": "{name}/study.py",
    "tables.py": "{name}/tables.py",
    "run_study.sh": "{name}/run_study.sh",
    "README.md": "{name}/README.md",
    "RESULTS.md": "{name}/RESULTS.md",
    "figures.py": "scripts/{name}.py",
    "test_study.py": "tests/{name}/test_{name}_study.py",
    "synthetic.py": "tests/scripts/synthetic_{name}.py",
}
"""Templates and what becomes of them."""
PAGES = ("README.md", "RESULTS.md")
LISTS = {
    "pyproject.toml": [
        (r'(root_packages = \[.*?)"scripts"', r'\1"{name}", "scripts"'),
        (r'(name = "papers stand on infolab, never on each other".*?modules = \[.*?)\]', r'\1, "{name}"]'),
        (r'(forbidden_modules = \[[^\]]*?)"scripts"', r'\1"{name}", "scripts"'),
        (r'(source_modules = \["scripts"[^\]]*)\]', r'\1, "{name}.tables"]'),
    ],
    "scripts/figures.py": [(r'(MODULES = \(.*?)(    "calibration",\n)', r'\1    "{name}",\n\2')],
    "tests/scripts/synthetic_results.py": [
        (r"(from synthetic_vae import write_vae\n)", r"\1from synthetic_{name} import write_{name}\n"),
        (r"(    write_info\(results\)\n)", r"\1    write_{name}(results)\n"),
    ],
    "docs/README.md": [
        (r"\Z", "| {name} | " + " | ".join(f"[{{name}}/{page}](../{{name}}/{page})" for page in PAGES) + " |\n"),
    ],
}
"""Where folders are listed: patterns (the first match is taken) and their replacements."""


def scaffold(name: str, root: Path = ROOT) -> list[Path]:
    """Make the folder `name` below `root`, and add it to the lists.

    Returns:
        The new files, then those of `LISTS`.

    Raises:
        UserError: the name is not one for a package, or something of that name is there. Nothing is written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]{1,15}", name) or keyword.iskeyword(name):
        raise UserError(
            f"NAME={name}: expected 2 to 16 lower-case letters and digits, a letter first, no Python keyword"
        )
    targets = {template: root / path.format(name=name) for template, path in FILES.items()}
    for target in [root / name, *targets.values()]:
        if target.exists():
            raise UserError(f"'{target}' is there already: choose another NAME")
    if name in sys.stdlib_module_names or find_spec(name):
        raise UserError(f"NAME={name} would hide the Python package of that name: choose another NAME")
    changed = {path: _named((root / path).read_text(), path, name) for path in LISTS}
    for template, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (root / "scripts/templates" / f"{template}.in").read_text()
        target.write_text(text.replace("@PAPER@", name))
    launcher = targets["run_study.sh"]
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    (root / name / "quick.list").write_text("run_study.sh\n")
    for path, text in changed.items():
        (root / path).write_text(text)
    return [*targets.values(), root / name / "quick.list", *(root / path for path in changed)]


def _named(text: str, path: str, name: str) -> str:
    for pattern, replacement in LISTS[path]:
        text, count = re.subn(pattern, replacement.format(name=name), text, count=1, flags=re.DOTALL)
        if not count:
            raise UserError(f"'{path}' has no list of the form {pattern}: add '{name}' there by hand")
    return text


def main() -> None:
    """Make the files, sort their imports, and write the columns of the new table into results/README.md."""
    parser = argparse.ArgumentParser(prog="make new-paper", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="name of the folder, as in NAME=score")
    name = parser.parse_args().name
    modules = [str(path) for path in scaffold(name) if path.suffix == ".py"]
    for words in (["ruff", "check", "--fix", "--quiet"], ["ruff", "format", "--quiet"]):
        subprocess.run([sys.executable, "-m", *words, *modules], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "scripts.tables"], cwd=ROOT, check=True)
    print(
        f"made {name}/, scripts/{name}.py and tests/{name}/; now: sh {name}/run_study.sh && make analysis PAPER={name}"
    )


if __name__ == "__main__":
    run_main(main)
