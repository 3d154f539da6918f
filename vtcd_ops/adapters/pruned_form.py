"""Reading what `save_pruned` wrote: a model with fewer heads or neurons, and all it needs.

    FOLDER/pruned.safetensors   the weights, in the shapes that are left
    FOLDER/config.json          everything else, and the SHA-256 of itself and of the other files

The weights have a name of their own, so that a plain `from_pretrained` finds none instead of
filling up with random numbers what is not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.checkpoints import check_shapes
from vtcd_ops.adapters.configs import check_sizes, read_config
from vtcd_ops.adapters.neurons import from_intervals
from vtcd_ops.adapters.weights import floating_type, placed
from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.documents import (
    ANYTHING,
    TEXT,
    expect_fields,
    listing,
    making_of,
    read_json,
    table,
    whole,
)
from vtcd_ops.storage.files import sha256_file
from vtcd_ops.video.frames import FrameTransform

__all__ = ["CONFIG_FILE", "FORMAT", "MODEL_TYPE", "WEIGHTS_FILE", "is_pruned", "load_pruned"]

_KIND = "vtcd_pruned"
# transformers shows the type where it does not know it: so its error says what to do.
MODEL_TYPE = f"{_KIND}: load it with vtcd_ops.load_model(folder)"
FORMAT = 1
WEIGHTS_FILE, CONFIG_FILE = "pruned.safetensors", "config.json"

_FIELDS = {
    "vtcd_pruned": whole(FORMAT, FORMAT),
    "family": TEXT,
    "known_as": listing(TEXT),
    "config": table(ANYTHING),
    "options": table(ANYTHING),
    "frames": table(ANYTHING),
    "known_weights": listing(TEXT),
    "pruned_heads": table(listing(whole(0, 10**6), distinct=True)),
    "pruned_neurons": table(listing(listing(whole(0, 10**6), 2))),
    "files": table(TEXT),
}


def is_pruned(folder: str | os.PathLike[str]) -> bool:
    """Say whether a folder is one that `save_pruned` wrote, as far as its configuration says."""
    try:
        kind = str(read_config(Path(folder) / CONFIG_FILE).get("model_type"))
    except InputError:
        return False
    return kind.split(":")[0] == _KIND


def load_pruned(
    folder: str | os.PathLike[str],
    family_of: Callable[[str], Any],
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
) -> Adapter:
    """Return the adapter of a model that `save_pruned` wrote, in evaluation mode.

    Args:
        folder: where it is.
        family_of: gives the class of a family by its name.
        device: where the model goes.
        dtype: of its weights; by default as they were saved.

    Raises:
        InputError: a file is missing or damaged, or the weights do not fit.
    """
    folder = Path(folder).absolute()
    path = folder / CONFIG_FILE
    document = read_json(path)
    expect_fields(path, document, _FIELDS)
    if WEIGHTS_FILE not in document["files"]:
        raise InputError(f"{path} is damaged: it names no {WEIGHTS_FILE}")
    for name, digest in document["files"].items():
        if Path(name).name != name:
            raise InputError(f"{path} is damaged: it names a file of another folder")
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing")
        if sha256_file(folder / name) != digest:
            raise InputError(
                f"{folder / name} is damaged: its SHA-256 is not the one in {CONFIG_FILE}"
            )
    check_sizes(document["config"], path, weights=folder)
    name = str(folder)
    if dtype is not None:
        name += f"?dtype={str(floating_type(dtype)).removeprefix('torch.')}"
    with making_of(path):
        adapter = _skeleton(document, folder, family_of, name)
    _fill(adapter, folder / WEIGHTS_FILE)
    if dtype is not None:
        adapter.model.to(floating_type(dtype))
    placed(adapter.model, device)
    return adapter


def _skeleton(
    document: dict[str, Any], folder: Path, family_of: Callable[[str], Any], name: str
) -> AttentionAdapter:
    """The model with the heads and neurons that are left, before it has its weights."""
    family = family_of(document["family"])
    with torch.random.fork_rng(devices=[]):  # what is drawn here, the weights replace
        whole_model: AttentionAdapter = family.rebuild(
            document["config"], document["options"], folder
        )
    whole_model.model.eval()
    heads = [(int(layer), head) for layer, its in document["pruned_heads"].items() for head in its]
    if any(
        layer >= whole_model.num_layers or head >= whole_model.num_heads for layer, head in heads
    ):
        raise InputError(f"{folder / CONFIG_FILE} is damaged: it has heads that no layer has")
    neurons = {int(n): from_intervals(its) for n, its in document["pruned_neurons"].items()}
    if any(
        layer >= whole_model.num_layers or numbers[-1] >= whole_model.num_neurons(layer)
        for layer, numbers in neurons.items()
    ):
        raise InputError(f"{folder / CONFIG_FILE} is damaged: it has neurons that no layer has")
    adapter = whole_model.without(heads, neurons, name, inplace=True)
    adapter.known_as = tuple(document["known_as"])
    adapter.known_weights = tuple(document["known_weights"])
    frames: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in document["frames"].items()
    }
    adapter.frames = FrameTransform(**frames)
    adapter.sampling_rate = document.get("sampling_rate")
    return adapter


def _fill(adapter: AttentionAdapter, path: Path) -> None:
    """Put the weights into the model, every bit as it was saved."""
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    model = adapter.model
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    check_shapes(shapes, state, path, type(model).__name__)
    common = next((x.dtype for x in state.values() if x.is_floating_point()), torch.float32)
    model.to(common)  # tables that are no part of the state follow the weights
    model.load_state_dict(state, assign=True)
