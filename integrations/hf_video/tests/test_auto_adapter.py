"""`auto`: layouts that were worked out, against plain hooks and plain reshapes; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from vtcd_hf_video import wrap

import vtcd_ops
from vtcd_ops.adapters import InputError
from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests

pytestmark = pytest.mark.filterwarnings("ignore::vtcd_ops.adapters.InputWarning")

WIDTH: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
SEES = {**WIDTH, "image_size": 32, "patch_size": 8}
NAMES = {"queries": "q_proj", "keys": "k_proj", "values": "v_proj"}


def drawn(model: Any) -> Any:
    """Give every parameter a value of its own; some start at zero, which hides errors."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def flat_of(linears: dict[str, tuple[Tensor, Tensor]], block: str, part: str, out: str) -> Tensor:
    """Return [B', N', A*C] of a block whose projections are separate."""
    return (
        linears[f"{block}.{out}"][0] if part == "outputs" else linears[f"{block}.{NAMES[part]}"][1]
    )


def videoprism(**changes: Any) -> transformers.VideoPrismVisionConfig:
    return transformers.VideoPrismVisionConfig(
        **{
            **WIDTH,
            "image_size": 32,
            "tubelet_size": [1, 8, 8],
            "num_frames": 3,
            "num_spatial_layers": 2,
            "num_temporal_layers": 1,
            **changes,
        }
    )


class TestFactorised(AdapterTests):
    """VideoPrism: two layers over space, then one over time, in one adapter."""

    def make_adapter(self) -> Adapter:
        config = videoprism(num_labels=5)
        return wrap(drawn(transformers.VideoPrismForVideoClassification(config)))

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        stack, index = ("spatial", layer) if layer < 2 else ("temporal", 0)
        block = f"vision_model.{stack}_layers.{index}.attention"
        block = next(name for name in linears if name.startswith(block)).rpartition(".")[0]
        flat = flat_of(linears, block, part, "o_proj")
        if stack == "spatial":  # [B*3, 16, 32], frames in the batch
            tokens = flat.reshape(2, 3, 16, 4, 8).permute(0, 3, 1, 2, 4)
        else:  # [B*16, 3, 32], places in the batch
            tokens = flat.reshape(2, 16, 3, 4, 8).permute(0, 3, 2, 1, 4)
        return tokens.reshape(2, 4, 48, 8)


class TestTokensBehind(AdapterTests):
    """X-CLIP: frames in the batch, a class token in front and a message behind every frame."""

    def make_adapter(self) -> Adapter:
        config = transformers.XCLIPVisionConfig(**SEES, num_frames=3)
        adapter = wrap(drawn(transformers.XCLIPVisionModel(config)))
        assert adapter.num_prefix_tokens == 6
        return adapter

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        flat = flat_of(linears, f"encoder.layers.{layer}.self_attn", part, "out_proj")
        assert flat.shape == (6, 18, 32)
        return flat[:, 1:-1].reshape(2, 3, 16, 4, 8).permute(0, 3, 1, 2, 4).reshape(2, 4, 48, 8)


class TestWindows(AdapterTests):
    """Qwen2.5-VL: one row of the patches of all clips, merged ones together, window by window."""

    def make_adapter(self) -> Adapter:
        config = transformers.Qwen2_5_VLVisionConfig(
            depth=2, num_heads=4, hidden_size=32, intermediate_size=64, out_hidden_size=32,
            patch_size=4, spatial_merge_size=2, window_size=16, fullatt_block_indexes=[1],
        )  # fmt: skip
        module = transformers.models.qwen2_5_vl.modeling_qwen2_5_vl
        model = drawn(module.Qwen2_5_VisionTransformerPretrainedModel(config))
        adapter = wrap(model, num_frames=4, image_size="32x48")
        assert adapter.token_grid == (2, 8, 12)
        return adapter

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        if part == "outputs":
            flat = linears[f"blocks.{layer}.attn.proj"][0]
        else:
            index = ("queries", "keys", "values").index(part)
            flat = linears[f"blocks.{layer}.attn.qkv"][1][:, 32 * index : 32 * index + 32]
        found = torch.empty(2, 4, 2, 8, 12, 8)
        place = 0
        for clip in range(2):  # windows of 2 x 2 merged patches, each 2 x 2 patches
            for t in range(2):
                for top in (0, 4):
                    for left in (0, 4, 8):
                        for y in range(0, 4, 2):
                            for x in range(0, 4, 2):
                                for h in (top + y, top + y + 1):
                                    for w in (left + x, left + x + 1):
                                        found[clip, :, t, h, w] = flat[place].view(4, 8)
                                        place += 1
        return found.flatten(2, 4)


