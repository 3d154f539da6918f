"""The adapter: parity and features on tiny random models, texts, preprocessing, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from internvideo_models import config, fill
from torch import Tensor
from torch.nn import functional
from vtcd_internvideo import InternVideo, InternVideoAdapter, Tokenizer
from vtcd_internvideo.tokenizer import write_merges

import vtcd_ops
from vtcd_ops.adapters.adapter import PARTS, Adapter
from vtcd_ops.adapters.testkit import AdapterTests

MERGES = ["b a", "l l</w>", "ba ll</w>", "c a", "ca n</w>"]
CLASSES = {"roll": ["ball", "a ball"], "stand": ["can"]}
TINY = config(3, (40, 8, 48, 3, 4, 24), ([1, 2], 4), (24, 12, 514 + len(MERGES), 32, 4, 2))


def tiny_model() -> InternVideo:
    model: InternVideo = fill(InternVideo.from_config(TINY))
    model.tokenizer = Tokenizer.from_merges(MERGES, 12)
    return model


class TestInternVideo(AdapterTests):
    def make_adapter(self) -> Adapter:
        return InternVideoAdapter(tiny_model())

    def plain_features(self, adapter: Any, linears: Any, site: Any) -> Tensor:
        raise AssertionError("the queries, keys and values come from no linear module")

    def test_features_are_what_plain_hooks_see(self) -> None:
        """What the norm before an attention hands on, projected with the weights as published."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        seen: dict[Any, Tensor] = {}
        handles = []
        for layer, block in enumerate(adapter.model.visual.transformer.resblocks):

            def project(module: Any, args: Any, normed: Tensor, layer: int = layer) -> None:
                attention = adapter.model.visual.transformer.resblocks[layer].attn
                flat = functional.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
                for part, third in zip(PARTS, flat.chunk(3, dim=-1), strict=False):
                    seen[part, layer] = third

            def keep(module: Any, args: Any, layer: int = layer) -> None:
                seen["outputs", layer] = args[0]

            handles.append(block.ln_1.register_forward_hook(project))
            handles.append(block.attn.out_proj.register_forward_pre_hook(keep))
        with torch.no_grad():
            adapter.forward(clips)
        for handle in handles:
            handle.remove()
        features = vtcd_ops.capture(adapter, clips, parts=PARTS)
        for (part, layer), flat in seen.items():
            tokens = flat[:, 1:].reshape(2, 3 * 25, 4, 12).transpose(1, 2)  # frames in the batch
            assert torch.equal(features[part][layer], tokens)

    def test_token_layout(self) -> None:
        """Frame by frame, each with its class token, which `capture` drops and `edit` shows."""
        adapter = self.make_adapter()
        assert adapter.token_grid == (3, 5, 5)
        assert adapter.num_prefix_tokens == 3
        shapes = []

        def see(part: str, layer: int, features: Tensor) -> Tensor:
            shapes.append(tuple(features.shape))
            return features

        with vtcd_ops.edit(adapter, see, layers=[0]):
            adapter.forward(self.clips(adapter))
        assert shapes == [(2, 4, 3 + 75, 12)]

    def test_frames_are_seen_alone_until_the_decoder(self) -> None:
        """Keys of a frame do not depend on the others, the video's feature does."""
        adapter = self.make_adapter()
        clips = self.clips(adapter, batch=1)
        other = clips.clone()
        other[:, 2] = -other[:, 2]
        keys = [vtcd_ops.capture(adapter, each)["keys"][2] for each in (clips, other)]
        assert torch.equal(keys[0][:, :, :50], keys[1][:, :, :50])
        assert not torch.equal(keys[0][:, :, 50:], keys[1][:, :, 50:])
        assert not torch.equal(adapter.forward(clips), adapter.forward(clips.flip(1)))


class TestZeroShot(TestInternVideo):
    def make_adapter(self) -> Adapter:
        return InternVideoAdapter(tiny_model(), classes=CLASSES)


def clips(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def test_prediction_is_the_normalised_feature() -> None:
    adapter = InternVideoAdapter(tiny_model())
    features = adapter.predict(clips())["video_features"]
    plain = adapter.model.encode_video(clips().transpose(1, 2))
    torch.testing.assert_close(features, plain / plain.norm(dim=-1, keepdim=True))
    texts = adapter.text_features(["a ball", "can"])
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(2))
    score = adapter.model.score(clips().transpose(1, 2), ["a ball", "can"])
    torch.testing.assert_close(features @ texts.T, score)
    assert adapter.metrics == ("dot_product",)


def test_classes() -> None:
    """The mean of the texts of a class; labels by name."""
    adapter = InternVideoAdapter(tiny_model(), classes=CLASSES)
    answer = adapter.predict(clips())
    assert adapter.class_names == ("roll", "stand")
    assert adapter.metrics == ("dot_product", "accuracy")
    mean = adapter.text_features(["ball", "a ball"]).mean(0)
    expected = answer["video_features"] @ (mean / mean.norm()) / 0.07
    scale = adapter.model.logit_scale.exp() * 0.07
    torch.testing.assert_close(answer["logits"][:, 0], expected * scale)


