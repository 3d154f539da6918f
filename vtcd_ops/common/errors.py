"""What the user is told: the error and the warning about what was given, as a terminal may show."""

from __future__ import annotations

import warnings


class InputError(ValueError):
    r"""What the user gave cannot be used; the message is one sentence that says what to change.

    It names files, labels and what else was given; none of that may steer the terminal, or look
    like another line of a log.

    >>> str(InputError("a\x1b[2J.mp4\nis missing"))
    'a\\x1b[2J.mp4 is missing'
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(" ".join(message.splitlines())))


class InputWarning(UserWarning):
    """What the user gave is used otherwise than it may look; the message says how."""


def warn(sentence: str) -> None:
    """Warn the user once of what a sentence says."""
    warnings.warn(printable(" ".join(sentence.splitlines())), InputWarning, stacklevel=2)


def printable(text: str) -> str:
    r"""Return text with what a terminal would obey, or could not print, as escapes.

    Names of files and labels come from anywhere; shown as they are they could move the cursor,
    recolour the terminal or reverse what follows.

    >>> printable("a\x1b[2J.mp4")
    'a\\x1b[2J.mp4'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def first_line(error: BaseException) -> str:
    r"""Return the first line of what an error says; the name of its type where it says nothing.

    >>> first_line(RuntimeError("CUDA error: out of memory\nMore of it.")), first_line(OSError())
    ('CUDA error: out of memory', 'OSError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def counted(number: int, noun: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "video"), counted(0, "video")
    ('1 video', '0 videos')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