def test_rotated_keys_are_taken_before_the_rotation() -> None:
    """The same patch everywhere gives the same key everywhere, as nothing tells places apart."""
    config = transformers.DINOv3ViTConfig(**SEES, num_register_tokens=2)
    adapter = wrap(drawn(transformers.DINOv3ViTModel(config)))
    patch = torch.randn(1, 1, 3, 8, 8).repeat(1, 2, 1, 4, 4)
    keys = vtcd_ops.capture(adapter, patch, layers=[0])["keys"][0]
    assert keys.shape == (1, 4, 32, 8)
    torch.testing.assert_close(keys, keys[:, :, :1].expand_as(keys))
    assert adapter.num_prefix_tokens == 3


def test_a_stage_of_a_hierarchical_model() -> None:
    """Swin's windows, shifted ones too, are found; its stages are told apart by their grid."""
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    model = drawn(transformers.SwinModel(config))
    with pytest.raises(InputError, match=r"2 layers of 16x16 tokens, 2 heads of 8 .* 8x8 tokens"):
        wrap(model)
    adapter: Any = wrap(model, grid="8x8")
    assert (adapter.num_layers, adapter.num_heads, adapter.token_grid) == (2, 4, (1, 8, 8))
    clips = torch.randn(1, 1, 3, 32, 32)
    seen: list[Tensor] = []
    name = "encoder.layers.1.blocks.1.attention.v_proj"
    handle = model.get_submodule(name).register_forward_hook(lambda *args: seen.append(args[2]))
    values = vtcd_ops.capture(adapter, clips, layers=[1], parts=("values",))["values"][1]
    handle.remove()
    windows = seen[0].view(2, 2, 4, 4, 4, 8)  # rows and columns of windows, in them, heads
    plane = windows.permute(0, 2, 1, 3, 4, 5).reshape(8, 8, 4, 8)
    plane = plane.roll((2, 2), (0, 1))  # the shift by half a window, undone
    torch.testing.assert_close(values[0], plane.flatten(0, 1).transpose(0, 1), rtol=0, atol=0)


def test_from_a_folder(tmp_path: Path) -> None:
    """Of a model of vision and language the part that sees is taken, all weights fitting."""
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SEES),
        text_config=transformers.LlamaConfig(**WIDTH, vocab_size=64, pad_token_id=0),
    )
    model = drawn(transformers.LlavaForConditionalGeneration(config))
    model.save_pretrained(tmp_path)
    colours = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(colours))
    family = transformers_family()
    adapter: Any = family.from_name(str(tmp_path))
    assert adapter.name == f"auto:{tmp_path}"
    assert adapter.frames.mean == (0.4, 0.5, 0.6)
    clips = torch.randn(1, 2, 3, 32, 32)
    keys = vtcd_ops.capture(adapter, clips, layers=[1])["keys"][1]
    tower = model.model.vision_tower
    seen: list[Tensor] = []
    [name] = [
        name for name, _ in tower.named_modules() if name.endswith("layers.1.self_attn.k_proj")
    ]
    tower.get_submodule(name).register_forward_hook(lambda *args: seen.append(args[2]))
    tower(clips[0])
    expected = seen[0][:, 1:].reshape(2, 16, 4, 8).permute(2, 0, 1, 3).reshape(4, 32, 8)
    torch.testing.assert_close(keys[0], expected)
    shape = (4, 48, 64, 3)
    videos = [np.random.default_rng(seed).integers(0, 256, shape, np.uint8) for seed in (0, 1)]
    run = vtcd_ops.discover(adapter, videos, layers=[0], heads=[0], out=tmp_path / "run")
    assert run.model["name"] == adapter.name


def transformers_family() -> Any:
    from vtcd_hf_video import AutoAdapter

    return AutoAdapter


