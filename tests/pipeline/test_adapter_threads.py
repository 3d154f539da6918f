"""Threads that share an adapter take turns: none gets another's features, edits or mode."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops.adapters import example_adapter, lock
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.lock import evaluating

ROUNDS = 30


def hugging_face_adapter() -> Adapter:
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64,
    )  # fmt: skip
    return VideoMAEAdapter(transformers.VideoMAEForVideoClassification(config).eval())


MAKERS = [example_adapter, hugging_face_adapter]


def side_by_side(*work: Callable[[], None]) -> None:
    """Run functions in threads that start together, and raise what one of them raises."""
    barrier = threading.Barrier(len(work))

    def start(function: Callable[[], None]) -> None:
        barrier.wait()
        function()

    with ThreadPoolExecutor(len(work)) as pool:
        for future in [pool.submit(start, function) for function in work]:
            future.result(timeout=120)


@pytest.mark.parametrize("make", MAKERS)
def test_captures_in_two_threads(make: Callable[[], Adapter]) -> None:
    adapter = make()
    clips = torch.randn(2, 1, 4, 3, 32, 32)
    alone = [vtcd_ops.capture(adapter, clip)["keys"] for clip in clips]

    def captured(index: int) -> None:
        for _ in range(ROUNDS):
            keys = vtcd_ops.capture(adapter, clips[index])["keys"]
            assert all(torch.equal(keys[layer], alone[index][layer]) for layer in keys)

    side_by_side(lambda: captured(0), lambda: captured(1))


@pytest.mark.parametrize("make", MAKERS)
def test_edits_in_one_thread_and_forwards_in_the_other(make: Callable[[], Adapter]) -> None:
    adapter = make()
    clip = torch.randn(1, 4, 3, 32, 32)

    def silence(part: str, layer: int, features: Tensor) -> Tensor:
        return features * 0

    def logits() -> Tensor:
        with torch.no_grad():
            return adapter.predict(clip)["logits"]

    plain = logits()
    with vtcd_ops.edit(adapter, silence, parts=("values",)):
        silenced = logits()
    assert not torch.equal(plain, silenced)

    def edited() -> None:
        for _ in range(ROUNDS):
            with vtcd_ops.edit(adapter, silence, parts=("values",)):
                assert torch.equal(logits(), silenced)

    def untouched() -> None:
        for _ in range(ROUNDS):
            assert torch.equal(logits(), plain)

    side_by_side(edited, untouched)


def test_discoveries_in_two_threads(tmp_path: Path) -> None:
    """Each holds the features of its own videos: those of a discovery alone."""
    adapter = example_adapter()
    videos = torch.randint(0, 256, (2, 3, 4, 32, 32, 3), dtype=torch.uint8)

    def discovered(index: int, name: str) -> dict[str, bytes]:
        out = tmp_path / name
        vtcd_ops.discover(adapter, videos[index], out=out, progress=False, n_segments=4)
        return {
            str(path.relative_to(out)): path.read_bytes() for path in out.rglob("keys*.safetensors")
        }

    alone = [discovered(index, f"alone-{index}") for index in (0, 1)]
    together: dict[int, dict[str, bytes]] = {}
    side_by_side(
        lambda: together.update({0: discovered(0, "together-0")}),
        lambda: together.update({1: discovered(1, "together-1")}),
    )
    assert [together[0], together[1]] == alone


def test_the_training_mode_comes_back() -> None:
    adapter = example_adapter()
    adapter.model.train()

    def evaluated() -> None:
        for _ in range(ROUNDS):
            with evaluating(adapter.model):
                assert not any(module.training for module in adapter.model.modules())

    side_by_side(evaluated, evaluated)
    assert all(module.training for module in adapter.model.modules())


def test_a_long_wait_says_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_SECONDS", 0.05)
    adapter = example_adapter()
    opened, close = threading.Event(), threading.Event()

    def hold() -> None:
        with vtcd_ops.edit(adapter, lambda part, layer, features: features):
            opened.set()
            close.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert opened.wait(60)
    threading.Timer(0.5, close.set).start()
    with pytest.warns(RuntimeWarning, match="another thread captures from or edits this _Example"):
        adapter.forward(torch.randn(1, 4, 3, 32, 32))
    thread.join()


def test_locks_do_not_keep_models() -> None:
    adapter = example_adapter()
    before = len(lock._locks)
    adapter.forward(torch.randn(1, 4, 3, 32, 32))
    assert len(lock._locks) == before + 1
    del adapter
    gc.collect()
    assert len(lock._locks) <= before
