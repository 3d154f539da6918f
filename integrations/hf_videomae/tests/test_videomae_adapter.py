"""VideoMAE: parity and features on tiny random models, checkpoints, preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests


def tiny_config(**changes: Any) -> transformers.VideoMAEConfig:
    settings: dict[str, Any] = {
        "image_size": 32,
        "patch_size": 8,
        "num_frames": 6,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "decoder_num_attention_heads": 2,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 3,  # as many as the encoder, which must not be mistaken for it
        "decoder_intermediate_size": 32,
        "initializer_range": 0.2,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }
    return transformers.VideoMAEConfig(**{**settings, **changes})


def with_biases(model: Any) -> Any:
    """Give every bias a value, as training does."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


class VideoMAETests(AdapterTests):
    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        prefix = next(name for name in linears if f"encoder.layer.{layer}.attention." in name)
        prefix = prefix[: prefix.index(f"layer.{layer}.")] + f"layer.{layer}.attention."
        if part == "outputs":
            flat = linears[prefix + "output.dense"][0]
        else:
            name = {"queries": "query", "keys": "key", "values": "value"}[part]
            flat = linears[f"{prefix}attention.{name}"][1]
        return flat.reshape(len(flat), 48, 4, 12).transpose(1, 2)  # 3 x 4 x 4 tokens


class TestModel(VideoMAETests):
    def make_adapter(self) -> Adapter:
        return VideoMAEAdapter(with_biases(transformers.VideoMAEModel(tiny_config())))


class TestClassifier(VideoMAETests):
    def make_adapter(self) -> Adapter:
        model = transformers.VideoMAEForVideoClassification(tiny_config(num_labels=5))
        return VideoMAEAdapter(with_biases(model))

    def test_output_is_the_classifier_s(self) -> None:
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        assert torch.equal(adapter.forward(clips).logits, adapter.model(clips).logits)

    def test_compiles_with_changing_masks(self) -> None:
        """One graph, no recompilation, the numbers of eager mode."""
        torch._dynamo.reset()  # what other tests compiled of the same class
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        mask = torch.ones(1, 4, 48, 1)
        with torch.no_grad(), vtcd_ops.edit(adapter, lambda part, layer, x: x * mask):
            compiled = torch.compile(adapter.model, fullgraph=True, backend="aot_eager")
            with torch._dynamo.config.patch(error_on_recompile=True):
                for _ in range(3):
                    mask.copy_(torch.rand_like(mask).round())
                    difference = compiled(clips).logits - adapter.forward(clips).logits
                    assert difference.abs().max() < 1e-5


class TestEagerClassifier(TestClassifier):
    """The attention function before and after is the model's own, whichever that is."""

    def make_adapter(self) -> Adapter:
        adapter = super().make_adapter()
        adapter.model.set_attn_implementation("eager")
        return adapter


