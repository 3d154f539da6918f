"""What files and texts from anywhere must be, before they are read or written into a table."""

from __future__ import annotations

import csv
import io
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError

__all__ = ["csv_bytes", "expect_regular_file", "without_controls"]

# Control characters but for tab and line feed, marks that reverse the text which follows them, and
# what stands for a byte of a file's name that is no UTF-8.
_CONTROLS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# A spreadsheet takes a cell that begins so for a formula, which may fetch or run something.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def expect_regular_file(path: Path) -> None:
    """Refuse what is no regular file: reading a pipe or a device may never end.

    >>> expect_regular_file(Path("/dev/zero"))
    Traceback (most recent call last):
    vtcd_ops.common.errors.InputError: /dev/zero cannot be read: it is no regular file

    Raises:
        InputError: it is a pipe, a device or a folder.
        OSError: there is none, or it cannot be looked at.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} cannot be read: it is no regular file")


def without_controls(text: str) -> str:
    r"""Return a text for a page, with characters that steer a display as escapes.

    >>> without_controls("a\x1b[2J\u202e.mp4")
    'a\\x1b[2J\\u202e.mp4'
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def csv_bytes(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    r"""Return rows as CSV for a spreadsheet, in which no text is a formula.

    >>> csv_bytes([{"name": "=1+1", "value": -2}], ["name", "value"])
    b"name,value\r\n'=1+1,-2\r\n"
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = without_controls(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
