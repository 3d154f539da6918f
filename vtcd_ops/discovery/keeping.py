"""What a run keeps on disk of its videos, and what it can no longer do without the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError

EVERYTHING, TOKENS, CONCEPTS = "everything", "tokens", "concepts"
KEEPS = (EVERYTHING, TOKENS, CONCEPTS)  # the most first

_HOLDS = {
    EVERYTHING: "the label volumes and frames of the videos",
    TOKENS: "the concept of every token of the videos",
}


def kept_by(settings: dict[str, Any]) -> str:
    """Return what a run keeps by its settings document; runs that keep everything do not say it.

    >>> kept_by({}), kept_by({"keep": "tokens"})
    ('everything', 'tokens')
    """
    return str(settings.get("keep", EVERYTHING))


def keeps_less(one: str, other: str) -> bool:
    """Say whether a run that keeps ``one`` holds less than one that keeps ``other``.

    >>> keeps_less("concepts", "tokens"), keeps_less("tokens", "tokens")
    (True, False)
    """
    return KEEPS.index(one) > KEEPS.index(other)


def expect_kept(caller: str, path: Path, keep: str, needed: str, instead: str = "") -> None:
    """Raise where a run does not keep what is needed.

    Args:
        caller: what needs it.
        path: of the run.
        keep: what the run keeps.
        needed: "everything" or "tokens".
        instead: what else may be done.

    Raises:
        InputError: it does not.
    """
    if keeps_less(keep, needed):
        raise InputError(
            f"{caller}: {_HOLDS[needed]} are not in {path}, which was discovered with "
            f"keep={keep!r}: discover into another directory with keep={needed!r}{instead}"
        )
