"""What the command line prints: lines for people, JSON for programs, no bars in pipes."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from vtcd_ops.common.errors import printable

__all__ = ["Output", "PlainLines", "output"]

_SECONDS = 10.0  # between two lines of a bar that is written into a file
_STANDING_SECONDS = 60.0  # where nothing but its clock has changed


@dataclass
class Output:
    """How one command answers; the options of `vtcd` itself set it.

    Args:
        as_json: one JSON object at the end instead of lines.
        quiet: no progress, no hints; results and warnings stay.
    """

    as_json: bool = False
    quiet: bool = False
    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def say(self, sentence: object) -> None:
        """Print a line in which no name can steer the terminal."""
        text = printable(str(sentence))
        if self.as_json:
            self.lines.append(text)
        else:
            print(text)

    def say_block(self, text: str) -> None:
        """Print lines that belong together, such as a table."""
        for line in text.splitlines():
            self.say(line)

    def hint(self, *commands: str) -> None:
        """Say what can be done next."""
        if not self.quiet and not self.as_json:
            for command in commands:
                print(f"  next: {printable(command)}")

    def tell(self, **data: Any) -> None:
        """Add fields to the JSON object."""
        self.data.update(data)

    def finish(self) -> None:
        """Print the JSON object, where it was asked for."""
        if self.as_json:
            print(json.dumps({**self.data, "lines": self.lines}, default=str, allow_nan=False))

    def reset(self, *, as_json: bool, quiet: bool) -> None:
        """Begin another command."""
        self.as_json, self.quiet = as_json, quiet
        self.lines, self.data = [], {}


output = Output()


class PlainLines:
    """A stream that is no terminal: what a bar would overwrite becomes a line of its own.

    Of a bar come the first line, the last one, and one every ten seconds; one a minute while it
    stands.

    >>> import io
    >>> inner = io.StringIO()
    >>> stream = PlainLines(inner)
    >>> for bar in ("\\r 0%|    |", "\\r50%|##  |", "\\r100%|####|", "\\r100%|####|", "\\n"):
    ...     _ = stream.write(bar)
    >>> inner.getvalue()
    ' 0%|    |\\n100%|####|\\n'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._at_start = True
        self._share = ""
        self._when = -math.inf

    def write(self, text: str) -> int:
        """Write, each carriage return beginning a line."""
        if text.startswith("\r") and not self._is_wanted(text):
            return len(text)
        for piece in text.replace("\r", "\n").replace("\x1b[A", "").splitlines(keepends=True):
            if piece == "\n" and self._at_start:
                continue  # no empty lines
            self._stream.write(piece)
            self._at_start = piece.endswith("\n")
        return len(text)

    def _is_wanted(self, bar: str) -> bool:
        """Whether a line that would overwrite another says enough that is new."""
        share, now = bar.partition("|")[0].strip(), time.monotonic()
        standing, at_end = share == self._share, share.endswith("100%")
        pause = _STANDING_SECONDS if standing else 0 if at_end else _SECONDS
        if not share or now - self._when < pause:
            return False
        self._share, self._when = share, now
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write_lines_in_pipes() -> None:
    """Let standard error be lines where it is no terminal."""
    if not sys.stderr.isatty():
        sys.stderr = PlainLines(sys.stderr)
