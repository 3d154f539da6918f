"""The pipeline on a GPU against the CPU: from the same features, the same concepts and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import additive_adapter, samples
from pipeline.feature_table import table_adapter, table_videos

import vtcd_ops
from vtcd_ops import InputError, Run, Sample
from vtcd_ops.adapters import example_adapter, randomize_weights, weights_sha256
from vtcd_ops.adapters.adapter import model_device
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.common import accelerator
from vtcd_ops.common.accelerator import ComingBack, free_memory, going_to
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.tubelets import tubelet_device
from vtcd_ops.importance.batching import double_up
from vtcd_ops.ops.library import has_kernel
from vtcd_ops.video.clips import choose_clip
from vtcd_ops.video.readers import open_video

PARTS = ("keys", "values")


def discovered(out: Path, device: str, **settings: Any) -> Run:
    return vtcd_ops.discover(
        table_adapter(), table_videos(), out=out, parts=PARTS, device=device, progress=False,
        **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return discovered(tmp_path_factory.mktemp("cpu") / "run", "cpu")


@pytest.fixture
def on_gpu(tmp_path: Path, cuda_device: torch.device) -> Run:
    return discovered(tmp_path / "run", str(cuda_device))


def test_every_step_has_its_kernels(cuda_device: torch.device) -> None:
    """Without one of them the comparisons below would be of the CPU with itself."""
    for name in ("slic3d", "tubelet_pool", "kmeans", "cnmf", "silhouette", "concept_mask"):
        assert has_kernel(f"vtcd::{name}", "CUDA"), name


def test_features_stay_on_the_device(cuda_device: torch.device) -> None:
    adapter = table_adapter()
    adapter.model.to(cuda_device)
    clip = choose_clip(adapter, open_video(table_videos()[3]))
    found = capture_video(clip, [0, 1], ["keys"], [0, 1, 2], device=cuda_device)["keys"]
    assert found.device == cuda_device
    expected = table_adapter().model.table[3].unflatten(-1, (3, 16)).permute(0, 2, 3, 1)
    torch.testing.assert_close(found.flatten(3).cpu(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("proposals", ["slic", "random_crops"])
def test_same_tubelets(tmp_path: Path, cuda_device: torch.device, proposals: str) -> None:
    assert tubelet_device(cuda_device, Settings(proposals=proposals)) == cuda_device
    one = discovered(tmp_path / "one", "cpu", proposals=proposals)
    two = discovered(tmp_path / "two", str(cuda_device), proposals=proposals)
    for part in PARTS:
        for layer in (0, 1):
            for video in range(8):
                a, b = one.tubelets(video, layer, part), two.tubelets(video, layer, part)
                np.testing.assert_array_equal(
                    one.labels(video, layer, part), two.labels(video, layer, part)
                )
                np.testing.assert_array_equal(a.sizes, b.sizes)
                np.testing.assert_allclose(a.means, b.means, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("criterion", ["elbow", "silhouette"])
def test_same_concepts(tmp_path: Path, cuda_device: torch.device, criterion: str) -> None:
    """`cnmf` ends within 1e-6 of the CPU's error; its concepts may be anywhere within that."""
    one = discovered(tmp_path / "one", "cpu", criterion=criterion)
    two = discovered(tmp_path / "two", str(cuda_device), criterion=criterion)
    agreeing, total = 0, 0
    for part in PARTS:
        for layer in (0, 1):
            for head in range(3):
                a, b = one.concepts(layer, head, part), two.concepts(layer, head, part)
                assert a.k == b.k
                assert b.error == pytest.approx(a.error, rel=2e-6, abs=1e-4)
                np.testing.assert_allclose(
                    b.centers, a.centers, atol=0.02 * np.abs(a.centers).max()
                )
                np.testing.assert_allclose(b.silhouette, a.silhouette, atol=0.05)
                agreeing += int((a.concept == b.concept).sum())
                total += len(a.concept)
    assert agreeing >= 0.99 * total


