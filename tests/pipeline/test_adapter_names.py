"""The name that an adapter carries loads the same model again, whatever its family and options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vtcd_internvideo import InternVideo
from vtcd_tcow import TCOW
from vtcd_tcow.convert import save as save_tcow

import vtcd_ops
from vtcd_ops.adapters import weights_sha256
from vtcd_ops.adapters.names import full_name, split_options
from vtcd_ops.common.errors import InputError

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "patch_size": 8, "image_size": 32,
}  # fmt: skip
VISUAL = {"input_resolution": 32, "patch_size": 8, "width": 16, "layers": 2, "heads": 2}
TEXT = {
    "embed_dim": 8, "context_length": 7, "vocab_size": 600, "transformer_width": 8,
    "transformer_heads": 2, "transformer_layers": 1,
}  # fmt: skip


def videomae(folder: Path) -> None:
    config = transformers.VideoMAEConfig(**SMALL, num_frames=4)
    transformers.VideoMAEForVideoClassification(config).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    transformers.Dinov2Model(transformers.Dinov2Config(**SMALL)).save_pretrained(folder)


def vivit(folder: Path) -> None:
    config = transformers.VivitConfig(**SMALL | {"tubelet_size": [2, 8, 8]}, num_frames=4)
    transformers.VivitModel(config).save_pretrained(folder)


def timesformer(folder: Path) -> None:
    config = transformers.TimesformerConfig(**SMALL, num_frames=4)
    transformers.TimesformerModel(config).save_pretrained(folder)


def vjepa2(folder: Path) -> None:
    config = transformers.VJEPA2Config(
        **SMALL | {"hidden_size": 48}, crop_size=32, frames_per_clip=4, pred_hidden_size=48,
        pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    transformers.VJEPA2Model(config).save_pretrained(folder)


def tcow(folder: Path) -> None:
    sizes = {"num_total_frames": 4, "frame_height": 32, "frame_width": 48, "patch_size": 8}
    save_tcow(TCOW.from_config({**sizes, "embed_dim": 16, "depth": 2, "num_heads": 2}), folder)


def internvideo(folder: Path) -> None:
    InternVideo.from_config({"visual": VISUAL, "text": TEXT, "t_size": 4}).save(folder)


CLASSES = st.dictionaries(
    st.text(max_size=8), st.lists(st.text(max_size=8), min_size=1), max_size=3
)
ATTENTION = {"attention": st.sampled_from(["spatial", "temporal"])}
FAMILIES: dict[str, tuple[Callable[[Path], None], dict[str, st.SearchStrategy[Any]]]] = {
    "hf_videomae": (videomae, {"allow_zero_biases": st.just(True)}),
    "hf_dinov2": (
        dinov2,
        {
            "image_size": st.sampled_from([16, "24x40", (40, 24), [16, 16], 448]),
            "fit": st.sampled_from(["stretch", "crop"]),
        },
    ),
    "hf_vivit": (vivit, {}),
    "hf_timesformer": (timesformer, ATTENTION),
    "hf_vjepa2": (vjepa2, {"num_frames": st.sampled_from([None, 2, 8])}),
    "tcow": (tcow, ATTENTION),
    "internvideo": (internvideo, {"t_size": st.just(4), "classes": st.none() | CLASSES}),
}
DTYPES = st.sampled_from(
    ["float32", "float16", "half", "bfloat16", "float64", torch.float32, torch.float16]
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of every family, in folders whose names are hard to read."""
    root = tmp_path_factory.mktemp("weights")
    for family, (make, _) in FAMILIES.items():
        make(root / f"{family}: 1?a=2&b+%41#é")
    return root


def what_it_is(adapter: Any) -> tuple[Any, ...]:
    parameter = next(adapter.model.parameters())
    return (
        type(adapter), adapter.name, weights_sha256(adapter.model), parameter.dtype,
        adapter.token_grid, adapter.num_frames, adapter.frames, adapter.layout,
        adapter.metrics, adapter.class_names, getattr(adapter, "classes", None),
        getattr(adapter, "attention", None),
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_name_loads_the_same_model(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, data: st.DataObject
) -> None:
    """Loaded with options, from where the folder lies; loaded by its name, from elsewhere."""
    choices = FAMILIES[family][1] | {"dtype": DTYPES, "device": st.just("cpu")}
    options = data.draw(st.fixed_dictionaries({}, optional=choices))
    [folder] = folders.glob(f"{family}:*")
    if family == "hf_videomae":
        options["allow_zero_biases"] = True
    monkeypatch.chdir(folders)
    first = vtcd_ops.load_model(f"{family}:{folder.name}", **options)
    monkeypatch.chdir(tmp_path)
    assert what_it_is(vtcd_ops.load_model(first.name)) == what_it_is(first)
    assert what_it_is(vtcd_ops.load_model(folder, **options)) == what_it_is(first)


def test_options_in_python_s_words(folders: Path) -> None:
    [folder] = folders.glob("hf_videomae:*")
    adapter = vtcd_ops.load_model(f"{folder}?allow_zero_biases=True&dtype=float16")
    assert adapter.name == f"hf_videomae:{folder}?dtype=float16&allow_zero_biases=true"
    assert next(adapter.model.parameters()).dtype == torch.float16
    with pytest.raises(InputError, match="allow_zero_biases expected true or false, got 'perhaps'"):
        vtcd_ops.load_model(f"{folder}?allow_zero_biases=perhaps")
    with pytest.raises(InputError, match="expected every option once, got dtype twice"):
        vtcd_ops.load_model(f"{folder}?dtype=float16&dtype=float32")


def test_a_run_finds_its_model_again(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made beside the weights, with options; loaded from another directory."""
    monkeypatch.chdir(folders)
    [folder] = folders.glob("hf_timesformer:*")
    video = torch.randint(0, 256, (1, 4, 40, 40, 3), dtype=torch.uint8)
    run = vtcd_ops.discover(
        f"hf_timesformer:{folder.name}?dtype=bfloat16&attention=temporal",
        [video[0].numpy()],
        out=tmp_path / "RUN",
        progress=False,
    )
    monkeypatch.chdir(tmp_path)
    again = vtcd_ops.load_model(vtcd_ops.load("RUN").model["name"])
    assert weights_sha256(again.model) == run.model["sha256"]
    assert again.attention == "temporal"  # type: ignore[attr-defined]


def test_a_folder_beside_a_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled one wins, and its name stays short."""
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert vtcd_ops.load_model("tcow:mini").name == "tcow:mini"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(model=st.text(st.characters(exclude_characters="?\0/", codec="utf-8"), min_size=1),
       values=st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES))  # fmt: skip
def test_names_and_options_come_back(model: str, values: dict[str, Any]) -> None:
    values.pop("device", None)
    values.pop("dtype", None)

    def load(name: str, **options: Any) -> None: ...

    if Path(model).exists():
        return
    name, found = split_options(full_name("family", model, load, values))
    assert name == f"family:{model}"
    assert found == {key: value for key, value in values.items() if value is not None}
