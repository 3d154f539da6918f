"""Readers of files, and good files of each kind, for the fuzzer that changes them."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtcd_ops.adapters.checkpoints import read_saved
from vtcd_ops.adapters.configs import check_sizes, read_config
from vtcd_ops.reporting.concept_names import read_names
from vtcd_ops.storage.codec import pack_labels, unpack_labels
from vtcd_ops.storage.documents import encode_json, read_json
from vtcd_ops.storage.files import read_tensors, write_tensors
from vtcd_ops.video.masks import read_mask, read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import read_manifest
from vtcd_ops.vos_metrics.label_maps import read_label_map, read_split


@dataclass(frozen=True)
class Reader:
    """A kind of file, good examples of it, and what reads it."""

    name: str
    suffix: str
    examples: Callable[[], list[bytes]]
    read: Callable[[Path], object]


def _stored(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def _labels() -> list[bytes]:
    volume = np.maximum(np.arange(64, dtype=np.int32).reshape(4, 4, 4) % 5 - 1, 0)
    return [b"1" + pack_labels(volume)[0], b"2" + pack_labels(volume * 90)[0]]


def _tensors() -> list[bytes]:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.int32)}
    return [_stored(lambda path: write_tensors(path, arrays, {"k": [1, "two"]}))]


def _weights() -> list[bytes]:
    from safetensors.numpy import save

    return [save({"w": np.ones((3, 2), np.float32), "b": np.zeros(3, np.float16)})]


def _pickled() -> list[bytes]:
    import torch

    state = {"state_dict": {"w": torch.ones(3, 2)}, "epoch": 3}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(state, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return [new.getvalue(), old.getvalue()]


def _csv() -> list[bytes]:
    return [
        b'video,label,text\na.mp4,running,"a, b"\nb.mp4,2,\n',
        b"video;name;query_mask\r\na.mp4;x;m.png\r\n",
        b"\xef\xbb\xbfvideo\tlabel\na.mp4\t1\n",
    ]


def _jsonl() -> list[bytes]:
    row = {"video": "a.mp4", "label": 3, "text": "a", "target_masks": "m", "name": "n"}
    return [(json.dumps(row) + "\n" + json.dumps({"video": None, "name": "x"}) + "\n").encode()]


def npy() -> list[bytes]:
    found = []
    for dtype in ("uint8", "bool", "float32", "int64"):
        file = io.BytesIO()
        np.save(file, (np.arange(48).reshape(3, 4, 4) % 2).astype(dtype))
        found.append(file.getvalue())
    file = io.BytesIO()
    np.save(file, np.asfortranarray(np.ones((3, 4, 4), np.uint8)))
    return [*found, file.getvalue()]


def _npz() -> list[bytes]:
    plain, packed = io.BytesIO(), io.BytesIO()
    masks = np.ones((3, 4, 4), np.uint8)
    np.savez(plain, target_masks=masks, other=masks)
    np.savez_compressed(packed, query_mask=masks)
    return [plain.getvalue(), packed.getvalue()]


def _png() -> list[bytes]:
    from PIL import Image

    found = []
    for mode in ("P", "L", "RGB", "RGBA", "I;16", "1"):
        file = io.BytesIO()
        image = Image.fromarray((np.arange(64).reshape(8, 8) % 3).astype(np.uint8))
        image = Image.fromarray(np.eye(8, dtype=np.uint16)) if mode == "I;16" else image
        image = image if mode == "I;16" else image.convert(mode)
        image.save(file, "PNG")
        found.append(file.getvalue())
    return found


def _sealed() -> list[bytes]:
    return [encode_json({"files": {"a": [3, "0" * 64]}, "layers": [0, 1], "model": {"name": "x"}})]


def _config() -> list[bytes]:
    sizes = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 2, "image_size": [32, 32],
             "patch_size": 8, "vision": {"num_frames": 4, "mlp_ratio": 4.0}}  # fmt: skip
    return [json.dumps(sizes).encode()]


def _names() -> list[bytes]:
    suggested = {"name": "ball", "by": "clip", "score": 0.5}
    return [json.dumps({"keys-L1-H0-C0": "a", "keys-L1-H0-C1": suggested}).encode()]


def _split() -> list[bytes]:
    return [b"bear\nbmx-trees\n", b"/JPEGImages/480p/a/00000.jpg /Annotations/480p/a/00000.png\n"]


# --- what reads them


def _read_labels(path: Path) -> object:
    content = path.read_bytes()
    return unpack_labels(content[1:], (4, 4, 4), "uint8" if content[:1] == b"1" else "uint16")


def _read_config(path: Path) -> object:
    config = read_config(path)
    check_sizes(config, path)
    return config


def _read_split(path: Path) -> object:
    folder = path.parent / "davis"
    (folder / "ImageSets/2017").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets/2017/val.txt").write_bytes(path.read_bytes())
    return read_split(folder, "val", ("2017",))


def _read_frames(path: Path) -> object:
    folder = path.parent / "frames"
    folder.mkdir(exist_ok=True)
    (folder / "0.png").write_bytes(path.read_bytes())
    return list(open_video(folder).frames([0]))


READERS = [
    Reader("labels", "bin", _labels, _read_labels),
    Reader("tensors of a result", "safetensors", _tensors, read_tensors),
    Reader("weights", "safetensors", _weights, read_saved),
    Reader("weights, pickled", "pt", _pickled, read_saved),
    Reader("manifest, CSV", "csv", _csv, read_manifest),
    Reader("manifest, JSON", "jsonl", _jsonl, read_manifest),
    Reader("masks, npy", "npy", npy, lambda path: read_masks(path, [0, 2])),
    Reader("masks, npz", "npz", _npz, lambda path: read_masks(path, None)),
    Reader("mask, PNG", "png", _png, read_mask),
    Reader("label map, PNG", "png", _png, read_label_map),
    Reader("frame, PNG", "png", _png, _read_frames),
    Reader("document of a result", "json", _sealed, read_json),
    Reader("configuration", "json", _config, _read_config),
    Reader("names of concepts", "json", _names, read_names),
    Reader("list of sequences", "txt", _split, _read_split),
]
