"""Dictionaries of features that others trained, from their files, as concepts of a run.

A sparse autoencoder of SAELens is a folder with `cfg.json` and `sae_weights.safetensors`; one of
overcomplete, or of anybody, a `.safetensors` file with the same tensors, or with the dictionary
alone. Nothing of these packages is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vtcd_ops.adapters.configs import read_config
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.common.errors import InputError, first_line
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.discovery.foreign import store_concepts
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.measurement import check_model
from vtcd_ops.importance.ranked_videos import find_videos

__all__ = ["Dictionary", "read_dictionary", "store_dictionary"]

_WEIGHTS = "sae_weights.safetensors"
# Names under which the tensors are found, the first that is there.
_NAMES = {
    "decoder": ("W_dec", "dictionary", "decoder.weight"),
    "encoder": ("W_enc", "encoder.weight"),
    "encoder_bias": ("b_enc", "encoder.bias"),
    "decoder_bias": ("b_dec",),
}
_ARCHITECTURES = ("standard", "topk", "jumprelu")


@dataclass(frozen=True)
class Dictionary:
    """Vectors whose sparse sums are features.

    Attributes:
        vectors: float32 [K, D], one a feature of the dictionary.
        encoder, encoder_bias: float32 [D, K] and [K] of an autoencoder; None: a feature is as
            active as its vector and what is encoded point the same way.
        centre: float32 [D], taken off what is encoded.
        threshold: float32 [K], below which a feature is inactive (of JumpReLU).
        top: features that are active at a time (of TopK); None: all that are above 0.
        rescaled: whether a feature is as active as if its vector had length 1.
    """

    vectors: Tensor
    encoder: Tensor | None = None
    encoder_bias: Tensor | None = None
    centre: Tensor | None = None
    threshold: Tensor | None = None
    top: int | None = None
    rescaled: bool = False

    def encode(self, features: Tensor) -> Tensor:
        """Return how active every feature is, float32 [N, K], in features [N, D]."""
        features = features.float()
        if self.centre is not None:
            features = features - self.centre
        if self.encoder is None:
            lengths = self.vectors.norm(dim=1).clamp(min=1e-12)
            before = features @ (self.vectors / lengths[:, None]).T
        else:
            before = features @ self.encoder
            before = before if self.encoder_bias is None else before + self.encoder_bias
        if self.rescaled:
            before = before * self.vectors.norm(dim=1)
        active = before.clamp(min=0)
        if self.threshold is not None:
            active = torch.where(before > self.threshold, active, 0.0)
        if self.top is not None and self.top < active.shape[1]:
            least = active.topk(self.top, dim=1).values[:, -1:]
            active = torch.where(active >= least, active, 0.0)
        return active


def read_dictionary(path: str | Path) -> Dictionary:
    """Read a dictionary: a folder of SAELens, or a `.safetensors` file.

    Args:
        path: the folder or file. Tensors are W_dec [K, D] (or `dictionary`, [K, D]), and of an
            autoencoder W_enc [D, K], b_enc [K], b_dec [D] and threshold [K].

    Returns:
        The dictionary.

    Raises:
        InputError: no such file, tensors that do not fit together, or an architecture that is
            encoded in another way.
    """
    path = Path(path)
    config: dict[str, Any] = read_config(path / "cfg.json") if path.is_dir() else {}
    kind = str(config.get("architecture", "standard")).lower()
    if kind not in _ARCHITECTURES:
        raise InputError(
            f"read_dictionary: {path} expected an architecture among {', '.join(_ARCHITECTURES)}, "
            f"got {kind[:40]!r}"
        )
    if config.get("normalize_activations", "none") not in (None, "none"):
        raise InputError(
            f"read_dictionary: {path} normalises what it encodes "
            f"({str(config['normalize_activations'])[:60]}), which is not read: fold it into "
            "its weights first (SAELens: fold_activation_norm_scaling_factor)"
        )
    file = path / _WEIGHTS if path.is_dir() else path
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"read_dictionary: {file} cannot be read: {first_line(error)}") from error
    found = {role: next((tensors[name].float() for name in names if name in tensors), None)
             for role, names in _NAMES.items()}  # fmt: skip
    vectors = found["decoder"]
    if vectors is None or vectors.dim() != 2:
        known = ", ".join(sorted(tensors))[:200]
        raise InputError(
            f"read_dictionary: {file} expected W_dec or dictionary [K, D], got {known}"
        )
    if "decoder.weight" in tensors:  # of a linear layer, [D, K]
        vectors = vectors.T
    encoder = found["encoder"]
    if encoder is not None and "encoder.weight" in tensors:
        encoder = encoder.T
    if config.get("apply_b_dec_to_input", True) is False:
        found["decoder_bias"] = None
    dictionary = Dictionary(
        vectors.contiguous(), encoder, found["encoder_bias"], found["decoder_bias"],
        tensors.get("threshold"), _top(config), bool(config.get("rescale_acts_by_decoder_norm")),
    )  # fmt: skip
    _check(file, dictionary)
    return dictionary


def _top(config: dict[str, Any]) -> int | None:
    """Return k of a TopK autoencoder."""
    arguments = config.get("activation_fn_kwargs") or {}
    found = config.get("k", arguments.get("k") if isinstance(arguments, dict) else None)
    return found if isinstance(found, int) and found > 0 else None


def _check(file: Path, dictionary: Dictionary) -> None:
    count, width = dictionary.vectors.shape
    for name, tensor, shape in (
        ("W_enc", dictionary.encoder, (width, count)),
        ("b_enc", dictionary.encoder_bias, (count,)),
        ("b_dec", dictionary.centre, (width,)),
        ("threshold", dictionary.threshold, (count,)),
    ):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise InputError(
                f"read_dictionary: {file}: {name} expected {list(shape)} beside vectors "
                f"[{count}, {width}], got {list(tensor.shape)}"
            )


def store_dictionary(
    out: str | Path,
    videos: Run,
    dictionary: Dictionary | str | Path,
    layer: int,
    head: int | None = None,
    *,
    model: Any = None,
    samples: Any = None,
    part: str | None = None,
    most: int = 64,
    max_memory: int | str = "1GB",
) -> Run:
    """Store the features of a dictionary as the concepts of a layer, so that all works on them.

    A token belongs to the feature that is most active in it, as long as that is one of the `most`
    that are most active in these videos.

    Args:
        out: the run directory to make.
        videos: the run whose videos are encoded.
        dictionary: the dictionary, or its folder or file.
        layer: of the model.
        head: whose features it was trained on, D = C; None: on those of all heads together,
            D = A*C, heads outermost, so a concept lies in every head at the same places.
        model: the run's model; loaded by its name by default.
        samples: the videos; from where they were by default.
        part: "queries", "keys", "values" or "outputs"; the run's first by default.
        most: concepts to keep.
        max_memory: bytes; videos with frames so large that reading them takes more are refused.

    Returns:
        The stored run.

    Raises:
        InputError: a dictionary of another width, or one that is active nowhere.
    """
    videos.expect_kept("store_dictionary")
    if not isinstance(dictionary, Dictionary):
        dictionary = read_dictionary(dictionary)
    adapter = check_model("store_dictionary", videos, model)
    part = videos.parts[0] if part is None else part
    heads = list(range(adapter.num_heads)) if head is None else [head]
    width = len(heads) * adapter.head_dim
    if dictionary.vectors.shape[1] != width:
        raise InputError(
            f"store_dictionary: a dictionary of {width} channels expected ({len(heads)} heads of "
            f"{adapter.head_dim}), got {dictionary.vectors.shape[1]}"
        )
    found, _ = find_videos(videos, adapter, samples, max_memory=parse_bytes(max_memory))
    winners, total = [], torch.zeros(len(dictionary.vectors), dtype=torch.float64)
    for video in found:
        features = capture_video(video.clip, [layer], (part,), heads)[part][0]  # [A, C, t, h, w]
        active = dictionary.encode(features.flatten(0, 1).flatten(1).T)  # [t*h*w, K]
        total += active.double().sum(dim=0)
        strongest, winner = active.max(dim=1)
        winner = torch.where(strongest > 0, winner, -1).view(features.shape[2:])
        winners.append(winner.numpy())
    kept = [
        int(one) for one in total.argsort(descending=True, stable=True)[:most] if total[one] > 0
    ]
    if not kept:
        raise InputError("store_dictionary: no feature of the dictionary is active in these videos")
    table = np.full(len(total) + 1, -1, dtype=np.int64)
    table[kept] = np.arange(len(kept))
    supports = [np.repeat(table[winner][None], adapter.num_heads, axis=0) for winner in winners]
    vectors = np.zeros((adapter.num_heads, len(kept), adapter.head_dim), dtype=np.float32)
    own = dictionary.vectors[kept].view(len(kept), len(heads), -1).transpose(0, 1)
    vectors[heads] = own.numpy()
    if head is not None:  # the others have none of it
        for support in supports:
            support[[other for other in range(adapter.num_heads) if other != head]] = -1
    site = (part, layer)
    return store_concepts(
        out, videos, {site: supports}, {site: list(vectors)}, method="dictionary", model=adapter
    )
