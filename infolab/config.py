"""One typed, documented config per script: presets, the run id, common fields, and paths as a user types them."""

import contextlib
import dataclasses
import difflib
import hashlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from infolab.errors import UserError, check_choice

# ----------
# Paths as a user types them: from the folder where a launcher was called, and with ~ for the home folder.
#
# Launchers go to the repository, where runs/ and results/ are, and say in INVOKED_FROM where they were called.

FOLDERS = frozenset({"runs_dir", "results_dir", "data_dir"})
WRITTEN = frozenset({"out", "store", "per_example"})
READ = frozenset(
    {
        "against", "checkpoint", "codes", "data", "factors", "features", "generated", "images", "inputs", "logpx",
        "members", "modes", "points_file", "real", "reference", "test_folder", "train_folder", "weights", "x", "y",
    }
)  # fmt: skip
"""Options whose values are paths, or names of data sets and networks beside which there may be paths."""
TUNED, MEMBER = "tuned:", re.compile(r"(.+)@\d+")
"""How itdiffusion's members name a fine-tuned network, and one network of a run."""


def user_path(given: str | Path) -> Path:
    """The path that was meant: absolute where it was typed in another folder than this one."""
    path = Path(given).expanduser()
    place = os.environ.get("INVOKED_FROM")
    return path if path.is_absolute() or not place or _is_here(place) else Path(place) / path


