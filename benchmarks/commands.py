"""What the two commands of this folder share: one-sentence usage errors and provenance."""

import argparse
import os
from pathlib import Path
from typing import Any, NoReturn

from infolab.config import RunConfig
from infolab.errors import UserError
from infolab.runs import Run


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a `UserError`: one sentence, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UserError(f"{message} ({self.prog} --help lists every option)")


def check_writable(folder: Path) -> None:
    """Make `folder` and refuse, before any work, one that cannot be written.

    Raises:
        UserError: it cannot be made, or is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder '{folder}' ({error.strerror}): choose another one with --results-dir"
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to '{folder}': choose another folder with --results-dir")


def provenance(paper: str, experiment: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Command, settings, commit, versions, machine, threads and wall time, as every result of the lab has them.

    Args:
        paper: first part of the table's name.
        experiment: what was run; also serves as the run id, since these commands keep one file each.
        settings: resolved settings, plain JSON values.
    """
    record = Run(paper, experiment, "", RunConfig()).provenance()
    del record["seconds"]  # of this call, not of the measurement: the tables have their own times
    return {**record, "run_id": experiment, "config": settings}
