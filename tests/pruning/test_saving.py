"""A pruned model that is saved comes back bit for bit; what is damaged is refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pruning.tiny_models import FAMILIES, clips_of, make

import vtcd_ops
from vtcd_ops.adapters import AttentionAdapter, weights_sha256

ROOT = Path(__file__).parents[2]
HEADS = [(0, 1), (0, 3), *((1, head) for head in range(4)), (2, 0)]


def saved(family: str, folder: Path, dtype: torch.dtype = torch.float32) -> AttentionAdapter:
    adapter = make(family)
    adapter.model.to(dtype)
    smaller: Any = vtcd_ops.prune(adapter, heads=HEADS, neurons={0: range(1, 30)})
    vtcd_ops.save_pruned(smaller, folder)
    return smaller


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "opened"])
def test_it_comes_back(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    smaller = saved(family, tmp_path / "small", dtype)
    loaded: Any = vtcd_ops.load_model(tmp_path / "small")
    assert type(loaded) is type(smaller)
    assert weights_sha256(loaded.model) == weights_sha256(smaller.model)
    assert loaded.removed_heads == smaller.removed_heads
    assert loaded.identity() == smaller.identity()
    assert loaded.class_names == smaller.class_names
    assert loaded.name == str(tmp_path / "small")
    clips, inputs = clips_of(smaller)
    expected, got = (one.predict(clips, **inputs) for one in (smaller, loaded))
    for name, values in expected.items():
        assert torch.equal(got[name], values)
    again: Any = vtcd_ops.prune(loaded, heads=[(2, 1)])
    assert again.removed_heads == {*HEADS, (2, 1)}


def test_it_comes_back_in_a_fresh_process(tmp_path: Path) -> None:
    smaller = saved("videomae", tmp_path)
    program = (
        "import sys, vtcd_ops; from vtcd_ops.adapters import weights_sha256\n"
        "print(weights_sha256(vtcd_ops.load_model(sys.argv[1]).model))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == weights_sha256(smaller.model)


def test_another_type_is_in_the_name(tmp_path: Path) -> None:
    saved("vivit", tmp_path)
    half = vtcd_ops.load_model(tmp_path, dtype="bfloat16")
    assert half.name == f"{tmp_path}?dtype=bfloat16"
    same = vtcd_ops.load_model(half.name)
    assert weights_sha256(half.model) == weights_sha256(same.model)
    assert next(same.model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "family", ["videomae", "videomae, pre-training", "vivit", "dinov2", "vjepa2"]
)
def test_the_example_loads_it_without_this_package(family: str, tmp_path: Path) -> None:
    smaller = saved(family, tmp_path)
    spec: Any = importlib.util.spec_from_file_location(
        "load_pruned", ROOT / "examples" / "load_pruned.py"
    )
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    model = example.load_pruned(tmp_path)
    loaded: Any = vtcd_ops.load_model(tmp_path)
    loaded.model = model
    clips, inputs = clips_of(smaller)
    expected, got = (one.predict(clips, **inputs) for one in (smaller, loaded))
    for name, values in expected.items():
        assert torch.equal(got[name], values)
    assert "vtcd_ops" not in (ROOT / "examples" / "load_pruned.py").read_text().split('"""')[2]


def test_a_plain_from_pretrained_refuses(tmp_path: Path) -> None:
    """And says by whom the folder is read, in the words of its model type."""
    saved("videomae", tmp_path)
    hint = r"vtcd_pruned: load it with vtcd_ops\.load_model\(folder\)"
    for auto in (transformers.AutoModel, transformers.AutoModelForVideoClassification):
        with pytest.raises(ValueError, match=hint):
            auto.from_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("file", ["pruned.safetensors", "config.json", "merges.txt"])
def test_a_flipped_byte_is_found(file: str, tmp_path: Path) -> None:
    adapter: Any = vtcd_ops.load_model("internvideo:mini")
    vtcd_ops.save_pruned(vtcd_ops.prune(adapter, heads=[(0, 0)]), tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    place = content.index(b'"internvideo"') + 1 if file == "config.json" else len(content) - 20
    content[place] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(vtcd_ops.InputError, match=rf"{file} is damaged: its"):
        vtcd_ops.load_model(tmp_path)


def test_texts_are_known_after_loading(tmp_path: Path) -> None:
    adapter: Any = vtcd_ops.load_model("internvideo:mini")
    vtcd_ops.save_pruned(vtcd_ops.prune(adapter, heads=[(0, 0)]), tmp_path)
    loaded: Any = vtcd_ops.load_model(tmp_path)
    texts = ["a ball rolls", "a box is lifted"]
    assert torch.equal(loaded.text_features(texts), adapter.text_features(texts))
    assert loaded.class_names == adapter.class_names


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    whole = make("videomae")
    with pytest.raises(vtcd_ops.InputError, match="adapter expected what prune returned"):
        vtcd_ops.save_pruned(whole, tmp_path)
    with pytest.raises(vtcd_ops.InputError, match="no family that load_model knows"):
        vtcd_ops.save_pruned(vtcd_ops.prune(make("opened"), heads=[(0, 0)]), tmp_path)
    smaller = vtcd_ops.prune(whole, heads=[(0, 0)])
    vtcd_ops.save_pruned(smaller, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(vtcd_ops.InputError, match="holds a model already"):
        vtcd_ops.save_pruned(vtcd_ops.prune(whole, heads=[(0, 1)]), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    vtcd_ops.save_pruned(vtcd_ops.prune(whole, heads=[(0, 1)]), tmp_path, overwrite=True)
    loaded: Any = vtcd_ops.load_model(tmp_path)
    assert loaded.removed_heads == {(0, 1)}


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    saved("videomae", tmp_path)
    with pytest.raises(vtcd_ops.InputError, match="expected options among device, dtype, got size"):
        vtcd_ops.load_model(tmp_path, size=3)
    (tmp_path / "pruned.safetensors").unlink()
    with pytest.raises(vtcd_ops.InputError, match=r"pruned\.safetensors is missing"):
        vtcd_ops.load_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pruned_heads"] == {"0": [1, 3], "1": [0, 1, 2, 3], "2": [0]}
