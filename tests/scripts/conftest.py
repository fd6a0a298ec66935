"""The folder of synthetic results that most tests of scripts/ share."""

import pytest
from synthetic_results import write_all

from scripts.figures import all_products, draw


@pytest.fixture(scope="session")
def full_results(tmp_path_factory):
    """A folder with all tables and arrays, its figures and summary tables drawn; tests must not write into it."""
    results = tmp_path_factory.mktemp("full")
    write_all(results)
    reasons = {name: draw(product, results) for name, product in all_products().items()}
    return results, reasons
