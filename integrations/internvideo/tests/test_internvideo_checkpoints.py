"""Checkpoints: the published names and shapes load strictly, and what does not fit is named."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from internvideo_models import config, fill, inputs
from torch import Tensor
from vtcd_internvideo import InternVideo
from vtcd_internvideo.checkpoint import sizes_of
from vtcd_internvideo.tokenizer import write_merges

import vtcd_ops

PUBLISHED = json.loads((Path(__file__).parent / "golden" / "published_keys.json").read_text())

# Heads of 64 channels, as published; else as small as can be.
SIZES = config(8, (32, 16, 128, 3, 2, 24), ([1, 2], 2), (24, 77, 520, 64, 1, 2))


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return dict(fill(InternVideo.from_config(SIZES)).state_dict())


@pytest.mark.parametrize("name", ["B-16", "L-14"])
def test_published_names_and_shapes(name: str) -> None:
    """Without memory: on the meta device."""
    state = {
        key: torch.empty(shape, device="meta") for key, shape in PUBLISHED[name]["keys"].items()
    }
    model = InternVideo.from_weights(state, sizes_of(state, Path(name)), {}, Path(name))
    assert model.state_dict().keys() == state.keys()
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]["n_params"]
    visual, text = model.config.visual, model.config.text
    large = name == "L-14"
    assert model.config.t_size == 8
    assert (visual.input_resolution, visual.patch_size) == (224, 14 if large else 16)
    assert visual.return_list == ((20, 21, 22, 23) if large else (8, 9, 10, 11))
    assert (visual.heads, visual.n_head) == ((16, 16) if large else (12, 12))
    assert (text.transformer_heads, text.vocab_size) == (12 if large else 8, 49408)


@pytest.mark.parametrize("prefix", ["clip.", "", "module.", "module.clip.", "clip.module."])
def test_wrappers(tmp_path: Path, weights: dict[str, Tensor], prefix: str) -> None:
    saved = {f"{prefix}{key}": value for key, value in weights.items()}
    torch.save({"state_dict": saved, "epoch": 3}, tmp_path / "m.ckpt")
    model = InternVideo.from_checkpoint(tmp_path / "m.ckpt")
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert not model.training
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_other_modules_of_the_wrapper_are_left_out(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    saved = {f"clip.{key}": value for key, value in weights.items()}
    torch.save({"state_dict": {**saved, "head.weight": torch.ones(3)}}, tmp_path / "m.ckpt")
    assert InternVideo.from_checkpoint(tmp_path / "m.ckpt").state_dict().keys() == weights.keys()


def test_half_precision_becomes_single(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save({key: value.half() for key, value in weights.items()}, tmp_path / "m.pth")
    model = InternVideo.from_checkpoint(tmp_path / "m.pth")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def break_weights(weights: dict[str, Tensor], how: str) -> None:
    block = "visual.transformer.resblocks.1.ln_1.weight"
    if how == "missing":
        del weights[block]
    elif how == "surplus":
        weights["visual.transformer.resblocks.1.ln_9.weight"] = torch.ones(3)
    elif how == "misshapen":
        weights[block] = torch.ones(3)
    elif how == "positions":
        weights["visual.positional_embedding"] = torch.ones(6, 128)
    elif how == "transposed":
        weights["visual.conv1.weight"] = torch.ones(128, 3, 16, 16)
    else:
        del weights[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"missing key visual\.transformer\.resblocks\.1\.ln_1\.weight$"),
        ("surplus", r"surplus key visual\.transformer\.resblocks\.1\.ln_9\.weight$"),
        ("misshapen", r"resblocks\.1\.ln_1\.weight \(expected \[128\], got \[3\]\)$"),
        ("positions", r"positional_embedding \(expected \[5, 128\], got \[6, 128\]\)"),
        ("transposed", r"misshapen key visual.conv1.weight \(expected an axis 4, got \[128"),
        ("visual.conv1.weight", r"missing key visual\.conv1\.weight$"),
        ("visual_proj", r"missing key visual_proj$"),
        ("logit_scale", r"missing key logit_scale$"),
        ("text_projection", r"missing key text_projection$"),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path, weights: dict[str, Tensor], how: str, message: str
) -> None:
    break_weights(weights, how)
    torch.save({"state_dict": weights}, tmp_path / "m.ckpt")
    with pytest.raises(vtcd_ops.InputError, match=message):
        InternVideo.from_checkpoint(tmp_path / "m.ckpt")


def test_pickle_that_needs_more_than_tensors(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    saved = {"state_dict": weights, "hyper_parameters": argparse.Namespace(lr=1)}
    torch.save(saved, tmp_path / "m.ckpt")
    with pytest.raises(vtcd_ops.InputError, match=r"a pickle that needs more than tensors"):
        InternVideo.from_checkpoint(tmp_path / "m.ckpt")


def test_what_the_weights_cannot_tell(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "m.pth")
    changes = {"t_size": 16, "visual": {"heads": 4, "return_list": [0, 2]}}
    model = InternVideo.from_checkpoint(tmp_path / "m.pth", changes)
    assert (model.config.t_size, model.config.visual.heads) == (16, 4)
    assert model.config.visual.return_list == (0, 2)


def test_folder(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    model = fill(InternVideo.from_config(SIZES))
    model.save(tmp_path / "single")
    model.save(tmp_path / "half", torch.float16)
    video, tokens = inputs(SIZES)
    with torch.no_grad():
        again = InternVideo.from_checkpoint(tmp_path / "single")
        assert torch.equal(again(video, tokens), model(video, tokens))
        half = InternVideo.from_checkpoint(tmp_path / "half")
        torch.testing.assert_close(half(video, tokens), model(video, tokens), rtol=0.1, atol=0.1)
    assert again.config == model.config


@pytest.mark.parametrize("text", ["", "[1]", '{"model_type": "videomae"}'])
def test_folder_of_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(vtcd_ops.InputError, match=r"config\.json"):
        InternVideo.from_checkpoint(tmp_path)


def test_conversion(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    """The command of the README, with a vocabulary that is longer than the model's."""
    torch.save({"state_dict": weights}, tmp_path / "m.ckpt")
    write_merges(
        tmp_path / "long.txt", ["b a", "l l</w>", "ba ll</w>", "c a", "ca n</w>", "i n", "x y"]
    )
    command = [sys.executable, "-m", "vtcd_internvideo.convert"]
    options: list[Any] = ["--vocabulary", tmp_path / "long.txt", "--t-size", "4"]
    done = subprocess.run(
        [*command, tmp_path / "m.ckpt", tmp_path / "out", *options], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    adapter = vtcd_ops.load_model(tmp_path / "out")
    assert adapter.num_frames == 4
    assert adapter.text_features(["ball", "can"]).shape == (2, 24)  # type: ignore[attr-defined]
    broken = subprocess.run(
        [*command, tmp_path / "none.ckpt", tmp_path / "out"], capture_output=True, text=True
    )
    assert broken.returncode == 2
    assert broken.stderr == f"from_checkpoint: file {tmp_path}/none.ckpt does not exist\n"
