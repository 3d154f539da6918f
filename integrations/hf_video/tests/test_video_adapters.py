"""ViViT, V-JEPA 2 and TimeSformer: parity and features on tiny random models, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from vtcd_hf_video import TimesformerAdapter, VivitAdapter, VJEPA2Adapter

import vtcd_ops
from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests

# Three different sides of the token grid, so that no two can be mistaken for each other.
TINY: dict[str, Any] = {
    "image_size": [32, 40],
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.1,
}


def trained(model: Any) -> Any:
    """Give every parameter a value of its own; some start at zero, which hides errors."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def linear(linears: dict[str, tuple[Tensor, Tensor]], *parts: str) -> tuple[Tensor, Tensor]:
    (name,) = [name for name in linears if all(part in name for part in parts)]
    return linears[name]


def vivit_config(**changes: Any) -> transformers.VivitConfig:
    return transformers.VivitConfig(num_frames=6, tubelet_size=[2, 8, 8], **{**TINY, **changes})


class VivitTests(AdapterTests):
    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        role = {"queries": "q_proj", "keys": "k_proj", "values": "v_proj", "outputs": "o_proj"}[
            part
        ]
        flat = linear(linears, f"layers.{layer}.attention", role)[0 if part == "outputs" else 1]
        return flat[:, 1:].reshape(len(flat), 3 * 4 * 5, 4, 12).permute(0, 2, 1, 3)


class TestVivit(VivitTests):
    def make_adapter(self) -> Adapter:
        return VivitAdapter(trained(transformers.VivitModel(vivit_config())))


class TestVivitClassifier(VivitTests):
    def make_adapter(self) -> Adapter:
        model = transformers.VivitForVideoClassification(vivit_config(num_labels=5))
        return VivitAdapter(trained(model))


def vjepa2_config() -> transformers.VJEPA2Config:
    return transformers.VJEPA2Config(
        crop_size=32,
        patch_size=8,
        frames_per_clip=6,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        drop_path_rate=0.1,
        pred_hidden_size=48,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=2,  # as many as the encoder, which must not be mistaken for it
        num_pooler_layers=2,
        num_labels=5,
        initializer_range=0.2,
    )


class VJEPA2Tests(AdapterTests):
    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        role = {"queries": "query", "keys": "key", "values": "value", "outputs": "proj"}[part]
        name = f"encoder.layer.{layer}.attention.{role}"
        flat = linear(linears, name)[0 if part == "outputs" else 1]
        return flat.reshape(len(flat), 3 * 4 * 4, 2, 24).permute(0, 2, 1, 3)


class TestVJEPA2(VJEPA2Tests):
    def make_adapter(self) -> Adapter:
        return VJEPA2Adapter(trained(transformers.VJEPA2Model(vjepa2_config())))

    def test_predictor_is_not_run(self) -> None:
        adapter = self.make_adapter()
        adapter.model.predictor = None
        assert adapter.forward(self.clips(adapter)).last_hidden_state.shape == (2, 48, 48)

    def test_rotation_comes_after_the_keys(self) -> None:
        """The same patch everywhere gives the same key everywhere."""
        adapter = self.make_adapter()
        patch = torch.randn(1, 2, 3, 8, 8).repeat(1, 3, 1, 4, 4)
        keys = vtcd_ops.capture(adapter, patch, layers=[0])["keys"][0]
        torch.testing.assert_close(keys, keys[:, :, :1].expand_as(keys))

    def test_other_numbers_of_frames(self) -> None:
        model = trained(transformers.VJEPA2Model(vjepa2_config()))
        adapter = VJEPA2Adapter(model, num_frames=10)
        assert adapter.token_grid == (5, 4, 4)
        keys = vtcd_ops.capture(adapter, torch.randn(1, 10, 3, 32, 32))["keys"][1]
        assert keys.shape == (1, 2, 80, 24)
        with pytest.raises(vtcd_ops.InputError, match="num_frames expected a multiple of 2, got 5"):
            VJEPA2Adapter(model, num_frames=5)


