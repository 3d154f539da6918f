"""Which forwards under masks are recorded as a CUDA graph, and that a recorded one is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.additive import AdditiveModel, additive_adapter, samples
from torch import Tensor

import vtcd_ops
from vtcd_ops.common.errors import InputWarning
from vtcd_ops.importance import recording
from vtcd_ops.importance.masking import MaskedModel
from vtcd_ops.importance.recording import MaskedClip, RecordedForward, Recorder
from vtcd_ops.importance.units import Units
from vtcd_ops.metrics import METRICS

CPU = torch.device("cpu")


class Clock:
    """Time that passes only in forwards: what is recorded takes less of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plain: float, recorded: float) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        clock = self

        class Fake:
            def __init__(self, forward: Any, *arguments: Any) -> None:
                clock.calls.append("record")

            def __call__(self, *arguments: Any) -> dict[str, Tensor]:
                return clock.run("recorded", recorded)

        self.forward = lambda *arguments: self.run("plain", plain)
        monkeypatch.setattr(recording, "RecordedForward", Fake)
        monkeypatch.setattr(recording.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    def run(self, which: str, seconds: float) -> dict[str, Tensor]:
        self.now += seconds
        self.calls.append(which)
        return {"logits": torch.zeros(1)}


def arguments(masks: int = 4) -> Any:
    clip = MaskedClip(torch.zeros(1, 2), {}, {0: torch.zeros(1, 1, 1)})
    return clip, torch.ones(masks, 3)


@pytest.mark.parametrize(
    ("plain", "recorded", "expected"),
    [
        (0.010, 0.002, ["plain", "plain", "record", "recorded", "recorded", "recorded"]),
        (0.010, 0.0098, ["plain", "plain", "record", "recorded", "recorded", "plain"]),
        (0.050, 0.001, ["plain", "plain", "plain"]),  # the host has time enough
    ],
)
def test_the_faster_way_is_taken(
    monkeypatch: pytest.MonkeyPatch, plain: float, recorded: float, expected: list[str]
) -> None:
    clock = Clock(monkeypatch, plain, recorded)
    recorder = Recorder(clock.forward, CPU, "mine")
    recorder(*arguments())
    assert clock.calls == expected
    recorder(*arguments())
    assert clock.calls == [*expected, expected[-1]]
    recorder(*arguments(masks=5))  # another shape is looked at by itself
    assert clock.calls[len(expected) + 1 :] == expected


def test_what_cannot_be_recorded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.01, 0.01)

    def refuse(*arguments: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(recording, "RecordedForward", refuse)
    recorder = Recorder(clock.forward, CPU, "mine")
    with pytest.warns(InputWarning, match=r"of mine under masks .* \(operation .*capturing\)"):
        recorder(*arguments())
    recorder(*arguments())
    assert set(clock.calls) == {"plain"}


# --- on a GPU ---


@pytest.fixture
def masked(cuda_device: torch.device) -> Iterator[MaskedModel]:
    yield from opened(cuda_device, AdditiveModel)


def opened(device: torch.device, kind: type[AdditiveModel]) -> Iterator[MaskedModel]:
    adapter = additive_adapter(kind)
    adapter.model.to(device)
    table = torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(3)).numpy()
    with MaskedModel(adapter, Units("concepts", "values", table), METRICS["logit"]) as masked:
        yield masked


def drawn(seed: int, device: torch.device) -> Any:
    """A clip, its units, and masks."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.rand(1, 4, 3, 32, 32, generator=generator).to(device)
    units = {
        layer: torch.randint(-1, 12, (1, 2, 32), generator=generator, dtype=torch.int32).to(device)
        for layer in (0, 1)
    }
    keep = torch.rand(8, 12, generator=generator) < 0.5
    return MaskedClip(clip, {}, units), keep.to(device)


def test_recorded_answers_are_the_same(masked: MaskedModel) -> None:
    """For other clips, units and masks than those it was recorded with."""
    with torch.inference_mode():
        recorded = RecordedForward(masked._forward, *drawn(0, masked.device))
        for seed in (1, 2, 0):
            expected = masked._forward(*drawn(seed, masked.device))["logits"]
            assert torch.equal(recorded(*drawn(seed, masked.device))["logits"], expected)


def test_a_small_model_is_recorded(masked: MaskedModel) -> None:
    with torch.inference_mode():
        for seed in (3, 4):
            found = masked.answer(*drawn(seed, masked.device))["logits"].clone()
            expected = masked._forward(*drawn(seed, masked.device))["logits"]
            assert torch.equal(found, expected)
    [chosen] = masked._recorder._chosen.values()
    assert isinstance(chosen, RecordedForward)


class AskingModel(AdditiveModel):
    """A model that looks at its values on the host, which no graph can hold."""

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips) * (1.0 if float(clips.sum()) > 0 else 2.0)


def ask() -> None:
    """It is said, it runs step by step, and what comes after works."""
    device = torch.device("cuda", 0)
    for masked in opened(device, AskingModel):
        with torch.inference_mode():
            with pytest.warns(InputWarning, match="cannot be recorded as a CUDA graph"):
                found = masked.answer(*drawn(5, device))["logits"]
            for _ in range(3):
                assert torch.equal(found, masked.answer(*drawn(5, device))["logits"])
            assert torch.equal(found, masked._forward(*drawn(5, device))["logits"])
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.ones(3, device=device).sum().item() == 3


def test_a_model_that_waits_for_the_device(cuda_device: torch.device) -> None:
    """In a process of its own: a recording that fails is CUDA's to clear away."""
    script = "from pipeline.test_recording import ask; ask()"
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_rankings_by_recorded_forwards(
    cuda_device: torch.device, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vtcd_ops.discover(
        additive_adapter(), samples(), out=tmp_path, parts=("values",), progress=False
    )
    rank: Callable[..., Any] = vtcd_ops.rank
    options = {"num_masks": 64, "masks_per_forward": 16, "dtype": "float32", "progress": False}
    recorded = rank(run, additive_adapter(), samples(), device="cuda", name="a", **options)
    monkeypatch.setattr(recording, "_SHORT_SECONDS", 0.0)  # nothing is recorded
    plain = rank(run, additive_adapter(), samples(), device="cuda", name="b", **options)
    assert (recorded.value == plain.value).all()
