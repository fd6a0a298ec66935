"""`python -m scripts.quoted_numbers [--write]`: are the numbers in the documentation those of results/reference?

Each is declared in scripts/quotes with its words and its rounding. Not declared, since no table holds them: minutes and
other times by hand, published numbers of the papers, numbers of runs that are not in the reference.
"""

import argparse
import sys

from infolab import atomic
from infolab.errors import run_main
from scripts.quotes import diffusion, infodiffusion, itdiffusion, readme, scoregen, speed, vae
from scripts.quotes.quote import ROOT, Finding, Quote, mended

QUOTES: list[Quote] = [
    quote for module in (diffusion, itdiffusion, vae, scoregen, infodiffusion, speed, readme) for quote in module.QUOTES
]


def check(*, write: bool = False) -> list[Finding]:
    """What is wrong with the quotes; with `write`, numbers are put right in the files."""
    findings = []
    for path in sorted({quote.path for quote in QUOTES}):
        before = document = (ROOT / path).read_text()
        for quote in QUOTES:
            if quote.path == path:
                document, finding = mended(quote, document)
                findings += [finding] if finding else []
        if write and document != before:
            atomic.write_text(ROOT / path, document)
    return findings


def main() -> None:
    """Print what is wrong; exit code 1 where a number was wrong and stays so, or words are not there."""
    parser = argparse.ArgumentParser(prog="python -m scripts.quoted_numbers", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the right numbers into the files")
    write = parser.parse_args().write
    findings = check(write=write)
    print("\n".join(map(str, findings)) or f"{len(QUOTES)} quotes, all as in results/reference")
    if any(not write or not finding.line for finding in findings):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
