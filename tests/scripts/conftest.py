"""The folder of synthetic results that most tests of scripts/ share."""

import pytest
from synthetic_results import write_all


@pytest.fixture(scope="session")
def full_results(tmp_path_factory):
    """A folder with all tables and arrays; tests must not write into it."""
    results = tmp_path_factory.mktemp("full")
    write_all(results)
    return results
