"""`make new-paper NAME=x`: the folder of another paper with a study that runs, is tested, and is drawn.

Makes `x/` (study, tables, launcher, README), scripts/x.py (its figure) and `tests/x/`, and names the folder where
lists of folders are kept: pyproject.toml and scripts/figures.py. Nothing is overwritten.
"""

import argparse
import keyword
import re
import stat
import subprocess
import sys
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
}
"""Templates and what becomes of them."""
LISTS = {
    "pyproject.toml": [
        (r'(root_packages = \[.*?)"scripts"', r'\1"{name}", "scripts"'),
        (r'(name = "papers stand on infolab, never on each other".*?modules = \[.*?)\]', r'\1, "{name}"]'),
        (r'(forbidden_modules = \[[^\]]*?)"scripts"', r'\1"{name}", "scripts"'),
        (r'(source_modules = \["scripts"[^\]]*)\]', r'\1, "{name}.tables"]'),
    ],
    "scripts/figures.py": [(r'(MODULES = \(.*?)(    "calibration",\n)', r'\1    "{name}",\n\2')],
}
"""Where folders are listed: patterns (the first match is taken) and their replacements."""


def scaffold(name: str, root: Path = ROOT) -> list[Path]:
    """Make the folder `name` below `root`; the files that were written.

    Raises:
        UserError: no name for a package, or something of that name is there.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]+", name) or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise UserError(f"NAME={name}: expected lower-case letters and digits, and no module of Python's")
    targets = {template: root / path.format(name=name) for template, path in FILES.items()}
    for target in [root / name, *targets.values()]:
        if target.exists():
            raise UserError(f"'{target}' is there already: choose another NAME")
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
    return [*targets.values(), root / name / "quick.list"]


def _named(text: str, path: str, name: str) -> str:
    for pattern, replacement in LISTS[path]:
        text, count = re.subn(pattern, replacement.format(name=name), text, count=1, flags=re.DOTALL)
        if not count:
            raise UserError(f"'{path}' has no list of the form {pattern}: add '{name}' there by hand")
    return text


def main() -> None:
    """Make the files, sort their imports, and write the columns of the new table into results/README.md."""
    parser = argparse.ArgumentParser(prog="make new-paper", description=__doc__)
    parser.add_argument("name", help="name of the folder, as in NAME=score")
    name = parser.parse_args().name
    written = scaffold(name)
    for words in (["ruff", "check", "--fix", "--quiet"], ["ruff", "format", "--quiet"]):
        subprocess.run([sys.executable, "-m", *words, *map(str, written[:8])], cwd=ROOT, check=False)
    subprocess.run([sys.executable, "-m", "scripts.tables"], cwd=ROOT, check=True)
    print(
        f"made {name}/, scripts/{name}.py and tests/{name}/; now: sh {name}/run_study.sh && make analysis PAPER={name}"
    )


if __name__ == "__main__":
    run_main(main)