def test_twice_on_the_device_is_the_same(on_gpu: Run, tmp_path: Path) -> None:
    again = discovered(tmp_path / "again", "cuda")
    for name in [*on_gpu.path.rglob("*.safetensors")]:
        other = again.path / name.relative_to(on_gpu.path)
        assert name.read_bytes() == other.read_bytes(), name


def test_a_run_goes_on_elsewhere(tmp_path: Path, cuda_device: torch.device) -> None:
    """Begun on the CPU, it is finished on the GPU: neither is part of what the run is."""
    run = discovered(tmp_path / "run", "cpu")
    tubelets = sorted(run.path.glob("videos/**/*.safetensors"))
    kept = {path: path.read_bytes() for path in tubelets[::2]}
    for path in [*tubelets[1::2], run.path / "run.json"]:
        path.unlink()
    run = discovered(run.path, str(cuda_device))
    assert all(path.read_bytes() == content for path, content in kept.items())
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    devices = [line["device"] for line in lines if line["event"] == "started"]
    assert devices[0] == "cpu"
    assert devices[-1].startswith("cuda")


def test_assigned_concepts_are_those_of_the_run(on_gpu: Run, cuda_device: torch.device) -> None:
    for video in (0, 4):
        assigned = on_gpu.assign(table_videos()[video], table_adapter(), device="cuda")
        for layer in (0, 1):
            np.testing.assert_array_equal(assigned.labels(layer), on_gpu.labels(video, layer))
            np.testing.assert_array_equal(assigned.tokens(layer), on_gpu.tokens(video, layer))


