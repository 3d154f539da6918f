"""A model on the device that a step of the pipeline is asked to use."""

from __future__ import annotations

import inspect
import os

import torch

from vtcd_ops.adapters.adapter import Adapter, model_device
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.names import split_options
from vtcd_ops.adapters.registry import load_model
from vtcd_ops.adapters.weights import placed
from vtcd_ops.common.accelerator import AUTO, choose_device

__all__ = ["load_on"]


def load_on(
    caller: str, model: str | os.PathLike[str] | Adapter, device: str | torch.device = AUTO
) -> Adapter:
    """Return a model's adapter, its model on a device.

    >>> from vtcd_ops.adapters import example_adapter
    >>> from vtcd_ops.adapters.adapter import model_device
    >>> model_device(load_on("discover", example_adapter(), "cpu").model)
    device(type='cpu')

    Args:
        caller: of whom an error speaks.
        model: what :func:`vtcd_ops.load_model` takes. An adapter's own model is moved, not a copy.
        device: as torch names it; "cuda" alone is the device of this process, see
            :func:`vtcd_ops.common.accelerator.choose_device`. "auto": an adapter stays where it is;
            so does a model whose name has an option `device`, or whose package cannot move it; any
            other goes to "cuda" where torch sees one.

    Raises:
        InputError: no such device, or what :func:`vtcd_ops.load_model` raises.
    """
    if device == AUTO and isinstance(model, Adapter):
        return model  # and nothing is begun on a GPU that is not used
    chosen = choose_device(caller, device)  # before a large model is read
    adapter = load_model(model)
    stays = device == AUTO and not _movable(model, adapter)
    if not stays and model_device(adapter.model) != chosen:
        placed(adapter.model, chosen)
    return adapter


def _movable(name: str | os.PathLike[str] | Adapter, adapter: Adapter) -> bool:
    """Whether nothing speaks against another device for a model that was loaded by its name."""
    if not isinstance(name, Adapter) and "device" in split_options(os.fspath(name))[1]:
        return False
    load = getattr(type(adapter), "from_name", None)
    named = load is not None and "device" in inspect.signature(load).parameters
    return named or isinstance(adapter, AttentionAdapter)
