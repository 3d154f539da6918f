"""DINOv2: parity and features on tiny random models, frame sizes, frames joined in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from vtcd_hf_dinov2 import Dinov2Adapter

import vtcd_ops
from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests

TINY: dict[str, Any] = {
    "image_size": 40,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.1,
}


class Dinov2Tests(AdapterTests):
    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        inside = [name for name in linears if f"layer.{layer}.attention." in name]
        role = {"queries": "q_proj", "keys": "k_proj", "values": "v_proj", "outputs": "o_proj"}[
            part
        ]
        (name,) = [name for name in inside if name.endswith(role)]
        flat = linears[name][0 if part == "outputs" else 1]
        num_prefix = flat.shape[1] - 24  # frames of 4 x 6 tokens
        return flat[:, num_prefix:].reshape(len(flat), 24, 4, 12).permute(0, 2, 1, 3)


class TestModel(Dinov2Tests):
    def make_adapter(self) -> Adapter:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
        return Dinov2Adapter(model.eval(), image_size="32x48")


class TestRegisters(Dinov2Tests):
    def make_adapter(self) -> Adapter:
        config = transformers.Dinov2WithRegistersConfig(**TINY, num_register_tokens=3)
        model = transformers.Dinov2WithRegistersModel(config)
        adapter = Dinov2Adapter(model.eval(), image_size=(32, 48))
        assert adapter.num_prefix_tokens == 4
        return adapter


class TestClassifier(Dinov2Tests):
    def make_adapter(self) -> Adapter:
        config = transformers.Dinov2Config(**TINY, num_labels=5)
        model = transformers.Dinov2ForImageClassification(config)
        return Dinov2Adapter(model.eval(), image_size="32x48", fit="crop")


def make_adapter() -> Dinov2Adapter:
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
    return Dinov2Adapter(model.eval(), image_size="32x48")


def test_frames_of_a_clip_are_joined_in_time() -> None:
    adapter = make_adapter()
    clips = torch.randn(2, 5, 3, 32, 48)
    keys = vtcd_ops.capture(adapter, clips)["keys"][1]
    assert adapter.grid_for(clips) == (5, 4, 6)
    assert keys.shape == (2, 4, 5 * 24, 12)
    for video in range(2):
        for frame in range(5):
            alone = vtcd_ops.capture(adapter, clips[video : video + 1, frame : frame + 1])
            place = slice(24 * frame, 24 * frame + 24)
            torch.testing.assert_close(keys[video, :, place], alone["keys"][1][0])


def test_any_frame_size_that_the_patch_divides() -> None:
    adapter = make_adapter()
    wide = torch.randn(1, 1, 3, 24, 96)
    assert vtcd_ops.capture(adapter, wide)["keys"][0].shape == (1, 4, 3 * 12, 12)
    with pytest.raises(vtcd_ops.InputError, match="multiples of 8, got"):
        vtcd_ops.capture(adapter, torch.randn(1, 1, 3, 24, 90))


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("size", [(48, 72), (20, 90), (90, 20), (32, 48)])
def test_preprocessing_size(fit: str, size: tuple[int, int]) -> None:
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
    adapter = Dinov2Adapter(model, image_size="32x48", fit=fit)
    frames = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    assert adapter.preprocess(frames).shape == (2, 3, 32, 48)


def test_crop_keeps_the_aspect_ratio() -> None:
    """A square in the middle stays a square; stretched, it becomes wide."""
    frames = torch.zeros(1, 100, 100, 3, dtype=torch.uint8)
    frames[:, 40:60, 40:60] = 255
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
    extent = {}
    for fit in ("crop", "stretch"):
        adapter = Dinov2Adapter(model, image_size="80x160", fit=fit)
        bright = adapter.display(adapter.preprocess(frames))[0, ..., 0] > 127
        extent[fit] = (int(bright.any(1).sum()), int(bright.any(0).sum()))
    assert extent == {"crop": (32, 32), "stretch": (16, 32)}


@pytest.mark.parametrize("image_size", [0, 30, -32, "32", "32x", "32x30", "axb", 2.5, (32,)])
def test_impossible_image_size(image_size: Any) -> None:
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
    with pytest.raises(vtcd_ops.InputError, match=r"image_size expected .* multiples of 8 pixels"):
        Dinov2Adapter(model, image_size=image_size)


def test_unknown_fit() -> None:
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
    with pytest.raises(vtcd_ops.InputError, match="fit expected 'stretch' or 'crop', got 'pad'"):
        Dinov2Adapter(model, image_size=32, fit="pad")


def test_checkpoint_and_options_in_the_name(tmp_path: Path) -> None:
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).eval()
    model.save_pretrained(tmp_path)
    adapter = vtcd_ops.load_model(f"{tmp_path}?image_size=48x32&fit=crop")
    assert adapter.name == f"hf_dinov2:{tmp_path}?image_size=48x32&fit=crop"
    assert adapter.token_grid == (1, 6, 4)
    again = vtcd_ops.load_model(adapter.name)
    assert (again.name, again.token_grid) == (adapter.name, adapter.token_grid)
    clips = torch.randn(1, 1, 3, 40, 40)
    expected = model(clips[0]).last_hidden_state
    assert torch.equal(adapter.forward(clips).last_hidden_state, expected)


def test_a_missing_mask_token_does_not_matter(tmp_path: Path) -> None:
    config = transformers.Dinov2Config(**TINY, use_mask_token=False)
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert '"use_mask_token": false' in text
    (tmp_path / "config.json").write_text(
        text.replace('"use_mask_token": false', '"use_mask_token": true')
    )
    assert isinstance(vtcd_ops.load_model(tmp_path, image_size=40), Dinov2Adapter)


def test_concepts_are_ranked_by_what_they_do_to_the_features(tmp_path: Path) -> None:
    """Without a classifier: 1 with nothing removed, and the cosine of the class tokens under it."""
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).eval()
    adapter = Dinov2Adapter(model, image_size="32x48")
    videos = [torch.randint(0, 255, (2, 40, 56, 3), dtype=torch.uint8).numpy() for _ in range(2)]
    run = vtcd_ops.discover(adapter, videos, out=tmp_path, num_frames=2, progress=False)
    found = vtcd_ops.rank(
        run, adapter, videos, method="occlusion", units="heads", dtype="float32", progress=False
    )
    assert found.settings["metric"] == "feature_similarity"
    assert found.tensors["baseline"] == pytest.approx(1)
    keep = torch.ones(1, 4, 1, 1)
    keep[:, 2] = 0  # every key of head 2 of layer 1
    cosines = []
    with torch.no_grad():
        for frame in run_frames(run, adapter, videos[0]):
            plain = adapter.model(frame).pooler_output[0]
            with vtcd_ops.edit(adapter, lambda part, layer, x: x * keep_grid(keep, x), layers=[1]):
                edited = adapter.model(frame).pooler_output[0]
            cosines.append(float(torch.nn.functional.cosine_similarity(plain, edited, dim=0)))
    unit = found.units.tolist().index([1, 2, -1])
    assert found.tensors["scores"][0, unit] == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)


def run_frames(run: Any, adapter: Dinov2Adapter, video: Any) -> list[Tensor]:
    """The frames that the run looked at, as the model wants them, one by one."""
    chosen = video[list(run.videos[0].frame_indices)]
    return [frame[None] for frame in adapter.preprocess(chosen)]


def keep_grid(keep: Tensor, features: Tensor) -> Tensor:
    """Leaves the class token of [B, A, 1+N, C] as it is."""
    kept = keep.expand(-1, -1, features.shape[2], 1).clone()
    kept[:, :, 0] = 1
    return kept
