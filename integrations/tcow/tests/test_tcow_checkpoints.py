"""Checkpoints: the published names and shapes, wrappers, conversion, and what is refused."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tcow_models import SMALL, clips, fill
from torch import Tensor
from vtcd_tcow import TCOW
from vtcd_tcow.convert import convert, save

import vtcd_ops
from vtcd_ops.adapters.checkpoints import load_strictly

PUBLISHED = json.loads((Path(__file__).parent / "golden" / "published_keys.json").read_text())


def small_model() -> TCOW:
    return fill(TCOW.from_config(SMALL))  # type: ignore[return-value]


def same_outputs(one: TCOW, other: TCOW) -> None:
    with torch.no_grad():
        for expected, found in zip(one(*clips(SMALL)), other(*clips(SMALL)), strict=True):
            assert torch.equal(expected, found)


def published(model: TCOW, **changes: Any) -> dict[str, Any]:
    """A checkpoint as the released training code writes it."""
    return {
        "epoch": 69,
        "train_args": argparse.Namespace(seed=900, name="v1", frame_stride=2),
        "dset_args": {"num_clips": 3600},
        "seeker_args": {key: SMALL[key] for key in SMALL},
        "net_seeker": {f"seeker.{name}": tensor for name, tensor in model.state_dict().items()},
        **changes,
    }


def test_published_names_and_shapes_are_the_model_s() -> None:
    """Every key of the released checkpoint, and no other, at full size."""
    with torch.device("meta"):
        model = TCOW.from_config(PUBLISHED["seeker_args"])
    own = {f"seeker.{name}": list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert own == PUBLISHED["keys"]
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED["num_parameters"]


@pytest.mark.parametrize(
    "prefix", ["", "seeker.", "module.", "module.seeker.", "_orig_mod.seeker."]
)
def test_load_state_dict_takes_wrapped_names(prefix: str) -> None:
    """Full size, strictly, without memory for the numbers."""
    zero = torch.zeros(1)
    weights = {
        prefix + name.removeprefix("seeker."): zero.expand(shape)
        for name, shape in PUBLISHED["keys"].items()
    }
    with torch.device("meta"):
        model = TCOW.from_config(PUBLISHED["seeker_args"])
    model.load_state_dict(weights, strict=True, assign=True)
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_part_of_another_module_keeps_its_names() -> None:
    outer = torch.nn.ModuleDict({"seeker": small_model()})
    outer.load_state_dict(outer.state_dict(), strict=True)


@pytest.mark.parametrize("prefix", ["", "seeker.", "module.seeker."])
@pytest.mark.parametrize("container", [None, "net_seeker", "state_dict", "model"])
def test_arguments_are_read_off_the_weights(
    tmp_path: Path, prefix: str, container: str | None
) -> None:
    """Without arguments the sizes follow from the shapes, and the rest is as published."""
    config = {**SMALL, "embed_dim": 128, "num_heads": 2, "frame_height": 48, "frame_width": 64}
    model = fill(TCOW.from_config({**config, "tracker_pretrained": True}))
    weights: dict[str, Any] = {prefix + name: t for name, t in model.state_dict().items()}
    path = tmp_path / "checkpoint.pth"
    torch.save({container: weights, "epoch": 3} if container else weights, path)
    loaded = TCOW.from_checkpoint(path)
    with torch.no_grad():
        for expected, found in zip(model(*clips(config)), loaded(*clips(config)), strict=True):
            assert torch.equal(expected, found)
    other = TCOW.from_checkpoint(path, {"causal_attention": 0})
    assert other.config.causal_attention == 0


def test_arguments_come_with_the_checkpoint(tmp_path: Path) -> None:
    model = small_model()
    path = tmp_path / "checkpoint.pth"
    torch.save({**published(model), "train_args": {"name": "v1"}}, path)
    loaded = TCOW.from_checkpoint(path)
    assert loaded.config == model.config
    same_outputs(model, loaded)


def test_safetensors(tmp_path: Path) -> None:
    model = small_model()
    save_file(dict(model.state_dict()), tmp_path / "weights.safetensors")
    same_outputs(model, TCOW.from_checkpoint(tmp_path / "weights.safetensors", SMALL))


def test_published_checkpoint_is_converted(tmp_path: Path) -> None:
    """Its pickle also holds a namespace: refused as a checkpoint, taken apart by the command."""
    model = small_model()
    path, folder = tmp_path / "checkpoint.pth", tmp_path / "tcow"
    torch.save(published(model), path)
    with pytest.raises(
        vtcd_ops.InputError, match=r"needs more than tensors.*argparse\.Namespace.*vtcd_tcow\.conv"
    ):
        TCOW.from_checkpoint(path)
    run = subprocess.run(
        [sys.executable, "-m", "vtcd_tcow.convert", str(path), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "TCOW of 0.1 million parameters" in run.stdout
    same_outputs(model, TCOW.from_checkpoint(folder))
    adapter = vtcd_ops.load_model(folder)  # the family comes from config.json
    assert adapter.name == f"tcow:{folder}"


class Harmful:
    """What unpickling must not run."""

    def __reduce__(self) -> Any:
        return (print, ("this must not be printed",))


def test_harmful_pickles_are_refused(tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(published(small_model(), train_args=Harmful()), path)
    for load in (TCOW.from_checkpoint, lambda p: convert(p, tmp_path / "out")):
        with pytest.raises(vtcd_ops.InputError, match="needs more than tensors"):
            load(path)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "out").exists()


def broken(change: Any) -> dict[str, Tensor]:
    weights = {f"seeker.{name}": tensor for name, tensor in small_model().state_dict().items()}
    change(weights)
    return weights


NORM = "seeker.tracker_backbone.timesformer.model.norm.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(NORM), r"missing key tracker_backbone\.timesformer\.model\.norm\.weight$"),
        (lambda w: w.update({"seeker.extra": torch.ones(1)}), "surplus key extra$"),
        (lambda w: w.update(extra=torch.ones(1)), "surplus key extra$"),
        (
            lambda w: w.update({NORM: torch.ones(3)}),
            r"misshapen key .*norm\.weight \(expected \[48\], got \[3\]\)$",
        ),
        (lambda w: w.update({"module." + NORM: torch.ones(48)}), "holds .*norm.weight twice"),
        (lambda w: w.update({NORM: 3}), "expected a tensor under .*norm.weight, got a int"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"seeker_args": SMALL, "net_seeker": broken(change)}, path)
    with pytest.raises(vtcd_ops.InputError, match=message):
        TCOW.from_checkpoint(path)


def test_checkpoints_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"layer.weight": torch.ones(2, 2)}, path)
    with pytest.raises(vtcd_ops.InputError, match=r"is no TCOW checkpoint: the key .*pos_embed is"):
        TCOW.from_checkpoint(path)
    torch.save([torch.ones(2)], path)
    with pytest.raises(vtcd_ops.InputError, match="expected to hold a dict, got a list"):
        TCOW.from_checkpoint(path)
    with pytest.raises(vtcd_ops.InputError, match=r"absent\.pth does not exist"):
        TCOW.from_checkpoint(tmp_path / "absent.pth")
    save(small_model(), tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text("{")
    with pytest.raises(vtcd_ops.InputError, match=r"config\.json is damaged"):
        TCOW.from_checkpoint(tmp_path / "folder")


def test_stored_in_half_precision(tmp_path: Path) -> None:
    model = small_model()
    save(model, tmp_path / "half", dtype=torch.float16)
    loaded = TCOW.from_checkpoint(tmp_path / "half")
    assert next(loaded.parameters()).dtype == torch.float32
    load_strictly(model, {n: t.half() for n, t in model.state_dict().items()}, "itself")
    same_outputs(model, loaded)
