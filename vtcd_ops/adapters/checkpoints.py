"""Reading the checkpoints that authors publish, and loading them strictly.

A checkpoint is read as tensors and nothing else: a pickle that needs more could run anything.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vtcd_ops.common.errors import InputError

__all__ = ["check_shapes", "load_strictly", "read_checkpoint", "read_saved"]

_CONTAINERS = ("state_dict", "model_state_dict", "model", "module")
_MOST_NAMES = 5


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    prefixes: Sequence[str] = ("module.",),
    containers: Sequence[str] = _CONTAINERS,
) -> dict[str, Tensor]:
    """Read the weights of a published checkpoint: a pickle of tensors, or safetensors.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "published.pth"
    >>> torch.save({"state_dict": {"module.bias": torch.zeros(2)}, "epoch": 3}, path)
    >>> read_checkpoint(path)
    {'bias': tensor([0., 0.])}

    Args:
        path: the file.
        prefixes: of wrappers around the model; where keys begin with one, it is taken off, and keys
            that do not begin with it, which belong to other modules of the wrapper, are left out.
        containers: entries of the pickle under which the weights may lie; the first there is.

    Raises:
        InputError: no such file, one that is no checkpoint, holds more than tensors, or no tensors.
    """
    path = Path(path)
    found: Any = read_saved(path)
    while isinstance(found, Mapping) and not _is_state(found):
        container = next((name for name in containers if name in found), None)
        if container is None:
            break
        found = found[container]
    if not isinstance(found, Mapping) or not _is_state(found):
        raise InputError(
            f"from_checkpoint: {path} expected tensors by name, at the top or under one of "
            f"{', '.join(containers)}, got {_contents(found)}"
        )
    return _without_prefixes(dict(found), prefixes)


def read_saved(path: str | os.PathLike[str], *, allowed: Sequence[type] = ()) -> Any:
    """Read a file of torch.save that holds tensors and plain values, or safetensors.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "published.pth"
    >>> torch.save({"weight": torch.zeros(2), "epoch": 3}, path)
    >>> read_saved(path)["epoch"]
    3

    Args:
        path: the file.
        allowed: classes that the pickle may need besides: such as carry values and do nothing.

    Raises:
        InputError: no such file, one that is no checkpoint, or that needs other classes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"from_checkpoint: file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"from_checkpoint: {path} is a pickle that needs more than tensors, which could run "
            "anything, or is broken; load it once where you trust it and save its state dict alone "
            f"({_first_sentence(error)})"
        ) from error
    except Exception as error:  # the unpickler raises all sorts for a file that is no pickle
        raise InputError(
            f"from_checkpoint: {path} cannot be read as a checkpoint: {_first_sentence(error)}"
        ) from error


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], source: str | os.PathLike[str]
) -> None:
    """Load weights into a model, in the model's own floating point type; nothing may be left over.

    Parameters on torch's meta device take the place of the weights given, without a copy.

    >>> import torch
    >>> load_strictly(torch.nn.Linear(2, 1), {"weight": torch.zeros(1, 3)}, "mine.pth")
    Traceback (most recent call last):
    vtcd_ops.common.errors.InputError: from_checkpoint: the weights in mine.pth do not fit Linear:
    missing key bias; misshapen key weight (expected [1, 2], got [1, 3])

    Raises:
        InputError: missing, surplus or misshapen keys, by name.
    """
    own = model.state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
    check_shapes(shapes, state, source, type(model).__name__)
    weights = {key: tensor.to(own[key].dtype) for key, tensor in state.items()}
    model.load_state_dict(weights, assign=any(tensor.is_meta for tensor in own.values()))


def check_shapes(
    expected: Mapping[str, tuple[int, ...]],
    state: Mapping[str, Tensor],
    source: str | os.PathLike[str],
    model: str,
) -> None:
    """Check that weights have the names and shapes that a model, named in words, expects.

    Raises:
        InputError: missing, surplus or misshapen keys, by name.
    """
    misshapen = [
        f"{key} (expected {list(shape)}, got {list(state[key].shape)})"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != tuple(shape)
    ]
    problems = [
        _problem("missing", [key for key in expected if key not in state]),
        _problem("surplus", [key for key in state if key not in expected]),
        _problem("misshapen", misshapen),
    ]
    if any(problems):
        raise InputError(
            f"from_checkpoint: the weights in {os.fspath(source)} do not fit {model}: "
            f"{'; '.join(filter(None, problems))}"
        )


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "global" in line]
    return (named or lines or [type(error).__name__])[0].split(". ")[0].strip()


def _is_state(found: Mapping[Any, Any]) -> bool:
    """Say whether a mapping holds tensors by name and nothing else."""
    return bool(found) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    )


def _contents(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"a {type(found).__name__}"
    return f"entries {', '.join(map(str, list(found)[:_MOST_NAMES]))}" if found else "nothing"


def _without_prefixes(state: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Take off the wrappers' prefixes, one inside the other."""
    for _ in prefixes:
        for prefix in prefixes:
            inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            state = inside or state
    return state


def _problem(kind: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else ""
    return f"{kind} key{'s'[: len(keys) > 1]} {', '.join(keys[:_MOST_NAMES])}{more}"