def test_concepts_of_a_factorised_model_are_ranked(tmp_path: Path) -> None:
    """A masked concept of any layer reaches the answer through the same interface."""
    config = videoprism(num_labels=5)
    adapter = wrap(drawn(transformers.VideoPrismForVideoClassification(config)))
    shape = (3, 48, 64, 3)
    videos = [
        vtcd_ops.Sample(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), label=1)
        for seed in (0, 1)
    ]
    run = vtcd_ops.discover(adapter, videos, out=tmp_path / "run", progress=False)
    ask: dict[str, Any] = {"method": "occlusion", "units": "heads", "part": "keys"}
    found = vtcd_ops.rank(
        run, adapter, videos, metric="logit", dtype="float32", progress=False, **ask
    )
    assert sorted({layer for layer, _, _ in found.units.tolist()}) == [0, 1, 2]
    clip = adapter.preprocess(videos[1].video)[None]
    keep = torch.ones(1, 4, 1, 1)
    keep[:, 2] = 0
    for layer in (0, 2):  # over space and over time
        with torch.no_grad():
            stack = adapter.model.vision_model
            block = (*stack.spatial_layers, *stack.temporal_layers)[layer].attention
            block = getattr(block, "attention", block)
            handle = block.k_proj.register_forward_hook(
                lambda module, args, out: (
                    out.view(*out.shape[:2], 4, 8).mul(keep.view(4, 1)).flatten(2)
                )
            )
            expected = float(adapter.model(clip).logits[0, 0, 1])
            handle.remove()
        unit = found.units.tolist().index([layer, 2, -1])
        assert found.tensors["scores"][1, unit] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: transformers.TimesformerModel(
                transformers.TimesformerConfig(**SEES, num_frames=3)
            ),
            "TimesformerModel does not compute its attention through transformers'",
        ),
        (
            lambda: transformers.LlamaModel(
                transformers.LlamaConfig(**WIDTH, vocab_size=64, pad_token_id=0)
            ),
            "a part of one that runs on frames alone, got LlamaModel: no part of it takes pixels",
        ),
    ],
    ids=["no interface", "no pixels"],
)
def test_what_cannot_be_taken(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrap(drawn(make()))


def test_tokens_that_hear_of_each_other_outside_attention() -> None:
    """A convolution over tokens: no token stands for a patch, and this is said."""

    class Mixing(transformers.ViTModel):
        def forward(self, pixel_values: Tensor, **kwargs: Any) -> Any:
            mixed = torch.nn.functional.avg_pool2d(pixel_values, 3, stride=1, padding=1)
            return super().forward(mixed, **kwargs)

    with pytest.raises(InputError, match=r"sees 1x10x9 pixels, which do not divide .*overlap"):
        wrap(drawn(Mixing(transformers.ViTConfig(**SEES), add_pooling_layer=False)))


def test_weights_of_another_generation_are_named(tmp_path: Path) -> None:
    """V-JEPA 2.1 in the form of 2.0: what it has more is no mere surplus."""
    config = transformers.VJEPA2Config(
        crop_size=32, patch_size=8, frames_per_clip=4, hidden_size=48, num_hidden_layers=1,
        num_attention_heads=2, pred_hidden_size=48, pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )  # fmt: skip
    model = transformers.VJEPA2Model(config)
    state = {**model.state_dict(), "encoder.embeddings.img_mod_embed": torch.zeros(1, 1, 48)}
    model.save_pretrained(tmp_path, state_dict=state)
    for family in (transformers_family().from_name, vtcd_ops.load_model):
        with pytest.raises(InputError, match=r"holds V-JEPA 2\.1, which transformers .*img_mod"):
            family(str(tmp_path))
    entries = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**entries, "interpolate_rope": True}))
    with pytest.raises(InputError, match=r"V-JEPA 2\.1.*its configuration has interpolate_rope"):
        vtcd_ops.load_model(tmp_path)


CODE = """
from transformers import ViTConfig, ViTModel
class OwnConfig(ViTConfig):
    model_type = "own_vit"
class OwnModel(ViTModel):
    config_class = OwnConfig
"""


def test_code_of_a_checkpoint_runs_only_when_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache")
    )
    folder = tmp_path / "own"
    model = drawn(transformers.ViTModel(transformers.ViTConfig(**SEES)))
    model.config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    (folder / "own_model.py").write_text(CODE)
    entries = json.loads((folder / "config.json").read_text())
    named = {"AutoConfig": "own_model.OwnConfig", "AutoModel": "own_model.OwnModel"}
    entries |= {"model_type": "own_vit", "auto_map": named, "architectures": ["OwnModel"]}
    (folder / "config.json").write_text(json.dumps(entries))
    family = transformers_family()
    with pytest.raises(
        InputError, match=r"'own_vit', which transformers .* trust_remote_code=true"
    ):
        family.from_name(str(folder))
    adapter = family.from_name(str(folder), trust_remote_code=True)
    assert type(adapter.model).__name__ == "OwnModel"
    assert adapter.name.endswith("?trust_remote_code=true")
    keys = vtcd_ops.capture(adapter, torch.rand(1, 1, 3, 32, 32))["keys"][1]
    assert keys.shape == (1, 4, 16, 8)
