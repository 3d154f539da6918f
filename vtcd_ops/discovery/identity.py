"""What tells results apart beside settings and videos: the model, the libraries, the operators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vtcd_ops.adapters import weights_sha256
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.ops import LIBRARY
from vtcd_ops.storage.documents import digest_json


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    return {name: version(name) for name in ("vtcd-ops", "torch", "numpy")}


def operator_library() -> dict[str, str]:
    """Return which build of the operators this process runs.

    Labels and means of tubelets have the same bits on every instruction set, concepts have not:
    their matrix products add in another order. So a run keeps to one build, and to one of its
    instruction sets.
    """
    return asdict(LIBRARY)


def describe_model(adapter: Adapter) -> dict[str, Any]:
    """Return what identifies a model: its name, the hash of its weights, its shape."""
    return {
        "name": adapter.name,
        "sha256": weights_sha256(adapter.model),
        "num_layers": adapter.num_layers,
        "num_heads": adapter.num_heads,
        "head_dim": adapter.head_dim,
        "num_frames": adapter.num_frames,
        "tubelet_size": adapter.tubelet_size,
        "token_grid": list(adapter.token_grid),
        "num_prefix_tokens": adapter.num_prefix_tokens,
        **json.loads(json.dumps(_features_identity(adapter))),
    }


def _features_identity(adapter: Adapter) -> dict[str, Any]:
    """What features depend on beside the weights, where the adapter says it."""
    identity = getattr(adapter, "identity", None)
    return {} if identity is None else {"features": identity()}


def answers_identity(adapter: Adapter) -> str:
    """Return a hash of what a model's answers depend on beside its weights, as far as it says."""
    identity = getattr(adapter, "answer_identity", None)
    return digest_json({} if identity is None else identity())


def expect_model(caller: str, adapter: Adapter, run_model: Mapping[str, Any], run: Path) -> None:
    """Raise where a model is not that of a run: other weights, or seen or read in another way.

    Args:
        caller: of whom an error speaks.
        adapter: the model.
        run_model: what :func:`describe_model` gave of the run's model.
        run: the run's directory.

    Raises:
        InputError: it is another model.
    """
    if weights_sha256(adapter.model) != run_model["sha256"]:
        raise InputError(f"{caller}: the weights of {adapter.name} are not those of the run {run}")
    now = describe_model(adapter)
    for name in sorted(run_model.keys() & now.keys() - {"name"}):
        before, after = run_model[name], now[name]
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            keys = sorted(before.keys() | after.keys())
            name = next(key for key in keys if before.get(key) != after.get(key))
            before, after = before.get(name), after.get(name)
        raise InputError(
            f"{caller}: {adapter.name} has {name} {after!r}, the model of the run {run} "
            f"had {before!r}"
        )
