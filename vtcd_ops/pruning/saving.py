"""Write a pruned model to a folder that `load_model` reads."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.heads import ConstantAttention
from vtcd_ops.adapters.neurons import to_intervals
from vtcd_ops.adapters.pruned_form import CONFIG_FILE, FORMAT, MODEL_TYPE, WEIGHTS_FILE
from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.documents import encode_json
from vtcd_ops.storage.files import naming, sha256_file, write_atomic

__all__ = ["save_pruned"]


def save_pruned(
    adapter: Adapter, folder: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a pruned model to a folder: safetensors and a configuration, no code.

    `load_model(folder)` gives it back, bit for bit. examples/load_pruned.py reads it without this
    package. What was trained after pruning is saved as it is.

    >>> import vtcd_ops
    >>> adapter = vtcd_ops.load_model("hf_videomae:mini")
    >>> smaller = vtcd_ops.prune(adapter, heads=[(0, 1), (2, 0)])
    >>> folder = vtcd_ops.save_pruned(smaller, "smaller")
    >>> sorted(vtcd_ops.load_model(folder).removed_heads)
    [(0, 1), (2, 0)]

    Args:
        adapter: what `prune` returned.
        folder: made if it is not there.
        overwrite: replace a model that is there.

    Returns:
        The folder.

    Raises:
        InputError: a model that was not pruned, of no family that `load_model` knows, or a folder
            that holds a model.
    """
    if not isinstance(adapter, AttentionAdapter) or not adapter.known_as:
        raise InputError(
            "save_pruned: adapter expected what prune returned, got "
            f"{getattr(adapter, 'name', type(adapter).__name__)}, of which nothing was taken out"
        )
    made: Any = adapter
    family = getattr(made, "family", None)
    if family is None or not hasattr(made, "saved_form") or not hasattr(made, "rebuild"):
        raise InputError(
            f"save_pruned: {type(adapter).__name__} belongs to no family that load_model knows; "
            "torch.save the state_dict() of its .model, or let the class have family, saved_form() "
            "and rebuild() (docs/pruning.md)"
        )
    folder = Path(folder)
    if (folder / CONFIG_FILE).exists() and not overwrite:
        raise InputError(
            f"save_pruned: {folder} holds a model already: choose another folder, or overwrite"
        )
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    state = {name: x.detach().cpu().contiguous() for name, x in adapter.model.state_dict().items()}
    write_atomic(folder / WEIGHTS_FILE, save(state))
    beside: list[str] = made.save_beside(folder) if hasattr(made, "save_beside") else []
    files = {name: sha256_file(folder / name) for name in (WEIGHTS_FILE, *beside)}
    write_atomic(folder / CONFIG_FILE, encode_json(_document(adapter, family, files)))
    return folder


def _document(adapter: AttentionAdapter, family: str, files: dict[str, str]) -> dict[str, Any]:
    heads: dict[str, list[int]] = {}
    for layer, head in sorted(adapter.removed_heads):
        heads.setdefault(str(layer), []).append(head)
    form: Any = adapter
    return {
        "model_type": MODEL_TYPE,
        "vtcd_pruned": FORMAT,
        "family": family,
        "known_as": list(adapter.known_as),
        **form.saved_form(),
        "frames": asdict(adapter.frames),
        "sampling_rate": adapter.sampling_rate,
        "known_weights": list(adapter.known_weights),
        "pruned_heads": heads,
        "pruned_neurons": {
            str(layer): to_intervals(its) for layer, its in adapter.removed_neurons.items()
        },
        "attributes": _attributes(adapter),
        "constant_attention": {
            name: module.returns
            for name, module in adapter.model.named_modules()
            if isinstance(module, ConstantAttention)
        },
        "files": files,
    }


def _attributes(adapter: AttentionAdapter) -> dict[str, int]:
    """The counts that modules hold, by name, for readers without this package."""
    counts = {}
    for layer in {layer for layer, _ in adapter.removed_heads}:
        if kept := len(adapter.kept_heads(layer)):
            modules = adapter.head_modules(layer)
            assert modules is not None
            counts.update({name: each * kept for name, each in modules.counts})
    return counts
