"""The numbers that the documentation quotes are those of results/reference; a wrong digit is found and put right."""

import re

import pytest

from scripts import quoted_numbers
from scripts.quotes.quote import ROOT, Quote, mended

FREE = re.compile(
    r"\((Adam; )?published[^|;)]*|T =\s+[\d.]+|[\d.]+ quantile|within [\d.]+ nats|--\S+ [\d.]+"
    r"|weight of [\d.]+ to [\d.]+|19\.8 ± 0\.4"
)
"""Settings, levels and published numbers in the tables and the list; tests/vae/test_score_errors.py has 19.8 ± 0.4."""


def test_every_quoted_number_is_that_of_the_reference():
    assert len(quoted_numbers.QUOTES) > 100
    assert "\n".join(map(str, quoted_numbers.check())) == ""


PAGES = {"README.md": ("## Paper to number", "## On your own"), "RESULTS.md": ("| paper | command", "## Are these")}
"""Where measured numbers stand, each of which is declared: page, first and last words."""


@pytest.mark.parametrize("page", PAGES)
def test_every_measured_number_of_the_tables_and_the_list_is_declared(page):
    document = (ROOT / page).read_text()
    first, last = (document.index(words) for words in PAGES[page])
    free = [place.span() for place in FREE.finditer(document)]
    for quote in quoted_numbers.QUOTES:
        place = quote.pattern.search(document) if quote.path == page else None
        free += [place.span(group) for group in range(1, quote.pattern.groups + 1)] if place else []
    numbers = [place for place in re.finditer(r"\d+\.\d+", document) if first < place.start() < last]
    assert len(numbers) > 10
    loose = [
        document[max(0, place.start() - 40) : place.end() + 20]
        for place in numbers
        if not any(low <= place.start() < high for low, high in free)
    ]
    assert loose == [], "declare it in scripts/quotes, or as a setting in FREE"


def test_a_wrong_digit_is_said_and_put_right_and_nothing_else_is_touched():
    quote = Quote("X.md", "least {a:.2f} ± {b:.1f} nats at {n:,d}", lambda: {"a": 1.234, "b": 0.06, "n": 12345})
    right = "Before.\nIt is least 1.23 ± 0.1\n  nats at 12,345, and 1.24.\n"
    assert mended(quote, right) == (right, None)
    document, finding = mended(quote, right.replace("1.23", "1.22").replace("12,345", "12,344"))
    assert document == right
    assert (finding.line, finding.says, finding.should) == (
        2, "least 1.22 ± 0.1 nats at 12,344", "least 1.23 ± 0.1 nats at 12,345",
    )  # fmt: skip
    assert str(finding).startswith("X.md:2: ")


def test_rounding_to_zero_has_no_sign_and_negative_numbers_keep_theirs():
    quote = Quote("X.md", "at {a:.3f} and {b:.2f}", lambda: {"a": -0.0001, "b": -0.256})
    assert mended(quote, "at 0.001 and -0.25")[0] == "at 0.000 and -0.26"


def test_words_that_are_gone_or_stand_twice_are_no_silent_pass():
    quote = Quote("X.md", "least {a:.2f}", lambda: {"a": 1.0})
    document, finding = mended(quote, "most 1.00")
    assert document == "most 1.00"
    assert "no such words" in str(finding)
    with pytest.raises(ValueError, match="stands 2 times"):
        mended(quote, "least 1.00, least 1.00")


def test_the_command_ends_with_1_where_a_number_is_wrong_and_mends_with_write(tmp_path, monkeypatch, capsys):
    (tmp_path / "X.md").write_text("least 1.10\n")
    monkeypatch.setattr(quoted_numbers, "ROOT", tmp_path)
    quotes = [Quote("X.md", "least {a:.2f}", lambda: {"a": 1.2})]
    monkeypatch.setattr(quoted_numbers, "QUOTES", quotes)
    monkeypatch.setattr("sys.argv", ["quoted_numbers"])
    with pytest.raises(SystemExit) as stop:
        quoted_numbers.main()
    assert stop.value.code == 1
    assert "'least 1.10' should read 'least 1.20'" in capsys.readouterr().out
    assert (tmp_path / "X.md").read_text() == "least 1.10\n"
    monkeypatch.setattr("sys.argv", ["quoted_numbers", "--write"])
    quoted_numbers.main()
    assert (tmp_path / "X.md").read_text() == "least 1.20\n"
