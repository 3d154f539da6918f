"""Published checkpoints: read as tensors alone, loaded strictly, refused in one sentence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vtcd_ops.adapters.checkpoints import load_strictly, read_checkpoint
from vtcd_ops.common.errors import InputError

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


@pytest.mark.parametrize(
    "saved",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {}}},
        {"module": prefixed("module.")},
        {"state_dict": {"model": STATE}},
        {"state_dict": {**prefixed("clip."), "decoder.weight": torch.ones(1)}},
        {"state_dict": prefixed("module.clip.")},
        {"state_dict": prefixed("clip.module.")},
    ],
)
def test_containers_and_prefixes(tmp_path: Path, saved: Any) -> None:
    path = tmp_path / "checkpoint.ckpt"
    torch.save(saved, path)
    found = read_checkpoint(path, prefixes=("clip.", "module."))
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_safetensors(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "weights.safetensors")
    found = read_checkpoint(tmp_path / "weights.safetensors")
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


class Harmful:
    """What unpickling must not run."""

    def __reduce__(self) -> Any:
        return (print, ("this must not be printed",))


@pytest.mark.parametrize("surplus", [argparse.Namespace(lr=1), Harmful()])
def test_pickle_that_needs_more_than_tensors(tmp_path: Path, capfd: Any, surplus: Any) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": STATE, "args": surplus}, path)
    with pytest.raises(InputError, match="a pickle that needs more than tensors"):
        read_checkpoint(path)
    assert capfd.readouterr() == ("", "")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tmp_path / "broken.safetensors").write_bytes(b"1234567890")
    torch.save(STATE, tmp_path / "cut.pth")
    whole = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    for name in ("text.pth", "broken.safetensors", "cut.pth"):
        with pytest.raises(InputError, match="from_checkpoint: "):
            read_checkpoint(tmp_path / name)
    with pytest.raises(InputError, match=r"absent\.pth does not exist"):
        read_checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"epoch": 3}, "got entries epoch"),
        ({}, "got nothing"),
        ([1, 2], "got a list"),
        ({"state_dict": {"epoch": 3}}, "got entries epoch"),
    ],
)
def test_nothing_to_load(tmp_path: Path, saved: Any, message: str) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(saved, path)
    with pytest.raises(InputError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bias"), "missing key bias$"),
        (lambda s: s.update(extra=torch.ones(1)), "surplus key extra$"),
        (
            lambda s: s.update(bias=torch.ones(3)),
            r"misshapen key bias \(expected \[2\], got \[3\]\)$",
        ),
        (
            lambda s: s.update({f"k{n}": torch.ones(1) for n in range(7)}),
            "surplus keys k0, k1, k2, k3, k4 and 2 more",
        ),
    ],
)
def test_weights_that_do_not_fit(change: Any, message: str) -> None:
    state = {key.removeprefix("a."): value for key, value in STATE.items()}
    change(state)
    with pytest.raises(InputError, match=message):
        load_strictly(nn.Linear(3, 2), state, "checkpoint.pth")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_weights_take_the_model_s_type(device: str) -> None:
    model = nn.Linear(3, 2, device=device)
    state = {key.removeprefix("a."): value.half() for key, value in STATE.items()}
    load_strictly(model, state, "checkpoint.pth")
    assert model.weight.dtype == torch.float32
    assert torch.equal(model(torch.ones(3)), torch.full((2,), 3.0))
