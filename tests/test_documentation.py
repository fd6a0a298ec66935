"""The documentation: links and anchors exist, and so does what it names; pages are short; words have one meaning."""

import ast
import functools
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.tables import papers

ROOT = Path(__file__).resolve().parents[1]
PAPERS = tuple(papers())
GENERATED = "results/README.md"
MOST_WORDS = {"README.md": 1300, **{f"{paper}/README.md": 900 for paper in PAPERS}}
FENCE = re.compile(r"^```.*?^```", re.S | re.M)
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@functools.cache
def files():
    """Files of the repository: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


PAGES = tuple(name for name in files() if name.endswith(".md"))


def text_of(page):
    return (ROOT / page).read_text()


def slug(heading):
    """GitHub's anchor of a heading: lower case, punctuation dropped, blanks as hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text):
    found = []
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M):
        name = slug(heading)
        found.append(name + (f"-{found.count(name)}" if name in found else ""))
    return set(found)


def dead_links(page, text):
    """Relative links of a page whose file, or whose heading in it, does not exist."""
    dead = []
    for target in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (ROOT / page).parent / name if name else ROOT / page
        inside = place.exists() and place.resolve().is_relative_to(ROOT)
        if not inside or (anchor and anchor not in anchors(place.read_text() if name else text)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    assert dead_links(page, text_of(page)) == []


def test_a_dead_link_is_found():
    text = "# One page\n[a](README.md) [b](#one-page) [`c`](no.md) [d](README.md#no) [e](#no) [f](https://x.org/no)"
    assert dead_links("vae/README.md", text) == ["no.md", "README.md#no", "#no"]
    assert anchors("## What is `this`: a/b?\n## Same\n## Same\n```\n# no heading\n```") == {
        "what-is-this-ab", "same", "same-1",
    }  # fmt: skip


def missing(text):
    """Launchers, modules, make targets and source files that a page names and that do not exist."""
    makefiles = "\n".join(path.read_text() for path in [ROOT / "Makefile", *(ROOT / "scripts").glob("*.mk")])
    targets = set(re.findall(r"^([a-z][\w-]*):", makefiles, re.M))
    absent = [name for name in re.findall(r"\bsh ((?:\w+/)+\w+\.sh)", text) if not (ROOT / name).is_file()]
    absent += [name for name in re.findall(r"python -m ([a-z]\w*(?:\.\w+)*)", text) if not find_spec(name)]
    code = "\n".join(FENCE.findall(text) + [span.strip("`") for span in CODE.findall(FENCE.sub("", text))])
    commands = re.findall(r"^make\s+(?:[A-Z]+=\S*\s+)*([a-z][\w-]*)", code, re.M)
    absent += [f"make {name}" for name in commands if name not in targets]
    for name in re.findall(r"`([\w/]+\.(?:py|sh|mk|list))`", text):
        if not any(known == name or known.endswith("/" + name) for known in files()):
            absent.append(name)
    return absent


@pytest.mark.parametrize("page", [page for page in PAGES if page != GENERATED])
def test_every_command_and_file_that_a_page_names_exists(page):
    assert missing(text_of(page)) == []


@pytest.mark.parametrize("folder", [*PAPERS, "infolab", "scripts", "benchmarks"])
def test_every_file_that_a_docstring_names_exists(folder):
    """A bare name is a file of the module's own folder; `infolab/bound.py` begins at the root."""
    absent = []
    for name in (name for name in files() if name.startswith(f"{folder}/") and name.endswith(".py")):
        docstring = ast.get_docstring(ast.parse((ROOT / name).read_text())) or ""
        for other in re.findall(r"`([\w/]+\.py)`", docstring):
            place = ROOT / other if "/" in other else (ROOT / name).with_name(other)
            absent += [] if place.is_file() else [(name, other)]
    assert absent == []


def test_a_name_that_does_not_exist_is_found():
    text = "```\nsh vae/run_no.sh\n.venv/bin/python -m vae.no --x\nmake no\nmake PRESET=smoke reproduce\n```\nmake it"
    text += " `make\nnor` `no.py` `vae/full.py`"
    assert missing(text) == ["vae/run_no.sh", "vae.no", "make no", "make nor", "no.py"]


@pytest.mark.parametrize(("page", "most"), MOST_WORDS.items())
def test_a_page_is_short(page, most):
    words = len(text_of(page).split())  # as `wc -w` counts
    assert words <= most, "details go to docs/ or to RESULTS.md"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (GENERATED, "docs/glossary.md")])
def test_a_probability_distribution_is_called_a_distribution(page):
    prose = re.sub(r"power laws?", "", CODE.sub("", FENCE.sub("", text_of(page))))
    assert re.findall(r".{0,40}\blaws?\b.{0,40}", prose) == []


def test_every_paper_has_its_pages_and_the_index_names_every_page():
    assert {f"{paper}/{name}.md" for paper in PAPERS for name in ("README", "RESULTS")} <= set(PAGES)
    index = text_of("docs/README.md")
    linked = {((ROOT / "docs") / target).resolve() for target in LINK.findall(index)}
    assert [page for page in PAGES if page != "docs/README.md" and (ROOT / page).resolve() not in linked] == []
