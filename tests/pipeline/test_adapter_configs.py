"""Configurations that no model can have are refused in one sentence, before anything is made."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.test_adapter_names import FAMILIES

import vtcd_ops
from vtcd_ops.adapters.configs import check_sizes, read_config, shortened
from vtcd_ops.common.errors import InputError

# Where the sizes of each family stand.
SIZES = {
    "hf_videomae": ["num_hidden_layers", "hidden_size", "image_size", "num_frames", "patch_size",
                    "num_attention_heads", "intermediate_size", "num_channels", "tubelet_size"],
    "hf_dinov2": ["num_hidden_layers", "hidden_size", "image_size", "patch_size", "mlp_ratio"],
    "hf_vivit": ["num_hidden_layers", "hidden_size", "image_size", "num_frames", "tubelet_size"],
    "hf_timesformer": ["num_hidden_layers", "hidden_size", "image_size", "num_frames"],
    "hf_vjepa2": ["num_hidden_layers", "hidden_size", "crop_size", "frames_per_clip", "mlp_ratio",
                  "pred_num_hidden_layers", "pred_hidden_size"],
    "tcow": ["embed_dim", "depth", "num_heads", "patch_size", "num_total_frames", "frame_height",
             "output_channels", "flag_channels"],
    "internvideo": ["t_size", "visual.width", "visual.layers", "visual.heads", "visual.patch_size",
                    "visual.input_resolution", "visual.mlp_factor", "visual.mlp_dropout",
                    "text.vocab_size", "text.transformer_width", "text.transformer_layers",
                    "text.context_length"],
}  # fmt: skip
CASES = [(family, name) for family, names in SIZES.items() for name in names]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    for family, (make, _) in FAMILIES.items():
        make(root / family)
    return root


def change(folder: Path, name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let config.json have another entry until the test ends."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    inner = config
    *outside, key = name.split(".")
    for part in outside:
        inner = inner[part]
    inner[key] = value
    text = json.dumps(config)
    read_text, read_bytes = Path.read_text, Path.read_bytes
    monkeypatch.setattr(
        Path, "read_text", lambda self, **o: text if self == path else read_text(self, **o)
    )
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: text.encode() if self == path else read_bytes(self)
    )


@pytest.mark.parametrize("value", [10**9, 10**400, 0, "x", [], 1e300])
@pytest.mark.parametrize(("family", "name"), CASES)
def test_sizes_of_no_model(
    folders: Path, monkeypatch: pytest.MonkeyPatch, family: str, name: str, value: Any
) -> None:
    """At once, in one short sentence, without the memory."""
    if value == 0 and name in (
        "flag_channels",
        "num_channels",
        "pred_num_hidden_layers",
        "visual.mlp_dropout",
    ):
        return  # a model may have none
    folder = folders / family
    change(folder, name, value, monkeypatch)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError) as caught:
        vtcd_ops.load_model(f"{family}:{folder}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KB


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("hf_videomae", "num_hidden_layers", 500),
        ("tcow", "depth", 500),
        ("internvideo", "visual.layers", 500),
        ("hf_vivit", "hidden_size", 60_000),
        ("tcow", "embed_dim", 60_000),
    ],
)
def test_models_larger_than_their_weights(
    folders: Path, monkeypatch: pytest.MonkeyPatch, family: str, name: str, value: int
) -> None:
    folder = folders / family
    change(folder, name, value, monkeypatch)
    with pytest.raises(InputError, match=r"config\.json: .* expected|layers of .* weights or more"):
        vtcd_ops.load_model(f"{family}:{folder}")


def test_a_list_of_a_million(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders / "internvideo"
    change(folder, "visual.return_list", list(range(10**6)), monkeypatch)
    with pytest.raises(InputError, match="expected at most 65536 entries, got 1000000"):
        vtcd_ops.load_model(f"internvideo:{folder}")
    change(folder, "visual.return_list", list(range(10**4)), monkeypatch)
    with pytest.raises(InputError, match="return_list expected layers among 0 to 1") as caught:
        vtcd_ops.load_model(f"internvideo:{folder}")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 100_000])
def test_nested_configurations(tmp_path: Path, family: str, nested: str) -> None:
    FAMILIES[family][0](tmp_path)
    (tmp_path / "config.json").write_text(nested)
    with pytest.raises(InputError, match="nested too deeply"):
        vtcd_ops.load_model(f"{family}:{tmp_path}")


@pytest.mark.parametrize("name", ["preprocessor_config.json", "classes.json"])
def test_nested_files_beside_it(tmp_path: Path, name: str) -> None:
    for family in ("internvideo", "hf_vivit"):
        if family == "hf_vivit" and name == "classes.json":
            continue
        folder = tmp_path / family
        FAMILIES[family][0](folder)
        (folder / name).write_text("[" * 100_000)
        with pytest.raises(InputError, match="nested too deeply"):
            vtcd_ops.load_model(f"{family}:{folder}")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["someone/kernel", "flash_attention_2", "eager", "no such"])
def test_the_checkpoint_does_not_choose_the_code(
    folders: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    """Attention is computed by torch's own function, whatever config.json asks for."""
    for family, expected in (("hf_dinov2", "sdpa"), ("hf_timesformer", "eager")):
        with monkeypatch.context() as patch:
            change(folders / family, key, value, patch)
            adapter = vtcd_ops.load_model(f"{family}:{folders / family}")
        assert adapter.model.config._attn_implementation == expected


def test_quantised_weights_are_not_asked_for(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(
        folders / "hf_vivit", "quantization_config", {"quant_method": "bitsandbytes"}, monkeypatch
    )
    assert vtcd_ops.load_model(f"hf_vivit:{folders / 'hf_vivit'}").num_layers == 2


def test_real_models_pass() -> None:
    """The largest that are published."""
    for config in (
        {"hidden_size": 1408, "num_hidden_layers": 40, "image_size": 384, "patch_size": 16,
         "frames_per_clip": 64, "mlp_ratio": 48 / 11, "num_attention_heads": 22},
        {"hidden_size": 6144, "num_hidden_layers": 48, "image_size": 518, "patch_size": 14},
        {"network_depth": 24, "embed_dim": None, "frame_height": 480, "frame_width": 640,
         "patch_size": 16, "num_total_frames": 30},
    ):  # fmt: skip
        check_sizes(config, "config.json")


def test_configurations_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match=r"config\.json is missing"):
        read_config(path)
    for content, message in ((b"\xff\xfe", "is damaged"), (b"3", "hold a JSON object, got 3")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_config(path)
    assert len(shortened("x" * 10**6)) <= 60
    assert shortened(torch.float32) == "torch.float32"
