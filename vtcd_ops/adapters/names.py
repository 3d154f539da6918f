"""Names of models: what stands behind the question mark, and the name that loads a model again."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import torch

from vtcd_ops.adapters.weights import floating_type
from vtcd_ops.common.errors import InputError

__all__ = ["full_name", "split_options"]

# Where a model runs is no part of what it is.
_ELSEWHERE = ("device",)

# Options that may name a file or folder.
_FILES = ("vocabulary",)

_WORDS = {"True": True, "False": False, "None": None}


def full_name(
    family: str,
    model: str,
    load: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    bundled: bool = False,
) -> str:
    """Return the name by which `load_model` finds the same model again, from any directory.

    >>> def from_name(name, *, device="cpu", dtype="float32", attention="spatial"): ...
    >>> full_name("mine", "owner/model", from_name, {"dtype": torch.float16, "device": "cuda"})
    'mine:owner/model?dtype=float16'

    Args:
        family: the name before the colon.
        model: the name after it; files and folders become absolute.
        load: the function whose keyword arguments the options are; defaults are left out.
        options: those given.
        bundled: the model comes with its package, whatever lies in the working directory.
    """
    name = str(Path(model).absolute()) if not bundled and _exists(model) else model
    parameters = inspect.signature(load).parameters
    written = []
    for key in sorted(options, key=[*parameters, *options].index):
        value = options[key]
        default = parameters[key].default if key in parameters else None
        text = _text(key, value)
        if key not in _ELSEWHERE and text != _text(key, default):
            written.append(f"{key}={quote(text, safe='/:,')}")
    return f"{family}:{name}" + ("?" + "&".join(written) if written else "")


def split_options(name: str) -> tuple[str, dict[str, Any]]:
    """Split `"family:model?key=value"`; what follows the question mark of a file's name is its own.

    >>> split_options("hf_dinov2:facebook/dinov2-small?image_size=224&fit=crop")
    ('hf_dinov2:facebook/dinov2-small', {'image_size': 224, 'fit': 'crop'})

    Raises:
        InputError: an option that is given twice.
    """
    places = [index for index, letter in enumerate(name) if letter == "?"]
    # The longest name of a file or folder; of none, what stands before the first question mark.
    cuts = [cut for cut in (len(name), *reversed(places)) if _exists(name[:cut])]
    cut = (cuts or places or [len(name)])[0]
    base, options = name[:cut], name[cut + 1 :]
    found: dict[str, Any] = {}
    for key, text in parse_qsl(options, keep_blank_values=True):
        if key in found:
            raise InputError(f"load_model: {name} expected every option once, got {key} twice")
        found[key] = _value(text)
    return base, found


def _exists(name: str) -> bool:
    """Say whether a name, with or without a family, is that of a file or folder."""
    try:
        return Path(name).exists() or Path(name.partition(":")[2] or name).exists()
    except (OSError, ValueError):  # too long, or a null byte
        return False


def _value(text: str) -> Any:
    """Read numbers, lists and true/false, in JSON's or Python's words; everything else is text."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _text(key: str, value: Any) -> str:
    """Write a value so that `_value` reads the same."""
    if key == "dtype":
        value = str(floating_type(value)).removeprefix("torch.")
    if isinstance(value, (torch.device, os.PathLike)):
        value = str(value)
    if key in _FILES and isinstance(value, str) and _exists(value):
        value = str(Path(value).absolute())
    if isinstance(value, str):
        return value if _value(value) == value else json.dumps(value)
    return json.dumps(value)
