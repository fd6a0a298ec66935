"""A number quoted in the documentation: where it stands, in which words, and from which rows of results/reference it comes."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import numpy as np
import pandas as pd

from infolab import results as tables

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?"


@dataclass(frozen=True)
class Quote:
    """Words of a page whose numbers come from the reference.

    Attributes:
        path: the page, from the top of the repository.
        text: the words, each number a replacement field with its rounding, `{kl:.2f} nats`; whitespace stands for any.
        values: the numbers by name, from the reference's tables.
    """

    path: str
    text: str
    values: Callable[[], Mapping[str, float]]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the words, whatever their numbers are; each field is a group."""
        parts = []
        for literal, name, _, _ in Formatter().parse(self.text):
            parts.append(r"\s+".join(map(re.escape, re.split(r"\s+", literal))))
            if name is not None:
                parts.append(f"({NUMBER})")
        return re.compile("".join(parts))

    @property
    def numbers(self) -> list[str]:
        """The numbers as they should read, in their order."""
        values = self.values()
        found = []
        for _, name, spec, _ in Formatter().parse(self.text):
            if name is not None:
                text = format(values[name], spec or "")
                found.append(text.removeprefix("-") if float(text.replace(",", "")) == 0 else text)
        return found


@dataclass(frozen=True)
class Finding:
    """What is wrong with a quote: `line` of the file (0: the words are not there), what it says, and what it should."""

    quote: Quote
    line: int
    says: str
    should: str

    def __str__(self) -> str:
        """One line for a terminal."""
        if not self.line:
            return f"{self.quote.path}: there are no such words as '{self.should}'"
        return f"{self.quote.path}:{self.line}: '{self.says}' should read '{self.should}'"


def mended(quote: Quote, document: str) -> tuple[str, Finding | None]:
    """The document with the quote's numbers as they should read, and what was wrong with them.

    Raises:
        ValueError: the words stand twice in the document.
    """
    places = list(quote.pattern.finditer(document))
    if len(places) > 1:
        raise ValueError(f"'{quote.text}' stands {len(places)} times in {quote.path}: give it more words")
    if not places:
        words = " ".join(quote.text.split())
        return document, Finding(quote, 0, "", words)
    (place,) = places
    text, start = place.group(), place.start()
    for group, number in reversed(list(enumerate(quote.numbers, 1))):
        low, high = (end - start for end in place.span(group))
        text = text[:low] + number + text[high:]
    if text == place.group():
        return document, None
    line = document.count("\n", 0, start) + 1
    finding = Finding(quote, line, " ".join(place.group().split()), " ".join(text.split()))
    return document[:start] + text + document[place.end() :], finding


@functools.cache
def reference(table: str) -> pd.DataFrame:
    """The reference's rows of a table."""
    return tables.read(REFERENCE, table)


def mean_se(values: "pd.Series[float]") -> tuple[float, float]:
    """Mean over seeds and its standard error, s / sqrt(n)."""
    numbers = np.asarray(values, float)
    return float(numbers.mean()), float(numbers.std(ddof=1) / len(numbers) ** 0.5)
