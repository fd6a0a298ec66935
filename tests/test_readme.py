"""The Python examples of README.md, docs/own-data.md and docs/denoiser.md run, and print what the pages say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NUMBER = r"\d+\.\d+"
pages = pytest.mark.parametrize("page", ["README.md", "docs/own-data.md"])


def example(page):
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    return block


def printed(page):
    """The line that the page says is printed, as its three numbers and the text around them."""
    (line,) = re.findall(r"It prints `([^`]+)`", (ROOT / page).read_text())
    return [float(number) for number in re.findall(NUMBER, line)], re.split(NUMBER, line)


@pages
def test_the_example_prints_what_the_page_says(page, capsys):
    exec(compile(example(page), page, "exec"), {})
    output = capsys.readouterr().out.strip()
    expected, text = printed(page)
    measured = [float(number) for number in re.findall(NUMBER, output)]
    assert re.split(NUMBER, output) == text
    # Another processor rounds otherwise in float32: the last digit shown may differ by one.
    assert all(abs(a - b) < 0.0015 for a, b in zip(measured, expected, strict=True)), output


@pages
def test_the_example_finds_the_exact_value(page):
    """The network is the exact one: the estimate is unbiased, so that it lies within 3 of its standard errors."""
    (value, error, exact), _ = printed(page)
    assert abs(value - exact) < 3 * error


@pages
def test_the_example_is_short(page):
    assert len(example(page).splitlines()) <= 12


def test_the_example_of_a_model_prints_what_its_page_says(capsys):
    page = ROOT / "docs" / "denoiser.md"
    code, says = re.search(
        r"^```python\n(.*?)^```.*?^It prints\n\n```\n(.*?)\n```", page.read_text(), re.S | re.M
    ).groups()
    exec(compile(code, str(page), "exec"), {})
    output = capsys.readouterr().out.strip()
    assert re.split(NUMBER, output) == re.split(NUMBER, says)
    # All is float64: the last digit shown may differ by one where a value lies between two.
    for ours, theirs in zip(re.findall(NUMBER, output), re.findall(NUMBER, says), strict=True):
        assert abs(float(ours) - float(theirs)) < 1.5 * 10 ** -len(theirs.partition(".")[2]), output