def test_groups_of_heads_change_nothing(
    on_gpu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the memory is short, layers and heads take turns."""
    monkeypatch.setattr("vtcd_ops.discovery.video_divider.free_memory", lambda device: 2)
    again = discovered(tmp_path / "again", "cuda")
    for name in [*on_gpu.path.rglob("*.safetensors")]:
        other = again.path / name.relative_to(on_gpu.path)
        assert name.read_bytes() == other.read_bytes(), name


# --- ranking ---

FAST: dict[str, Any] = {"progress": False, "num_masks": 96, "masks_per_forward": 16}


@pytest.fixture(scope="module")
def additive_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("additive") / "run"
    return vtcd_ops.discover(
        additive_adapter(), samples(), out=out, parts=("values",), device="cpu", progress=False
    )


@pytest.mark.parametrize("method", ["cris", "occlusion", "gradient", "integrated_gradients"])
def test_same_scores(additive_run: Run, cuda_device: torch.device, method: str) -> None:
    found = {
        device: vtcd_ops.rank(
            additive_run, additive_adapter(), samples(), "logit", method=method, dtype="float32",
            device=device, name=f"{method}-{device.replace(':', '-')}", **FAST,
        )
        for device in ("cpu", str(cuda_device))
    }  # fmt: skip
    cpu, gpu = found.values()
    scale = np.nanmax(np.abs(cpu.value))
    np.testing.assert_allclose(gpu.value, cpu.value, atol=2e-3 * scale)  # TF32 in the embedding


def test_bfloat16_ranks_about_the_same(additive_run: Run, cuda_device: torch.device) -> None:
    options = FAST | {"num_masks": 512, "metric": "logit"}
    plain = vtcd_ops.rank(
        additive_run, additive_adapter(), samples(), dtype="float32", device="cpu", name="plain",
        **options,
    )  # fmt: skip
    fast = vtcd_ops.rank(
        additive_run, additive_adapter(), samples(), device="cuda", name="fast", **options
    )
    assert fast.settings["dtype"] == "bfloat16"
    assert np.corrcoef(plain.value, fast.value)[0, 1] > 0.99


def test_masks_of_a_forward_are_tried_out(additive_run: Run, cuda_device: torch.device) -> None:
    options = FAST | {"masks_per_forward": "auto", "num_masks": 1100, "dtype": "float32"}
    found = vtcd_ops.rank(
        additive_run, additive_adapter(), samples(), "logit", device="cuda", name="auto", **options
    )
    assert found.settings["masks_per_forward"] in {16 * 2**i for i in range(6)}
    other = vtcd_ops.rank(
        additive_run, additive_adapter(), samples(), "logit", device="cuda", name="sixteen",
        **options | {"masks_per_forward": 16},
    )  # fmt: skip
    np.testing.assert_allclose(found.value, other.value, atol=1e-3 * np.abs(other.value).max())


def test_curves_on_the_device(additive_run: Run, cuda_device: torch.device) -> None:
    options: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}
    vtcd_ops.rank(
        additive_run, additive_adapter(), samples(), "logit", device="cuda", num_masks=96, **options
    )
    found = [
        vtcd_ops.curves(
            additive_run, additive_adapter(), samples(), "logit", device=device,
            name=f"curves-{number}", rankings=["cris-logit"], num_random=1, **options,
        )
        for number, device in enumerate(("cpu", "cuda"))
    ]  # fmt: skip
    for key, scores in found[0].scores.items():
        np.testing.assert_allclose(
            found[1].scores[key], scores, atol=2e-3 * np.abs(scores).max(), err_msg=str(key)
        )


def test_new_videos_are_assigned_on_the_device(
    additive_run: Run, cuda_device: torch.device
) -> None:
    new = [Sample(one.video, label=0) for one in samples(6)[4:]]
    found = vtcd_ops.rank(
        additive_run, additive_adapter(), new, "logit", assign=True, device="cuda", name="new",
        **FAST,
    )  # fmt: skip
    assert np.isfinite(found.value).any()


def test_rosetta_is_the_same(on_cpu: Run, tmp_path: Path, cuda_device: torch.device) -> None:
    other = discovered(tmp_path / "other", "cpu", seed=1, n_segments=8)
    found = [
        vtcd_ops.rosetta([on_cpu, other], importances=None, device=device, progress=False)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_array_equal(found[0].tuples, found[1].tuples)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_the_untrained_control_is_the_same(cuda_device: torch.device) -> None:
    adapter = example_adapter()
    expected = weights_sha256(randomize_weights(adapter, 3).model)
    adapter.model.to(cuda_device)
    control = randomize_weights(adapter, 3)
    assert model_device(control.model) == cuda_device
    assert weights_sha256(control.model) == expected


# --- copies and memory ---


def test_copies_of_a_stream_that_is_busy(cuda_device: torch.device) -> None:
    """What is copied is what was there when it was asked for, whatever comes later."""
    for number in range(20):
        tensor = going_to(cuda_device, torch.full((1 << 20,), number, dtype=torch.int32))
        for _ in range(10):
            tensor = tensor + 1
        coming = ComingBack(tensor)
        del tensor
        torch.empty(1 << 20, dtype=torch.int32, device=cuda_device).fill_(-1)
        assert bool((coming.numpy() == number + 10).all())


def test_memory_that_a_device_says(cuda_device: torch.device) -> None:
    total = torch.cuda.get_device_properties(cuda_device).total_memory
    assert 0 < (free_memory(cuda_device) or 0) <= total
    with pytest.raises(torch.OutOfMemoryError) as error:
        torch.empty(4 * total, dtype=torch.uint8, device=cuda_device)
    assert accelerator.is_out_of_memory(error.value)
    assert torch.zeros(3, device=cuda_device).sum() == 0  # the next call works


def test_memory_that_a_forward_takes(cuda_device: torch.device) -> None:
    def forward(masks: int) -> None:
        torch.empty(masks << 20, dtype=torch.uint8, device=cuda_device).fill_(1)

    for trial in double_up(cuda_device, forward):
        # what other tests left to the allocator may go meanwhile
        assert trial.bytes == pytest.approx(trial.masks << 20, rel=0.01)
        assert 0 < trial.seconds < 10


def test_a_device_beyond_the_last(cuda_device: torch.device) -> None:
    device = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(InputError, match=f"^rank: device '{device}' cannot be used"):
        accelerator.choose_device("rank", device)