class TestVJEPA2Classifier(VJEPA2Tests):
    def make_adapter(self) -> Adapter:
        return VJEPA2Adapter(trained(transformers.VJEPA2ForVideoClassification(vjepa2_config())))


def timesformer_config(attention_type: str, **changes: Any) -> transformers.TimesformerConfig:
    return transformers.TimesformerConfig(
        **{
            **TINY,
            "image_size": 32,  # the model asks for a square
            "patch_size": 8,
            "num_frames": 3,
            "attention_type": attention_type,
            **changes,
        }
    )


#: What published models were trained with; without it the adapter warns.
COLOURS = {"image_mean": [0.45] * 3, "image_std": [0.225] * 3}


def timesformer(model: Any, **options: str) -> TimesformerAdapter:
    return TimesformerAdapter(model, preprocessor_config=COLOURS, **options)


class TimesformerTests(AdapterTests):
    attention = "attention."

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        prefix = f"encoder.layer.{layer}.{self.attention}"
        if part == "outputs":
            flat = linear(linears, prefix, "output.dense")[0]
        else:
            index = ("queries", "keys", "values").index(part)
            flat = linear(linears, prefix, "qkv")[1][..., 48 * index : 48 * index + 48]
        return self.arrange(flat.reshape(*flat.shape[:2], 4, 12))

    def arrange(self, rows: Tensor) -> Tensor:
        """[B', N', A, C] to [B, A, t*h*w, C], one token at a time."""
        found = torch.empty(2, 4, 3 * 4 * 4, 12)
        for batch in range(2):
            for token in range(3 * 4 * 4):
                t, h, w = token // 16, token % 16 // 4, token % 4
                found[batch, :, token] = self.token(rows, batch, t, h, w)
        return found

    def token(self, rows: Tensor, batch: int, t: int, h: int, w: int) -> Tensor:
        return rows[batch * 3 + t, 1 + h * 4 + w]


class TestSpatial(TimesformerTests):
    def make_adapter(self) -> Adapter:
        model = transformers.TimesformerModel(timesformer_config("divided_space_time"))
        adapter = timesformer(trained(model))
        assert adapter.num_prefix_tokens == 3  # the class token, once a frame
        return adapter


class TestSpatialClassifier(TimesformerTests):
    def make_adapter(self) -> Adapter:
        config = timesformer_config("divided_space_time", num_labels=5)
        return timesformer(trained(transformers.TimesformerForVideoClassification(config)))


class TestTemporal(TimesformerTests):
    attention = "temporal_attention."

    def make_adapter(self) -> Adapter:
        model = transformers.TimesformerModel(timesformer_config("divided_space_time"))
        return timesformer(trained(model), attention="temporal")

    def token(self, rows: Tensor, batch: int, t: int, h: int, w: int) -> Tensor:
        return rows[(batch * 4 + h) * 4 + w, t]


class TestJoint(TimesformerTests):
    def make_adapter(self) -> Adapter:
        model = transformers.TimesformerModel(timesformer_config("joint_space_time"))
        return timesformer(trained(model))

    def token(self, rows: Tensor, batch: int, t: int, h: int, w: int) -> Tensor:
        return rows[batch, 1 + (h * 4 + w) * 3 + t]


class TestSpaceOnly(TimesformerTests):
    def make_adapter(self) -> Adapter:
        model = transformers.TimesformerModel(timesformer_config("space_only"))
        return timesformer(trained(model))


def test_timesformer_options() -> None:
    model = transformers.TimesformerModel(timesformer_config("space_only"))
    with pytest.raises(vtcd_ops.InputError, match="is not divided has no temporal attention"):
        TimesformerAdapter(model, attention="temporal")
    with pytest.raises(vtcd_ops.InputError, match="'spatial' or 'temporal', got 'diagonal'"):
        TimesformerAdapter(model, attention="diagonal")


