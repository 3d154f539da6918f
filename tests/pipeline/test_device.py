"""Steps of the pipeline on a device: which, and what follows the model there.

No GPU is needed: torch's `meta` stands in for a device. What only a GPU can show is in
test_device_cuda.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import additive_adapter, samples
from pipeline.videos import moving_square
from torch import nn

import vtcd_ops
from vtcd_ops import InputError
from vtcd_ops.adapters import example_adapter, placement
from vtcd_ops.adapters.adapter import model_device
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.adapters.weights import placed
from vtcd_ops.common import accelerator
from vtcd_ops.common.accelerator import choose_device
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.repeated_input import embedding_once

META = torch.device("meta")


# --- which device ---


@pytest.mark.parametrize(
    "device", ["cuda:99", "nowhere", *([] if torch.cuda.is_available() else ["cuda"])]
)
def test_a_device_that_is_not_there(device: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^discover: device '{device}' cannot be used: \w"):
        discover(example_adapter(), [moving_square()], out=tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=rf"^rosetta: device '{device}' cannot be used: \w"):
        choose_device("rosetta", device)


@pytest.mark.parametrize(("rank", "expected"), [("0", 0), ("1", 1), ("5", 2), ("", 1), ("x", 1)])
def test_every_process_has_its_own_device(
    monkeypatch: pytest.MonkeyPatch, rank: str, expected: int
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    for device in ("cuda", "auto"):
        assert choose_device("rank", device) == torch.device("cuda", expected)
    assert choose_device("rank", "cuda:0") == torch.device("cuda", 0)


def test_an_adapter_stays_where_it_is_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = example_adapter()
    with monkeypatch.context() as patch:  # nor is a GPU asked for anything
        patch.delattr(placement, "choose_device")
        assert load_on("rank", adapter) is adapter
    assert load_on("rank", adapter) is adapter
    assert model_device(adapter.model).type == "cpu"
    assert load_on("rank", adapter, "meta") is adapter
    assert model_device(adapter.model) == META
    assert load_on("rank", adapter) is adapter
    assert model_device(adapter.model) == META


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("mine", "auto", "meta"),
        ("mine?device=cpu", "auto", "cpu"),
        ("mine?fit=crop", "auto", "meta"),
        ("mine?device=cpu", "meta", "meta"),
    ],
)
def test_a_model_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, device: str, expected: str
) -> None:
    monkeypatch.setattr(placement, "load_model", lambda model: example_adapter())
    monkeypatch.setattr(placement, "choose_device", lambda caller, device: META)
    assert model_device(load_on("rank", name, device).model).type == expected


def test_a_package_that_cannot_move_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        model = nn.Linear(2, 2)

        @classmethod
        def from_name(cls, name: str) -> Fixed:
            return cls()

    monkeypatch.setattr(placement, "load_model", Fixed.from_name)
    monkeypatch.setattr(placement, "choose_device", lambda caller, device: META)
    load: Any = load_on
    assert model_device(load("rank", "fixed").model).type == "cpu"
    assert model_device(load("rank", "fixed", "meta").model) == META


def test_plain_tables_go_with_the_model() -> None:
    """VideoMAE holds its sine positions as a tensor that is no buffer."""
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].positions = torch.rand(3)
    model[0].order = torch.arange(3)  # an index is asked for its values
    placed(model, "meta")
    assert model[0].positions.device == model[0].weight.device == META
    assert model[0].order.device.type == "cpu"


def test_where_a_run_was_made_is_no_part_of_it(tmp_path: Path) -> None:
    videos = [moving_square(seed=seed) for seed in range(3)]
    discover(example_adapter(), videos, out=tmp_path / "run", device="cpu", progress=False)
    run = discover(example_adapter(), videos, out=tmp_path / "run", progress=False)
    events = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert events[0]["device"] == "cpu"
    assert "device" not in (run.path / "settings.json").read_text()
    own = [moving_square(seed=9)]
    assigned = run.assign(own, example_adapter(), device="cpu")
    np.testing.assert_array_equal(assigned.tokens(1), run.assign(own, example_adapter()).tokens(1))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("ranked")
    return discover(additive_adapter(), samples(), out=out, parts=("values",), progress=False)


# --- a clip that masks repeat ---


def test_a_repeated_clip_is_embedded_once() -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, 2), nn.Flatten(1), nn.Linear(4 * 27, 2))
    sizes: list[int] = []
    plain = model[0]._conv_forward
    model[0]._conv_forward = lambda x, *more: sizes.append(len(x)) or plain(x, *more)
    clip = torch.rand(1, 3, 4, 4, 4)
    different = torch.rand(5, 3, 4, 4, 4)
    with torch.no_grad(), embedding_once(model):
        repeated = model(clip.expand(5, -1, -1, -1, -1))
        copied = model(clip.repeat(5, 1, 1, 1, 1))
        inside = model(different)
    assert sizes == [1, 5, 5]
    torch.testing.assert_close(repeated, copied)
    torch.testing.assert_close(inside, model(different))
    model(clip.expand(5, -1, -1, -1, -1))
    assert sizes[-1] == 5  # as it was


# --- shared concepts ---


def test_rosetta_on_a_device_without_kernels(tmp_path: Path, run: Run) -> None:
    with pytest.raises(InputError, match=r"^rosetta: device 'meta' cannot be used: the operators"):
        vtcd_ops.rosetta([run, run], importances=None, parts="values", device="meta")


def test_supports_that_a_device_has_no_room_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run
) -> None:
    rosetta = vtcd_ops.rosetta_concepts.rosetta
    options: dict[str, Any] = {"importances": None, "parts": "values", "progress": False}
    expected = vtcd_ops.rosetta([run, run], **options)
    monkeypatch.setattr(rosetta, "free_memory", lambda device: 1000)
    with pytest.warns(vtcd_ops.common.errors.InputWarning, match="has 1KB free: they are compared"):
        found = vtcd_ops.rosetta([run, run], **options)
    np.testing.assert_array_equal(found.tuples, expected.tuples)
    assert accelerator.free_memory(torch.device("cpu")) is None
