"""What the command line prints: lines for people, JSON for programs, no bars in pipes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any, TextIO

from vtcd_ops.common.errors import printable

__all__ = ["Output", "PlainLines", "output"]


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

    >>> import io
    >>> inner = io.StringIO()
    >>> stream = PlainLines(inner)
    >>> _ = stream.write("\\rvideos: 1/2") + stream.write("\\rvideos: 2/2\\n")
    >>> inner.getvalue()
    'videos: 1/2\\nvideos: 2/2\\n'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._at_start = True

    def write(self, text: str) -> int:
        """Write, each carriage return beginning a line."""
        for piece in text.replace("\r", "\n").replace("\x1b[A", "").splitlines(keepends=True):
            if piece == "\n" and self._at_start:
                continue  # no empty lines
            self._stream.write(piece)
            self._at_start = piece.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write_lines_in_pipes() -> None:
    """Let standard error be lines where it is no terminal."""
    if not sys.stderr.isatty():
        sys.stderr = PlainLines(sys.stderr)
