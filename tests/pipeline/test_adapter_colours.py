"""Frames of other colours than a model was trained on are said."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from vtcd_hf_video import TimesformerAdapter

from vtcd_ops.adapters import FrameTransform, ProjectionAdapter, Projections
from vtcd_ops.common.errors import InputWarning

CLIP = {"mean": (0.481, 0.458, 0.408), "std": (0.269, 0.261, 0.276)}  # openai/CLIP, rounded


class OpenCLIPTower(nn.Module):
    """Says in its name alone what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)


def wrapped(model: nn.Module, **colours: tuple[float, ...]) -> ProjectionAdapter:
    return ProjectionAdapter(
        model, name="mine", projections=[Projections(qkv=model.qkv, outputs=model.proj)],
        num_heads=2, num_frames=1, tubelet_size=1, token_grid=(1, 4, 4),
        frames=FrameTransform(size=(32, 32), **colours),
    )  # fmt: skip


def clip_vision_model() -> nn.Module:
    config = transformers.CLIPVisionConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    model = transformers.CLIPVisionModel(config)
    model.qkv, model.proj = nn.Linear(16, 48), nn.Linear(16, 16)
    return model


@pytest.mark.parametrize("make", [OpenCLIPTower, clip_vision_model])
def test_clip_with_the_colours_of_imagenet(make: type[nn.Module]) -> None:
    with pytest.warns(InputWarning, match=r"frames get .*\(0\.485.*trained with mean \(0\.481"):
        wrapped(make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(make(), **CLIP)


def test_a_preprocessor_configuration_beside_the_weights(tmp_path: Path) -> None:
    model = clip_vision_model()
    model.config._name_or_path = str(tmp_path)
    said = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.warns(InputWarning, match=r"preprocessor_config\.json says mean \(0\.5, 0\.5"):
        wrapped(model, **CLIP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(model, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_a_model_that_says_nothing_is_left_alone() -> None:
    class Tower(OpenCLIPTower):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(Tower())


def test_a_timesformer_without_a_preprocessor_configuration() -> None:
    config = transformers.TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=4, intermediate_size=64,
    )  # fmt: skip
    model = transformers.TimesformerModel(config).eval()
    with pytest.warns(InputWarning, match=r"no preprocessor_config\.json .* deviation \.225"):
        adapter = TimesformerAdapter(model)
    frames = torch.full((4, 32, 32, 3), 0, dtype=torch.uint8)
    expected = -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(adapter.preprocess(frames)[0, :, 0, 0], expected)
    published = {"image_mean": [0.45] * 3, "image_std": [0.225] * 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter = TimesformerAdapter(model, preprocessor_config=published)
    torch.testing.assert_close(adapter.preprocess(frames)[0, :, 0, 0], torch.full((3,), -2.0))
