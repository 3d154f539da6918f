"""One thread at a time in a model: what is captured or edited in it is seen by every forward."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

__all__ = ["alone_in", "evaluating", "serialised"]

_SECONDS = 30.0  # of waiting before it is said what for

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_registry = threading.Lock()

Function = TypeVar("Function", bound=Callable[..., Any])


@contextlib.contextmanager
def alone_in(model: nn.Module) -> Iterator[None]:
    """Keep other threads out of a model for as long as it is open; it can be nested.

    A thread that would come in between would be given the features of another's clips, or another's
    edits. Adapters around the same model share the lock.

    >>> layer = torch.nn.Linear(2, 2)
    >>> with alone_in(layer), alone_in(layer):
    ...     pass
    """
    with _registry:
        lock = _locks.setdefault(model, threading.RLock())
    if not lock.acquire(timeout=_SECONDS):
        warnings.warn(
            f"another thread captures from or edits this {type(model).__name__}; waiting until it "
            "has finished (load a model for every thread to run them side by side)",
            RuntimeWarning,
            stacklevel=4,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without other threads, while open; then every module gets its own back."""
    with alone_in(model):
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def serialised(function: Function) -> Function:
    """Make a method of an adapter run alone in its model."""

    @functools.wraps(function)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # no lock can be taken in a graph
            return function(self, *args, **kwargs)
        with alone_in(self.model):
            return function(self, *args, **kwargs)

    return alone  # type: ignore[return-value]
