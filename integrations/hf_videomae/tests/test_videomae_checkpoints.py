"""VideoMAE's own checkpoints: upstream's numbers, published names, what does not fit is named."""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from vtcd_hf_videomae import VideoMAEAdapter, from_checkpoint

import vtcd_ops

GOLDEN = Path(__file__).parent / "golden"
UPSTREAM = json.loads((GOLDEN / "upstream.json").read_text())["cases"]
PUBLISHED = json.loads((GOLDEN / "published_keys.json").read_text())
SMALL = {"image_size": 32, "num_frames": 6}


def random_weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Every parameter random, the same on every machine."""
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        values = 0.1 * rng.standard_normal(shape)
        if len(shape) == 1 and name.endswith("weight"):
            values += 1
        weights[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return weights


def clip(frames: int) -> Tensor:
    rng = np.random.default_rng(frames)
    return torch.from_numpy(rng.standard_normal((1, frames, 3, 32, 32), dtype=np.float32))


def saved(path: Path, case: str, container: str = "module") -> Path:
    torch.save({container: random_weights(UPSTREAM[case]["shapes"]), "epoch": 3}, path)
    return path


@pytest.mark.parametrize("case", ["mean_pooled", "first_token", "fused_biases"])
def test_logits_are_upstream_s(tmp_path: Path, case: str) -> None:
    model = from_checkpoint(saved(tmp_path / "m.pth", case), **SMALL)
    assert isinstance(model, transformers.VideoMAEForVideoClassification)
    with torch.no_grad():
        logits = model(clip(6)).logits
    expected = torch.tensor(UPSTREAM[case]["output"])
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_reconstruction_is_upstream_s(tmp_path: Path) -> None:
    model = from_checkpoint(saved(tmp_path / "m.pth", "pre_training", "model"), image_size=32)
    assert isinstance(model, transformers.VideoMAEForPreTraining)
    masked = (torch.arange(128) % 4 != 0)[None]
    with torch.no_grad():
        pixels = model(clip(16), bool_masked_pos=masked).logits[:, ::7, ::31]
    expected = torch.tensor(UPSTREAM["pre_training"]["output"])
    torch.testing.assert_close(pixels, expected, rtol=1e-5, atol=1e-5)


def test_keys_with_biases_are_upstream_s(tmp_path: Path) -> None:
    """A softmax does not see them, but whoever captures keys does."""
    path = saved(tmp_path / "m.pth", "fused_biases")
    adapter = VideoMAEAdapter(from_checkpoint(path, **SMALL))
    keys = vtcd_ops.capture(adapter, clip(6), layers=[0])["keys"][0][0, :, ::5, ::9]
    expected = torch.tensor(UPSTREAM["fused_biases"]["keys"])
    torch.testing.assert_close(keys, expected, rtol=1e-5, atol=1e-5)


def test_every_norm_is_upstream_s(tmp_path: Path) -> None:
    for case in ("mean_pooled", "first_token", "pre_training"):
        model = from_checkpoint(saved(tmp_path / "m.pth", case), image_size=32)
        norms = [m.eps for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
        assert set(norms) == {1e-6}


@pytest.mark.parametrize("name", ["ft_ssv2_B16", "pretrain_B16"])
def test_published_names_and_shapes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At full size, of one number each, so that it takes no memory to save."""
    entry = PUBLISHED[name]
    state = {key: torch.zeros(1).expand(shape) for key, shape in entry["keys"].items()}
    torch.save({entry["container"]: state}, tmp_path / "m.pth")
    assert (tmp_path / "m.pth").stat().st_size < 1e6
    config = from_checkpoint(tmp_path / "m.pth").config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (
        768, 12, 12,
    )  # fmt: skip
    if name == "ft_ssv2_B16":
        assert config.num_labels == 174
    else:
        assert (config.decoder_hidden_size, config.decoder_num_attention_heads) == (384, 6)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("blocks.1.norm2.bias", None, r"missing key blocks\.1\.norm2\.bias$"),
        ("blocks.1.attn.q_bias", None, r"missing key blocks\.1\.attn\.q_bias$"),
        ("blocks.1.gamma_1", torch.ones(128), r"surplus key blocks\.1\.gamma_1$"),
        ("head.bias", torch.ones(6), r"misshapen key head\.bias \(expected \[5\], got \[6\]\)$"),
        ("patch_embed.proj.weight", None, r"missing key patch_embed\.proj\.weight$"),
        ("head.weight", torch.ones(5), r"misshapen key head\.weight \(expected 2 axes"),
        (
            "blocks.0.attn.qkv.weight",
            torch.ones(128, 128),
            r"blocks\.0\.attn\.qkv\.weight \(expected \[384, 128\], got \[128, 128\]\)$",
        ),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path, key: str, value: Tensor | None, message: str
) -> None:
    """Named as they are in the file."""
    state = random_weights(UPSTREAM["mean_pooled"]["shapes"])
    if value is None:
        del state[key]
    else:
        state[key] = value
    torch.save({"model": state}, tmp_path / "m.pth")
    with pytest.raises(vtcd_ops.InputError, match=message):
        from_checkpoint(tmp_path / "m.pth", **SMALL)


def test_pickle_that_needs_more_than_tensors(tmp_path: Path) -> None:
    state = random_weights(UPSTREAM["mean_pooled"]["shapes"])
    torch.save({"model": state, "args": argparse.Namespace(lr=1)}, tmp_path / "m.pth")
    with pytest.raises(vtcd_ops.InputError, match="a pickle that needs more than tensors"):
        vtcd_ops.load_model(f"hf_videomae:{tmp_path}/m.pth")


def test_load_model_takes_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pth", "mean_pooled")
    adapter: Any = vtcd_ops.load_model(f"hf_videomae:{path}?image_size=32&num_frames=6")
    assert adapter.name == f"hf_videomae:{path}?image_size=32&num_frames=6"
    assert adapter.token_grid == (3, 4, 4)
    expected = torch.tensor(UPSTREAM["mean_pooled"]["output"])
    torch.testing.assert_close(adapter.predict(clip(6))["logits"], expected, rtol=1e-5, atol=1e-5)
    half = vtcd_ops.load_model(adapter.name, dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16


def test_sizes_for_what_is_no_file() -> None:
    with pytest.raises(vtcd_ops.InputError, match=r"with a \.pth file alone, and mini-ssl is none"):
        vtcd_ops.load_model("hf_videomae:mini-ssl?num_frames=8")
