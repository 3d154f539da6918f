"""The error that means: what you gave cannot be used, and this is why."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence that says what to change."""
