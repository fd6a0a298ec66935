"""The Python examples of README.md and docs/own-data.md run as they stand, and print what the page says."""

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