class TestPreTraining(VideoMAETests):
    def make_adapter(self) -> Adapter:
        return VideoMAEAdapter(with_biases(transformers.VideoMAEForPreTraining(tiny_config())))

    def test_masked_reconstruction_is_untouched_and_can_be_edited(self) -> None:
        """The class's own forward works inside an edit, which sees the visible tokens alone."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        masked = (torch.arange(48) % 4 != 0).expand(2, 48)
        plain = adapter.model(clips, bool_masked_pos=masked).logits
        shapes = []

        def see(part: str, layer: int, features: Tensor) -> Tensor:
            shapes.append(tuple(features.shape))
            return features

        with vtcd_ops.edit(adapter, see):
            seen = adapter.model(clips, bool_masked_pos=masked).logits
        assert torch.equal(plain, seen)
        assert shapes == [(2, 4, 12, 12)] * 3  # the encoder's layers, not the decoder's
        with vtcd_ops.edit(adapter, lambda part, layer, x: -x):
            assert not torch.equal(plain, adapter.model(clips, bool_masked_pos=masked).logits)

    @pytest.mark.parametrize("norm_pix_loss", [True, False])
    def test_target_is_that_of_the_pre_training_class(self, norm_pix_loss: bool) -> None:
        """The class compares masked patches alone; four masks cover every patch once."""
        model = transformers.VideoMAEForPreTraining(tiny_config(norm_pix_loss=norm_pix_loss))
        adapter = VideoMAEAdapter(with_biases(model))
        clips = self.clips(adapter)
        pixels = adapter.predict(clips)["pixels"]
        assert pixels.shape == (2, 48, 2 * 8 * 8 * 3)
        for first in range(0, 48, 12):
            masked = torch.zeros(2, 48, dtype=torch.bool)
            masked[:, first : first + 12] = True
            out = model(clips, bool_masked_pos=masked)
            expected = torch.nn.functional.mse_loss(out.logits, pixels[:, first : first + 12])
            torch.testing.assert_close(out.loss, expected)

    def test_reconstruction_sees_every_patch(self) -> None:
        """The parts of the class, called one after the other, with nothing masked."""
        adapter = self.make_adapter()
        clips, model = self.clips(adapter), adapter.model
        hidden = model.videomae(clips, bool_masked_pos=torch.zeros(2, 48, dtype=torch.bool))[0]
        tokens = model.encoder_to_decoder(hidden) + model.position_embeddings
        for layer in model.decoder.decoder_layers:
            tokens = layer(tokens)
        expected = model.decoder.head(model.decoder.norm(tokens))
        torch.testing.assert_close(adapter.predict(clips)["reconstruction"], expected)


def save(model: Any, folder: Path) -> Path:
    with_biases(model).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = transformers.VideoMAEForVideoClassification(tiny_config(num_labels=5))
    return save(model, tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "name", ["VideoMAEModel", "VideoMAEForVideoClassification", "VideoMAEForPreTraining"]
)
def test_checkpoint_gives_the_saved_numbers(tmp_path: Path, capfd: Any, name: str) -> None:
    saved = getattr(transformers, name)(tiny_config())
    folder = save(saved, tmp_path / "checkpoint")
    capfd.readouterr()
    adapter = vtcd_ops.load_model(folder)  # the family comes from config.json
    assert capfd.readouterr() == ("", "")
    assert adapter.name == f"hf_videomae:{folder}"
    assert type(adapter.model) is type(saved)
    clips = torch.randn(1, 6, 3, 32, 32)
    for loaded in (adapter, vtcd_ops.load_model(adapter.name)):
        for key, value in VideoMAEAdapter(saved).forward(clips).items():
            assert torch.equal(loaded.forward(clips)[key], value)


def test_lost_biases_are_refused(checkpoint: Path) -> None:
    model = transformers.VideoMAEForVideoClassification.from_pretrained(checkpoint)
    for name, parameter in model.named_parameters():
        if name.endswith(("query.bias", "value.bias")):
            torch.nn.init.zeros_(parameter)
    model.save_pretrained(checkpoint)
    with pytest.raises(vtcd_ops.InputError, match=r"every query and value bias .* is zero"):
        vtcd_ops.load_model(checkpoint)
    adapter = vtcd_ops.load_model(checkpoint, allow_zero_biases=True)
    assert isinstance(adapter, VideoMAEAdapter)


def test_one_bias_kept_is_enough(checkpoint: Path) -> None:
    model = transformers.VideoMAEForVideoClassification.from_pretrained(checkpoint)
    biases = [p for n, p in model.named_parameters() if n.endswith(("query.bias", "value.bias"))]
    assert len(biases) == 6
    for bias in biases[1:]:
        torch.nn.init.zeros_(bias)
    model.save_pretrained(checkpoint)
    assert isinstance(vtcd_ops.load_model(checkpoint), VideoMAEAdapter)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"colour": 1},
            "options among allow_zero_biases, device, dtype, image_size, num_frames, got colour",
        ),
        ({"dtype": "int8"}, "dtype expected float32, bfloat16 or float16, got 'int8'"),
        ({"dtype": 3}, "dtype expected float32, bfloat16 or float16, got 3"),
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
    ],
)
def test_options_that_are_none(checkpoint: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.load_model(checkpoint, **options)


def test_options_in_the_name(checkpoint: Path) -> None:
    adapter = vtcd_ops.load_model(f"hf_videomae:{checkpoint}?dtype=bfloat16&device=cpu")
    assert adapter.model.dtype == torch.bfloat16


def break_config(checkpoint: Path, **changes: Any) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 4}, "missing keys"),
        ({"num_hidden_layers": 2}, "unexpected keys"),
        ({"hidden_size": 64}, "mismatched keys|could not be loaded"),
        ({"architectures": ["ResNetModel"]}, "got ResNetModel"),
        ({"model_type": "resnet"}, "no adapter for models of type 'resnet'"),
        ({"model_type": None}, "has no entry 'model_type'"),
    ],
)
def test_broken_checkpoints(checkpoint: Path, changes: dict[str, Any], message: str) -> None:
    break_config(checkpoint, **changes)
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.load_model(checkpoint)


def test_truncated_weights(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(vtcd_ops.InputError, match=r"weights or more, and .* holds 1000 bytes"):
        vtcd_ops.load_model(checkpoint)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (32, 32), (33, 57), (32, 100), (240, 320)])
def test_preprocessing_follows_the_image_processor(size: tuple[int, int]) -> None:
    """Pillow's resizing to one grey level, everything else exactly."""
    settings = {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    processor = transformers.VideoMAEImageProcessorPil(**settings)
    adapter = VideoMAEAdapter(
        transformers.VideoMAEModel(tiny_config()), preprocessor_config=processor.to_dict()
    )
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, *size, 3), dtype=np.uint8)
    expected = processor(list(frames), return_tensors="pt")["pixel_values"][0]
    clip = adapter.preprocess(frames)
    assert clip.shape == expected.shape == (6, 3, 32, 32)
    grey_level = 1 / 255 / 0.224
    assert float((clip - expected).abs().max()) <= 1.01 * grey_level
    assert float((clip - expected).abs().mean()) <= 0.02 * grey_level


def test_preprocessor_config_of_another_size() -> None:
    with pytest.raises(vtcd_ops.InputError, match=r"gives frames of 48x48, expected .* 32x32"):
        VideoMAEAdapter(
            transformers.VideoMAEModel(tiny_config()), preprocessor_config={"crop_size": 48}
        )


def test_sampling_rate_comes_with_the_checkpoint(checkpoint: Path) -> None:
    assert vtcd_ops.load_model(checkpoint).sampling_rate is None
    (checkpoint / "preprocessor_config.json").write_text('{"sampling_rate": 4}')
    assert vtcd_ops.load_model(checkpoint).sampling_rate == 4
