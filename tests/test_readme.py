"""The Python examples of README.md and docs/denoiser.md run as they stand, and print what the pages say."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
NUMBER = r"\d+\.\d+"


def example():
    (block,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.S | re.M)
    return block


def printed():
    """The line that the page says is printed, as its three numbers and the text around them."""
    (line,) = re.findall(r"It prints `([^`]+)`", README.read_text())
    return [float(number) for number in re.findall(NUMBER, line)], re.split(NUMBER, line)


def test_the_example_prints_what_the_page_says(capsys):
    exec(compile(example(), str(README), "exec"), {})
    output = capsys.readouterr().out.strip()
    expected, text = printed()
    measured = [float(number) for number in re.findall(NUMBER, output)]
    assert re.split(NUMBER, output) == text
    # Another processor rounds otherwise in float32: the last digit shown may differ by one.
    assert all(abs(a - b) < 0.0015 for a, b in zip(measured, expected, strict=True)), output


def test_the_example_finds_the_exact_value():
    """The network is the exact score: the estimate is unbiased, so that it lies within 3 of its standard errors."""
    (value, error, exact), _ = printed()
    assert abs(value - exact) < 3 * error


def test_the_example_is_short():
    assert len(example().splitlines()) <= 12


def test_the_example_of_a_model_prints_what_its_page_says(capsys):
    page = README.with_name("docs") / "denoiser.md"
    code, says = re.search(
        r"^```python\n(.*?)^```.*?^It prints\n\n```\n(.*?)\n```", page.read_text(), re.S | re.M
    ).groups()
    exec(compile(code, str(page), "exec"), {})
    output = capsys.readouterr().out.strip()
    assert re.split(NUMBER, output) == re.split(NUMBER, says)
    # All is float64: the last digit shown may differ by one where a value lies between two.
    for ours, theirs in zip(re.findall(NUMBER, output), re.findall(NUMBER, says), strict=True):
        assert abs(float(ours) - float(theirs)) < 1.5 * 10 ** -len(theirs.partition(".")[2]), output