def _is_here(place: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(place, os.getcwd())
    return False


def as_typed(words: Sequence[str]) -> list[str]:
    """Command-line words with the values of path options as `user_path`s.

    A value of an option that may also be a name is left as it is unless there is such a file where it was typed.
    """
    found, name = [], ""
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            name = flag.lstrip("-").replace("-", "_")
            found.append(f"{flag}={_resolved(name, value)}" if equals else word)
        else:
            found.append(_resolved(name, word))
    return found


def _resolved(name: str, value: str) -> str:
    if name not in FOLDERS | WRITTEN | READ or not value:
        return value
    if name == "members" and value.startswith(TUNED):
        return TUNED + _resolved(name, value.removeprefix(TUNED))
    path = user_path(value)
    if not path.exists() and (numbered := MEMBER.fullmatch(value)):
        path = user_path(numbered[1])  # the member of a run, RUN@1
    meant = name not in READ or value.startswith("~") or (path.exists() and not _is_a_name(value))
    return str(user_path(value)) if meant else value


def _is_a_name(value: str) -> bool:
    from infolab.data.registry import ALIASES, NAMES  # loads torch, which parsing alone does without

    return value.lower() in NAMES or value.lower() in ALIASES


# ----------
# One typed, documented config per script: parsing with presets, the run id, and the common fields.

EXCLUDED_FROM_RUN_ID = {"in_id": False}
"""Metadata of fields that say where and how a run is computed, not what: they do not enter its id."""


def not_in_id_at(value: Any) -> dict[str, Any]:
    """Metadata of a setting that came when there were runs already: at `value`, what they did, it leaves their ids."""
    return {"not_in_id_at": value}


def default_device() -> str:
    """The environment's DEVICE, else auto."""
    return os.environ.get("DEVICE") or "auto"


def flag_of(name: str) -> str:
    """How a field is given on the command line."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class AtLeast:
    """Bound of a number, as in `m: Annotated[int, AtLeast(2)] = 200`."""

    low: float

    def check(self, name: str, value: float) -> None:
        """Refuse a smaller value, or NaN."""
        if not value >= self.low:
            raise UserError(f"{flag_of(name)} must be at least {self.low}, not {value}")


@dataclass(frozen=True)
class Positive:
    """A positive, finite number."""

    def check(self, name: str, value: float) -> None:
        """Refuse anything else."""
        if not 0 < value < math.inf:
            raise UserError(f"{flag_of(name)} must be positive and finite, not {value}")


@dataclass(frozen=True)
class Share:
    """A number in [0, 1)."""

    def check(self, name: str, value: float) -> None:
        """Refuse anything else."""
        if not 0 <= value < 1:
            raise UserError(f"{flag_of(name)} must lie in [0, 1), not {value}")


@dataclass(frozen=True)
class Distinct:
    """One value or more, none twice."""

    def check(self, name: str, value: Sequence[Any]) -> None:
        """Refuse anything else."""
        if not value or len(set(value)) < len(value):
            raise UserError(f"{flag_of(name)} needs at least one value, and none twice")


@dataclass(frozen=True, eq=False)  # choices may be a list, which has no hash
class OneOf:
    """One of some names; `kind` is what the message calls it."""

    kind: str
    choices: Sequence[str]

    def check(self, name: str, value: str) -> None:
        """Refuse any other name, with the nearest one."""
        check_choice(self.kind, value, tuple(self.choices))


@dataclass(frozen=True)
class RunConfig:
    """Fields that every script has. None of them changes what is computed, so none enters the run id.

    What does, beside a script's own fields, is in the files that the run reads: `contents`.
    """

    runs_dir: Path = field(default=Path("runs"), metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of checkpoints, logs and TensorBoard events."""
    results_dir: Path = field(default=Path("results"), metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of the result tables."""
    data_dir: Path = field(default=Path("data"), metadata=EXCLUDED_FROM_RUN_ID)
    """Folder of data sets that are not built in (see `python -m infolab.data doctor`)."""
    device: str = field(default_factory=default_device, metadata=EXCLUDED_FROM_RUN_ID)
    """cpu, cuda, cuda:1, mps, or auto (cuda where there is one, else cpu); the default is the environment's DEVICE,
    else auto."""
    threads: int = field(default=0, metadata=EXCLUDED_FROM_RUN_ID)
    """CPU threads; 0: as many as torch takes by itself."""
    deterministic: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Take only operations that give the same bits at each run on the same GPU (slower there; a CPU does anyway)."""
    checkpoint_seconds: float = field(default=60.0, metadata=EXCLUDED_FROM_RUN_ID)
    """Least seconds between checkpoints; where writing one takes long they come less often, for 2% of the time."""
    max_minutes: float = field(default=0.0, metadata=EXCLUDED_FROM_RUN_ID)
    """Minutes after which the command keeps what it has and exits with code 75 (try again), in training and in
    evaluation; 0: no limit."""
    task: str = field(default="", metadata=EXCLUDED_FROM_RUN_ID)
    """i/n: the i-th of n shares of the sweep, of about equal cost (SLURM arrays; several shells on one machine)."""
    force: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Run again although the results are there already."""
    dry_run: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Print the resolved config, the run id and the estimated cost, and do nothing."""
    gpu: str = field(default="", metadata=EXCLUDED_FROM_RUN_ID)
    """With --dry-run: also estimate the time on this GPU, which need not be here (h100, a100, v100, l4, t4, ...)."""
    count: bool = field(default=False, metadata=EXCLUDED_FROM_RUN_ID)
    """Print the number of runs of the sweep, and do nothing (the size of a SLURM array)."""

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written: here, what the fields' annotations say.

        Raises:
            UserError: in one sentence, the first field that is out of its bounds.
        """
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            for bound in getattr(hint, "__metadata__", ()):
                if isinstance(bound, AtLeast | Positive | Share | Distinct | OneOf):
                    bound.check(name, getattr(self, name))

    def read_contents(self) -> dict[str, str]:
        """Digest of each file, or set of files, of the user's own that the run reads (see `infolab.data.registry`).

        By default those of the set that a field `dataset` names; a config that reads other files says so itself.
        """
        from infolab.data import registry  # data sets load torch, which settings alone do without

        return registry.joined(data=registry.of_set(getattr(self, "dataset", ""), self.data_dir))

    @cached_property
    def contents(self) -> dict[str, str]:
        """`read_contents` as it was when this config was first asked: a run keeps its id while files change."""
        return self.read_contents()


Config = TypeVar("Config", bound=RunConfig)
Options = TypeVar("Options")


def identity(config: RunConfig) -> dict[str, Any]:
    """The fields of `config` that say what is computed, as plain JSON values, and the digests of its own files."""
    files = {"contents": config.contents} if config.contents else {}
    return _fields_in_id(config) | files


def _fields_in_id(config: RunConfig) -> dict[str, Any]:
    fields = [item for item in dataclasses.fields(config) if item.metadata.get("in_id", True)]
    return {item.name: _plain(getattr(config, item.name)) for item in fields}


def run_id(config: RunConfig) -> str:
    """The id of the run that `config` describes: `settings_id`, and `-` and 6 digits more where it reads own files.

    Those are of the digests of its files, so that other images under the same name make another run.
    """
    if not config.contents:
        return settings_id(config)
    return f"{settings_id(config)}-{_sha256(config.contents)[:6]}"


def settings_id(config: RunConfig) -> str:
    """12 hex digits of SHA-256 of the resolved values of `config`, whatever is in the files that it reads.

    The folders of runs, results and data, device, threads and the like (`RunConfig`) do not enter it, so a requeued job
    finds its folder again; nor does a setting at the value that its `not_in_id_at` names.
    """
    silent = {
        item.name
        for item in dataclasses.fields(config)
        if "not_in_id_at" in item.metadata and getattr(config, item.name) == item.metadata["not_in_id_at"]
    }
    values = {name: value for name, value in _fields_in_id(config).items() if name not in silent}
    return _sha256({"type": type(config).__name__, **values})[:12]


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def describe(config: RunConfig) -> str:
    """The resolved config, one `name = value` per line."""
    return "\n".join(f"  {name} = {value}" for name, value in _plain(dataclasses.asdict(config)).items())


def parse(presets: dict[str, Config], command: str, arguments: Sequence[str] | None = None) -> tuple[str, Config]:
    """Parse `[preset] [--flags]` into (preset name, config); the default preset is `quick`.

    Raises:
        UserError: an unknown preset or flag, or a value of the wrong type, in one sentence.
    """
    words = as_typed(sys.argv[1:] if arguments is None else arguments)
    preset = "quick" if not words or words[0].startswith("-") else words.pop(0)
    check_choice("preset", preset, list(presets))
    default = presets[preset]
    description = f"Presets: {', '.join(presets)} (first argument; defaults shown are those of '{preset}')."
    return preset, _parse_flags(default, words, command, description)


def called_as(command: str) -> str:
    """How the user called this: `infolab NAME`, or else `command`."""
    return sys.argv[0] if sys.argv[0].startswith("infolab ") else command


def parse_options(options: type[Options], command: str, arguments: Sequence[str] | None = None) -> Options:
    """Parse `[--flags]` of a command without presets into its dataclass.

    Raises:
        UserError: an unknown flag, or a value of the wrong type, in one sentence.
    """
    words = as_typed(sys.argv[1:] if arguments is None else arguments)
    return _parse_flags(options(), words, command, options.__doc__ or "")


def _parse_flags(default: Options, words: list[str], command: str, description: str) -> Options:
    words = _joined(words)
    help_wanted = bool({"-h", "--help"} & set(words))
    if not help_wanted:
        _refuse_unknown_flags(type(default), words, command)
    printed = io.StringIO()
    try:
        capture = contextlib.nullcontext() if help_wanted else contextlib.redirect_stderr(printed)
        with capture:
            return tyro.cli(type(default), prog=command, description=description, default=default, args=words)
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise UserError(f"{_one_sentence(printed.getvalue())} ({command} --help lists every option)") from None


def _joined(words: Sequence[str]) -> list[str]:
    """The words with `--flag -value` as `--flag=-value`: no flag has one minus, but a value may, as -flow has."""
    found: list[str] = []
    for word in words:
        value = re.match(r"-[a-z]", word) and word != "-h"
        if value and found and found[-1].startswith("--") and "=" not in found[-1]:
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def _refuse_unknown_flags(config_type: type, words: Sequence[str], command: str) -> None:
    names = [item.name.replace("_", "-") for item in dataclasses.fields(config_type)]
    known = [f"--{name}" for name in names] + [f"--no-{name}" for name in names]
    for word in words:
        flag = word.split("=")[0].replace("_", "-")
        if not word.startswith("--") or flag in known:
            continue
        near = difflib.get_close_matches(flag, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown option '{flag}': {hint}{command} --help lists every option")


def _one_sentence(boxed: str) -> str:
    # tyro draws its message into a box of several lines; the user gets its first sentence in one line.
    text = re.sub(r"\x1b\[[0-9;]*m", "", boxed)
    text = re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─━┃]+", " ", text)).strip()
    for heading in ("Value error", "Parsing error", "Unrecognized options", "Required options", "Invalid choice"):
        text = text.removeprefix(heading).strip()
    return re.split(r"\s(?:Argument helptext|For full helptext|Arguments similar)", text)[0]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
