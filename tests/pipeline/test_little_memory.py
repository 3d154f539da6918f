"""Too little memory halves what is done at a time; how much is tried at first where it suffices.

Errors are raised in place of a full memory, so no GPU is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import additive_adapter, samples
from pipeline.videos import moving_square, run_files
from torch import Tensor

import vtcd_ops
from vtcd_ops import InputError
from vtcd_ops.adapters import example_adapter
from vtcd_ops.discovery import concepts, video_divider
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance import batching, masking, measurement
from vtcd_ops.importance.batching import double_up


def full_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore of it.")


# --- main memory ---

MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")  # what is freed goes back at once
PEAK = """
import sys, numpy as np, torch, vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.video import clips

clips._AHEAD_BYTES = 0  # of windows that are read in advance

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3

torch.set_num_threads(2)
rng = np.random.default_rng(0)
frames = rng.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
options = dict(num_frames="all", progress=False, max_memory="100MB")
vtcd_ops.discover(example_adapter(), [frames], out=sys.argv[1] + "/short", **options)
before = status("VmRSS")
long = np.repeat(frames, 375, axis=0)
vtcd_ops.discover(example_adapter(), [long], out=sys.argv[1] + "/long", **options)
print(status("VmHWM") - before)
"""


def test_discovery_keeps_to_its_memory(tmp_path: Path) -> None:
    """3,000 frames, whose heads and threads would take 150 MB together; beside them the video."""
    environment = os.environ | dict.fromkeys(MALLOC, "65536")
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    video = 3000 * 32 * 32 * 3 / 1e6
    assert 40 < float(done.stdout) < 100 + video


# --- too little memory ---


def events_of(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (path / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("most", [1, 3])
def test_discovery_takes_half_of_the_heads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int
) -> None:
    videos = [moving_square(seed=seed) for seed in range(3)]
    parts = ("keys", "values")
    whole = discover(example_adapter(), videos, out=tmp_path / "whole", parts=parts, progress=False)
    plain, tried = video_divider.find_tubelets, []

    def short(features: Tensor, *arguments: Any, **more: Any) -> Any:
        tried.append(len(features))
        if len(features) > most:
            raise full_memory()
        return plain(features, *arguments, **more)

    monkeypatch.setattr(video_divider, "find_tubelets", short)
    with pytest.warns(vtcd_ops.common.errors.InputWarning, match="too little memory") as said:
        run = discover(
            example_adapter(), videos, out=tmp_path / "halves", parts=parts, progress=False
        )
    assert tried[0] == 6  # heads of all layers
    learnt = next(index for index, heads in enumerate(tried) if heads <= most)
    assert learnt <= 3  # halves of what was tried, not of the memory that there seemed to be
    assert max(tried[learnt:]) <= most  # for the next videos too
    assert len([one for one in said if "too little memory" in str(one.message)]) == 1
    assert events_of(run.path).count("out of memory") == 1
    assert run_files(run.path) == run_files(whole.path)


def test_an_operator_that_finds_no_memory_counts_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain, failed = video_divider.find_tubelets, []

    def short(features: Tensor, *arguments: Any, **more: Any) -> Any:
        if len(features) > 4:
            failed.append(len(features))
            raise ValueError("slic3d: size expected volumes that memory suffices for, got [9, 9]")
        return plain(features, *arguments, **more)

    monkeypatch.setattr(video_divider, "find_tubelets", short)
    with pytest.warns(vtcd_ops.common.errors.InputWarning, match="memory suffices for"):
        discover(example_adapter(), [moving_square()], out=tmp_path / "run", progress=False)
    assert failed


def test_a_single_head_that_does_not_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(*arguments: Any, **more: Any) -> Any:
        raise full_memory()

    monkeypatch.setattr(video_divider, "find_tubelets", never)
    with (
        pytest.warns(vtcd_ops.common.errors.InputWarning, match="half as many heads"),
        pytest.raises(InputError, match=r"one head of this video .* cpu has free: CUDA out of mem"),
    ):
        discover(example_adapter(), [moving_square()], out=tmp_path / "run", progress=False)


def test_what_is_no_lack_of_memory_is_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(video_divider, "find_tubelets", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        discover(example_adapter(), [moving_square()], out=tmp_path / "run", progress=False)


def test_concepts_of_half_of_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tubelets = [rng.normal(size=(20 + head, 8)).astype(np.float32) for head in range(5)]
    settings = video_divider.Settings()
    expected = concepts.find_concepts(tubelets, settings)
    plain, tried = concepts.cnmf, []

    def short(data: list[Tensor], *arguments: Any, **more: Any) -> Any:
        tried.append(len(data))
        if len(data) > 2:
            raise full_memory()
        return plain(data, *arguments, **more)

    monkeypatch.setattr(concepts, "cnmf", short)
    assert concepts.find_concepts(tubelets, settings) == expected
    assert tried == [5, 2, 3, 1, 2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("ranked")
    return discover(additive_adapter(), samples(), out=out, parts=("values",), progress=False)


FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "num_masks": 40}


@pytest.mark.parametrize("method", ["cris", "integrated_gradients"])
def test_half_of_the_masks(run: Run, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    options = {**FAST, "method": method, "masks_per_forward": 16}
    whole = vtcd_ops.rank(run, additive_adapter(), samples(), name=f"whole-{method}", **options)
    plain, tried = masking.concept_mask, []

    def short(x: Tensor, assign: Tensor, keep: Tensor, prefix: int) -> Tensor:
        tried.append(len(keep))
        if len(keep) > 5:
            raise full_memory()
        return plain(x, assign, keep, prefix)

    monkeypatch.setattr(masking, "concept_mask", short)
    options["name"] = f"halves-{method}"
    with pytest.warns(vtcd_ops.common.errors.InputWarning, match="half as many are taken") as said:
        halves = vtcd_ops.rank(run, additive_adapter(), samples(), **options)
    assert tried.count(16) == 1
    assert tried.count(8) == 1
    assert len(said) == 1
    np.testing.assert_allclose(halves.value, whole.value, rtol=1e-5, atol=1e-7)
    path = run.path / "importance" / f"halves-{method}"
    assert events_of(path).count("out of memory") == 1
    assert json.loads((path / "settings.json").read_text())["masks_per_forward"] == 16


def test_a_single_mask_that_does_not_fit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = masking.concept_mask

    def short(x: Tensor, assign: Tensor, keep: Tensor, prefix: int) -> Tensor:
        if not bool(keep.all()) and bool(keep.any()):  # the video as it is fits, and without units
            raise full_memory()
        return plain(x, assign, keep, prefix)

    monkeypatch.setattr(masking, "concept_mask", short)
    with (
        pytest.warns(vtcd_ops.common.errors.InputWarning, match="half as many are taken"),
        pytest.raises(InputError, match="a forward under one mask takes more memory than cpu has"),
    ):
        vtcd_ops.rank(run, additive_adapter(), samples(), name="none", masks_per_forward=4, **FAST)


# --- how many masks at a time ---


class Clock:
    """Time that passes only in forwards, as a device takes it, and the memory that they fill."""

    def __init__(self, seconds: Callable[[int], float], fitting: int = 10**6) -> None:
        self.now = 0.0
        self.tried: list[int] = []
        self._seconds, self._fitting = seconds, fitting

    def forward(self, masks: int) -> None:
        if masks > self._fitting:
            raise full_memory()
        self.tried.append(masks)
        self.now += self._seconds(masks)


@pytest.mark.parametrize(
    ("seconds", "fitting", "expected"),
    [
        (lambda masks: max(masks, 60), 10**6, 64),  # from 64 on the device is full
        (lambda masks: 1.0, 100, 64),  # the memory is
        (lambda masks: masks * 1.0, 10**6, 16),  # more gain nothing
        (lambda masks: 1.0, 10**6, 512),  # enough
        (lambda masks: 1.0, 7, 4),  # the first does not fit
        (lambda masks: 1.0, 0, None),  # nor does one
    ],
)
def test_masks_are_doubled_while_that_gains(
    monkeypatch: pytest.MonkeyPatch,
    seconds: Callable[[int], float],
    fitting: int,
    expected: int | None,
) -> None:
    clock = Clock(seconds, fitting)
    monkeypatch.setattr(batching.time, "perf_counter", lambda: clock.now)
    trials = double_up(torch.device("cpu"), clock.forward)
    assert (trials[-1].masks if trials else None) == expected
    if expected is not None and expected >= 16:
        assert [trial.masks for trial in trials] == [16 * 2**i for i in range(len(trials))]


def test_no_forward_is_tried_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda masks: 1.0)
    monkeypatch.setattr(batching.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(batching, "free_memory", lambda device: 1000)
    monkeypatch.setattr(
        batching, "_tried", lambda device, forward, masks: batching.Trial(masks, 1.0, 10 * masks)
    )
    trials = double_up(torch.device("cpu"), clock.forward)
    assert trials[-1].masks == 64  # 640 of 1,000 bytes; twice as many are beyond four fifths


def test_a_device_that_says_its_memory_is_tried_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def trials(device: torch.device, forward: Callable[[int], Any]) -> list[batching.Trial]:
        for masks in (8, 16):
            assert forward(masks)["logits"].shape == (masks, 3)
            tried.append(masks)
        return [batching.Trial(16, 1.0, 1)]

    monkeypatch.setattr(measurement, "free_memory", lambda device: 10**9)
    monkeypatch.setattr(measurement, "double_up", trials)
    found = vtcd_ops.rank(run, additive_adapter(), samples(), name="tried", **FAST)
    assert tried == [8, 16]
    assert found.settings["masks_per_forward"] == 16
    vtcd_ops.rank(run, additive_adapter(), samples(), name="tried", **FAST | {"num_masks": 60})
    assert tried == [8, 16]  # it goes on as it was begun


def test_processes_that_settle_at_the_same_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number of masks is not the fault of the one who comes second."""
    monkeypatch.setattr(measurement, "_fitting_masks", lambda adapter, memory: 8)
    vtcd_ops.rank(run, additive_adapter(), samples(), name="both", **FAST)
    monkeypatch.setattr(measurement, "_fitting_masks", lambda adapter, memory: 16)
    plain, asked = measurement.read_settings, []

    def not_there_yet(path: Path) -> Any:
        asked.append(path)
        return None if len(asked) == 1 else plain(path)

    monkeypatch.setattr(measurement, "read_settings", not_there_yet)
    found = vtcd_ops.rank(run, additive_adapter(), samples(), name="both", **FAST)
    assert found.settings["masks_per_forward"] == 8
    asked.clear()
    with pytest.raises(InputError, match="masks_per_forward 8, not 4"):
        vtcd_ops.rank(run, additive_adapter(), samples(), name="both", masks_per_forward=4, **FAST)