@pytest.mark.parametrize(
    ("model", "family", "option"),
    [
        (lambda: transformers.VivitModel(vivit_config()), "hf_vivit", ""),
        (lambda: transformers.VJEPA2Model(vjepa2_config()), "hf_vjepa2", "?num_frames=4"),
        (
            lambda: transformers.TimesformerModel(timesformer_config("divided_space_time")),
            "hf_timesformer",
            "?attention=temporal",
        ),
    ],
    ids=["vivit", "vjepa2", "timesformer"],
)
def test_checkpoint(tmp_path: Path, model: Any, family: str, option: str) -> None:
    saved = trained(model())
    saved.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(COLOURS))
    adapter = vtcd_ops.load_model(f"{tmp_path}{option}")
    assert adapter.name == f"{family}:{tmp_path}{option}"
    clips = torch.randn(1, adapter.num_frames, 3, *adapter.frames.size)
    with torch.no_grad():
        expected = (
            type(adapter)(saved, preprocessor_config=COLOURS).forward(clips).last_hidden_state
        )
        assert torch.equal(adapter.forward(clips).last_hidden_state, expected)


def test_vivit_colours_follow_its_image_processor() -> None:
    config = vivit_config(image_size=32)
    adapter = VivitAdapter(transformers.VivitModel(config))
    processor = transformers.VivitImageProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    )
    frames = np.random.default_rng(0).integers(0, 256, (6, 60, 80, 3), dtype=np.uint8)
    expected = torch.from_numpy(
        np.stack(processor(list(frames), return_tensors="np")["pixel_values"][0])
    )
    grey_level = 1 / 127.5 / 0.5
    difference = (adapter.preprocess(frames) - expected).abs()
    assert float(difference.max()) <= 1.01 * grey_level
    assert float(difference.mean()) <= 0.02 * grey_level


@pytest.mark.parametrize(
    ("family", "model"),
    [
        (VivitAdapter, lambda: transformers.VivitModel(vivit_config())),
        (VJEPA2Adapter, lambda: transformers.VJEPA2Model(vjepa2_config())),
        (
            TimesformerAdapter,
            lambda: transformers.TimesformerModel(timesformer_config("space_only")),
        ),
    ],
    ids=["vivit", "vjepa2", "timesformer"],
)
def test_frames_of_another_size_are_refused(family: Any, model: Any) -> None:
    message = r"gives frames of 16x24, expected the model's \d+x\d+"
    with pytest.raises(vtcd_ops.InputError, match=message):
        family(model(), preprocessor_config={"size": {"height": 16, "width": 24}, **COLOURS})


@pytest.mark.parametrize("kind", ["vjepa2", "vivit"])
def test_encoders_without_a_head_are_ranked(tmp_path: Path, kind: str) -> None:
    """By the similarity of their features; of V-JEPA 2 the mean over the tokens."""
    adapter: Adapter = (
        VJEPA2Adapter(trained(transformers.VJEPA2Model(vjepa2_config())))
        if kind == "vjepa2"
        else VivitAdapter(trained(transformers.VivitModel(vivit_config())))
    )
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 255, (6, 40, 48, 3)).astype(np.uint8) for _ in range(2)]
    run = vtcd_ops.discover(adapter, videos, out=tmp_path, progress=False)
    ask: dict[str, Any] = {"method": "occlusion", "units": "heads", "part": "outputs"}
    found = vtcd_ops.rank(run, adapter, videos, dtype="float32", progress=False, **ask)
    assert found.settings["metric"] == "feature_similarity"
    assert found.tensors["baseline"] == pytest.approx(1)
    assert (found.value > 0).all()
    if kind == "vivit":
        return
    clip = adapter.preprocess(videos[1])[None]
    keep = torch.ones(1, 2, 1, 1)
    keep[:, 0] = 0
    with torch.no_grad():
        plain = adapter.forward(clip).last_hidden_state
        with vtcd_ops.edit(
            adapter, lambda part, layer, x: x * keep, layers=[1], parts=("outputs",)
        ):
            edited = adapter.forward(clip).last_hidden_state
    expected = float(torch.nn.functional.cosine_similarity(plain, edited, dim=-1).mean())
    unit = found.units.tolist().index([1, 0, -1])
    assert found.tensors["scores"][1, unit] == pytest.approx(expected, abs=1e-5)
