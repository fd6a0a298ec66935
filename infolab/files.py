"""Files that a user gives: read whole and in native numbers, or refused in one sentence that names the file.

Libraries raise anything for a damaged file (`zlib.error`, `struct.error`, `SyntaxError` of a header, `MemoryError` of
an announced size, ...), so no reader lists exceptions of its own: the code that parses stands within `reading`.
"""

import contextlib
import gzip
import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from infolab.errors import LabError, UserError, in_a_line

NUMBERS = "a readable .npy file of numbers"
SAVE = "save it with numpy.save"
PIECE = 1 << 20
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Readers of a .npy header; version 3 is for names of fields beyond Latin-1, which no array of numbers has."""

Found = TypeVar("Found", dict[str, Any], list[Any])


class DamagedFileError(Exception):
    """What a reader finds wrong with a file by itself; `reading` says it to the user."""


@contextlib.contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Around the code that reads and parses the file `path`, and nothing else.

    Args:
        path: the file, for messages.
        what: what it should be, as in "a readable .npy file of numbers".
        remedy: what to do about a damaged one, as in "copy it again".

    Raises:
        UserError: for whatever goes wrong within; a `LabError` passes as it is.
    """
    try:
        yield
    except LabError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"there is no file '{path}': expected {what}") from error
    except IsADirectoryError as error:
        raise UserError(f"'{path}' is a folder: expected {what}") from error
    except PermissionError as error:
        raise UserError(f"'{path}' cannot be read: its permissions do not allow it") from error
    except MemoryError as error:
        raise UserError(f"'{path}' needs more memory than there is: expected {what}; {remedy}") from error
    except Exception as error:  # a damaged or foreign file can fail in any way
        reason = str(error) if isinstance(error, DamagedFileError) else in_a_line(error)
        raise UserError(f"'{path}' is not {what} ({reason}): {remedy}") from error


def load_npy(path: Path, what: str = NUMBERS, remedy: str = SAVE) -> np.ndarray:
    """The array of a .npy file, in native byte order; pickles are not read.

    The file's size is compared with its header before memory is taken.

    Args:
        path, what, remedy: as `reading` takes them.

    Raises:
        UserError: there is no such file, or it is not one array and nothing else.
    """
    with reading(path, what, remedy), path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise UserError(f"'{path}' has several arrays (it is an .npz file): expected {what}; {SAVE}")
        file.seek(0)
        return _array(file, os.fstat(file.fileno()).st_size)


def load_npz(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    what: str = "a readable .npz file",
    remedy: str = "make it again",
) -> dict[str, np.ndarray]:
    """The arrays called `required`, and those of `optional` that are there, of an .npz file; others are not looked at.

    Args:
        path, what, remedy: as `reading` takes them.
        required: names without which the file is refused.
        optional: names that may be absent.

    Raises:
        UserError: there is no such file, it is damaged, or it lacks an array.
    """
    found = {}
    with reading(path, what, remedy), _archive(path) as archive:
        for name in (*required, *optional):
            member = archive.NameToInfo.get(f"{name}.npy")
            if member is not None:
                with archive.open(member) as file:
                    found[name] = _array(file, member.file_size)
            elif name in required:
                raise DamagedFileError(f"it has no array '{name}'")
    return found


def load_json(path: Path, kind: type[Found], what: str, remedy: str) -> Found:
    """The JSON value of a file (unpacked, where its name ends in .gz), a dict or a list as `kind` says.

    Args:
        path, what, remedy: as `reading` takes them.
        kind: `dict` or `list`.

    Raises:
        UserError: there is no such file, it is damaged, or holds another value.
    """
    with reading(path, what, remedy):
        value = json.loads(contents(path).decode("utf-8-sig"))
        if not isinstance(value, kind):
            raise DamagedFileError(f"it holds a {type(value).__name__}, no {kind.__name__}")
        return value


def read_text(path: Path, what: str, remedy: str) -> str:
    """The UTF-8 text of a file, without a byte order mark.

    Raises:
        UserError: there is no such file, or it is no text.
    """
    with reading(path, what, remedy):
        return contents(path).decode("utf-8-sig")


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz, up to half of the machine's memory.

    Raises:
        Exception: anything; to be called within `reading`.
    """
    if path.suffix != ".gz":
        _check_memory(2 * path.stat().st_size)
        return path.read_bytes()
    unpacked = io.BytesIO()
    with gzip.open(path) as file:
        while piece := file.read(PIECE):  # a small file may unpack to more than the memory
            unpacked.write(piece)
            _check_memory(2 * unpacked.tell())
    if not unpacked.tell() and not path.stat().st_size:
        raise DamagedFileError("a gzip file of 0 bytes")
    return unpacked.getvalue()


def _archive(path: Path) -> zipfile.ZipFile:
    """The .npz file, opened; refused where its list of members is shorter than its end says."""
    archive = zipfile.ZipFile(path)
    with path.open("rb") as file:
        file.seek(-22, os.SEEK_END)
        signature, listed = struct.unpack("<4s6xH10x", file.read())
    if signature == b"PK\x05\x06" and listed not in (len(archive.infolist()), 0xFFFF):  # that is: more than can be said
        archive.close()
        raise DamagedFileError(f"it lists {len(archive.infolist())} members and says that they are {listed}")
    return archive


def _array(file: IO[bytes], size: int) -> np.ndarray:
    """The array of a .npy stream of `size` bytes, which must be all that it holds."""
    if size == 0:
        raise DamagedFileError("it is empty")
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise DamagedFileError(f"version {version} of the format")
    shape, _, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise DamagedFileError("it holds Python objects, which are not read")
    announced, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or announced != held:
        raise DamagedFileError(f"its header announces {announced:,} bytes of numbers and it holds {held:,}")
    _check_memory(announced)
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):  # a member of an archive compares its checksum where it ends
        raise DamagedFileError("it goes on behind its array")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_memory(size: int) -> None:
    """Refuse what the machine cannot hold: taking the memory would end this process, or another one."""
    if size > _memory():
        raise MemoryError


def _memory() -> int:
    """Bytes of the machine's memory; where the system does not say, 32 GiB."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 32 << 30
