"""Pickles and configurations from anybody: none chooses what code runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.test_adapter_names import FAMILIES
from pipeline.untrusted import refused

import vtcd_ops
from vtcd_ops.adapters.checkpoints import read_saved
from vtcd_ops.bridges import read_dictionary
from vtcd_ops.video.masks import read_mask, read_masks


class Code:
    """A pickle that makes a file where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


def object_array(mark: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[[Code(mark)]]], dtype=object), allow_pickle=True)
    return file.getvalue()


# Each writes one file below a folder, of a pickle that makes `mark`, and returns what reads it.
def npy(folder: Path, mark: Path) -> Callable[[], object]:
    (folder / "m.npy").write_bytes(object_array(mark))
    return lambda: read_masks(folder / "m.npy", None)


def npz(folder: Path, mark: Path) -> Callable[[], object]:
    np.savez(folder / "m.npz", query_mask=np.array([[Code(mark)]], dtype=object))
    return lambda: read_mask(folder / "m.npz")


def pickled_as_npy(folder: Path, mark: Path) -> Callable[[], object]:
    (folder / "m.npy").write_bytes(pickle.dumps(Code(mark)))
    return lambda: read_masks(folder / "m.npy", None)


def checkpoint(folder: Path, mark: Path) -> Callable[[], object]:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Code(mark)}, folder / "w.pt")
    return lambda: read_saved(folder / "w.pt")


def old_checkpoint(folder: Path, mark: Path) -> Callable[[], object]:
    torch.save(Code(mark), folder / "w.pt", _use_new_zipfile_serialization=False)
    return lambda: read_saved(folder / "w.pt")


def bare_pickle(folder: Path, mark: Path) -> Callable[[], object]:
    (folder / "w.pt").write_bytes(pickle.dumps(Code(mark)))
    return lambda: read_saved(folder / "w.pt")


def hugging_face(folder: Path, mark: Path) -> Callable[[], object]:
    FAMILIES["hf_videomae"][0](folder)
    (folder / "model.safetensors").rename(folder / "spare.safetensors")
    torch.save({"a": Code(mark)}, folder / "pytorch_model.bin")
    return lambda: vtcd_ops.load_model(folder)


def tcow(folder: Path, mark: Path) -> Callable[[], object]:
    torch.save({"model": Code(mark)}, folder / "checkpoint.pth")
    return lambda: vtcd_ops.load_model(f"tcow:{folder / 'checkpoint.pth'}")


def internvideo(folder: Path, mark: Path) -> Callable[[], object]:
    torch.save({"module": Code(mark)}, folder / "checkpoint.pt")
    return lambda: vtcd_ops.load_model(f"internvideo:{folder / 'checkpoint.pt'}")


def dictionary(folder: Path, mark: Path) -> Callable[[], object]:
    (folder / "sae_weights.safetensors").write_bytes(pickle.dumps(Code(mark)))
    (folder / "cfg.json").write_text("{}")
    return lambda: read_dictionary(folder)


PICKLES = [npy, npz, pickled_as_npy, checkpoint, old_checkpoint, bare_pickle, hugging_face, tcow,
           internvideo, dictionary]  # fmt: skip


@pytest.mark.parametrize("write", PICKLES, ids=lambda write: write.__name__)
def test_no_pickle_runs(tmp_path: Path, write: Callable[[Path, Path], Any]) -> None:
    refused(write(tmp_path, tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


def test_the_pickles_would_run(tmp_path: Path) -> None:
    """Else the test above shows nothing."""
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(io.BytesIO(object_array(tmp_path / "ran")), allow_pickle=False)
    np.load(io.BytesIO(object_array(tmp_path / "ran")), allow_pickle=True)
    assert (tmp_path / "ran").is_dir()
    torch.save(Code(tmp_path / "too"), tmp_path / "w.pt")
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert (tmp_path / "too").is_dir()


CODE = "from pathlib import Path\nPath(__file__).with_name('ran').mkdir()\n"


@pytest.mark.parametrize("name", ["{folder}", "auto:{folder}", "hf_dinov2:{folder}"])
@pytest.mark.parametrize("known", [True, False])
def test_no_checkpoint_chooses_code(tmp_path: Path, name: str, known: bool) -> None:
    FAMILIES["hf_dinov2"][0](tmp_path)
    (tmp_path / "modeling_mine.py").write_text(CODE + "class Mine:\n    pass\n")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    classes = ("AutoConfig", "AutoModel", "AutoModelForImageClassification")
    config["auto_map"] = dict.fromkeys(classes, "modeling_mine.Mine")
    config["attn_implementation"] = "owner/kernels"
    if not known:
        config |= {"model_type": "mine", "architectures": ["Mine"]}
    path.write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"auto_map": {"AutoImageProcessor": "modeling_mine.Mine"}})
    )
    if known:
        vtcd_ops.load_model(name.format(folder=tmp_path))
    else:
        refused(lambda: vtcd_ops.load_model(name.format(folder=tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_weights_come_from_their_own_folder(tmp_path: Path) -> None:
    """A list of shards that names a file elsewhere."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    FAMILIES["hf_videomae"][0](mine)
    other.mkdir()
    shutil.copy(mine / "model.safetensors", other / "secret.safetensors")
    (mine / "model.safetensors").rename(mine / "spare.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "../other/secret.safetensors"}}
    (mine / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(lambda: vtcd_ops.load_model(mine), match="names a file outside of")
