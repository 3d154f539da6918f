"""What reads the results that other packages keep in a run: they lie above, a run knows none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["reader", "register_readers"]

_readers: dict[str, Callable[..., Any]] = {}


def register_readers(**readers: Callable[..., Any]) -> None:
    """Let runs read results by these; each package of results gives its own.

    Args:
        readers: "importance" and "importances" for :meth:`vtcd_ops.Run.importance` and
            :meth:`~vtcd_ops.Run.importances`, "curves", "evidence": called with the run and the
            arguments of the method.
    """
    _readers.update(readers)


def reader(kind: str) -> Callable[..., Any]:
    """Return what reads one kind of result."""
    if kind not in _readers:
        raise RuntimeError(f"nothing reads {kind} of a run: import vtcd_ops first")
    return _readers[kind]