def test_class_features_follow_the_weights() -> None:
    adapter = InternVideoAdapter(tiny_model(), classes=CLASSES)
    before = adapter.class_features()
    assert adapter.class_features() is before
    control = vtcd_ops.randomize_weights(adapter, seed=1)
    assert not torch.equal(control.class_features(), before)  # type: ignore[attr-defined]
    with torch.no_grad():
        adapter.model.text_projection.mul_(-1)
    torch.testing.assert_close(adapter.class_features(), -before)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "classes expected for zero-shot classification, got none"),
        ({"roll": []}, "a list of texts for each name, got none for roll"),
        ({"roll": "ball"}, "a list of texts for each name, got none for roll"),
    ],
)
def test_classes_that_are_none(classes: Any, message: str) -> None:
    with pytest.raises(vtcd_ops.InputError, match=message):
        InternVideoAdapter(tiny_model(), classes=classes).class_features()


def test_frames_are_cut_and_normalised_as_upstream_does() -> None:
    """The shorter side to 256/224 of the model's, the middle, CLIP's colours."""
    adapter = InternVideoAdapter(tiny_model())
    assert adapter.frames.shortest_edge == round(40 * 256 / 224)
    frames = np.full((3, 60, 80, 3), (10, 100, 200), dtype=np.uint8)
    clip = adapter.preprocess(frames)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = (torch.tensor([10, 100, 200]) / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(clip, expected.view(1, 3, 1, 1).expand(3, 3, 40, 40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save(tmp_path / "model")
    write_merges(tmp_path / "model/merges.txt", MERGES)
    return tmp_path / "model"


def test_folder(folder: Path) -> None:
    """Found by its model type, with the vocabulary, classes and sampling beside the weights."""
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    (folder / "preprocessor_config.json").write_text('{"crop_size": 40, "sampling_rate": 2}')
    adapter = vtcd_ops.load_model(folder)
    assert isinstance(adapter, InternVideoAdapter)
    assert adapter.name == f"internvideo:{folder}"
    assert adapter.sampling_rate == 2
    plain = InternVideoAdapter(tiny_model(), classes=CLASSES)
    again = vtcd_ops.load_model(adapter.name)
    for name, value in plain.predict(clips()).items():
        assert torch.equal(adapter.predict(clips())[name], value)
        assert torch.equal(again.predict(clips())[name], value)


def test_options(folder: Path, tmp_path: Path) -> None:
    write_merges(tmp_path / "other.txt", ["x y", *MERGES[:-1]])
    name = f"internvideo:{folder}?dtype=bfloat16&vocabulary={tmp_path}/other.txt"
    adapter = vtcd_ops.load_model(name)
    assert isinstance(adapter, InternVideoAdapter)
    assert adapter.model.visual_proj.dtype == torch.bfloat16
    assert adapter.model.tokenizer is not None
    assert int(adapter.model.tokenizer(["xyz"])[0, 1]) == 512
    assert adapter.name == f"internvideo:{folder}?dtype=bfloat16&vocabulary={tmp_path}/other.txt"


def test_bare_weights(tmp_path: Path) -> None:
    """A state dict says all but the heads' width and the frames; the vocabulary comes later."""
    sizes = config(16, (32, 8, 128, 3, 2, 24), ([1, 2], 2), (24, 12, 530, 64, 1, 2))
    model = fill(InternVideo.from_config(sizes))
    weights = {f"clip.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "m.ckpt")
    adapter = vtcd_ops.load_model(f"internvideo:{tmp_path}/m.ckpt?t_size=16")
    video = torch.randn(1, 16, 3, 32, 32)
    plain = InternVideoAdapter(model).predict(video)["video_features"]
    assert torch.equal(adapter.predict(video)["video_features"], plain)
    assert adapter.name.endswith("m.ckpt?t_size=16")


def test_number_of_frames(folder: Path) -> None:
    """No weight depends on it; clips of another number are refused."""
    adapter = vtcd_ops.load_model(f"internvideo:{folder}?t_size=4")
    assert adapter.num_frames == 4
    with pytest.raises(vtcd_ops.InputError, match=r"\[B, 4, 3, 40, 40\], got \[2, 3, 3, 40, 40\]"):
        vtcd_ops.capture(adapter, clips())


def test_name_that_is_none() -> None:
    with pytest.raises(vtcd_ops.InputError, match="nothing is no folder, no checkpoint file and"):
        vtcd_ops.load_model("internvideo:nothing")


def test_preprocessor_config_of_another_size(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"crop_size": 48}')
    with pytest.raises(vtcd_ops.InputError, match=r"gives frames of 48x48, expected .* 40x40"):
        vtcd_ops.load_model(folder)


def test_inputs_it_does_not_take() -> None:
    with pytest.raises(vtcd_ops.InputError, match="expected clips alone, got query too"):
        InternVideoAdapter(tiny_model()).forward(clips(), query=clips())
