"""A discovery from videos to a run: what its result depends on, and what it does not."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, run_files, write_video
from torch.utils.data import DataLoader

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.adapters.capture import capture
from vtcd_ops.adapters.projections import ProjectionAdapter
from vtcd_ops.common import ticking
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery import pipeline
from vtcd_ops.discovery.compactness import choose_compactness
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.foreign import store_concepts
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.video_divider import plan_groups
from vtcd_ops.ops import slic3d
from vtcd_ops.storage.files import read_tensors
from vtcd_ops.video.frames import FrameTransform

WORKER = Path(__file__).with_name("discover_worker.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    videos = [moving_square(seed=seed) for seed in range(4)]
    out = tmp_path_factory.mktemp("run")
    return discover(example_adapter(), videos, out=out, parts=("keys", "values"), progress=False)


def test_labels_are_those_of_slic(run: Run, adapter: ProjectionAdapter) -> None:
    clip = adapter.preprocess(moving_square(seed=2))[None]
    tokens = capture(adapter, clip, layers=[1], parts=("values",))["values"][1][0]  # [A, N, C]
    features = tokens.reshape(2, 2, 4, 4, 8).permute(0, 4, 1, 2, 3)
    expected = slic3d(features.contiguous(), (4, 32, 32)).numpy()
    got = run.labels(2, 1, "values")
    kept = got >= 0
    assert kept.mean() > 0.95
    np.testing.assert_array_equal(got[kept], expected[kept])


@pytest.mark.parametrize(
    ("step", "bar"),
    [("layer_compactness", "videos"), ("find_concepts", "concepts")],
)
def test_a_long_step_is_no_silence(
    step: str, bar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 100,000 segments one layer takes minutes: the clock of its bar goes on meanwhile."""
    monkeypatch.setattr(ticking, "SECONDS", 0.02)
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stderr", drawn)
    whole = getattr(pipeline, step)
    heard = []

    def long_step(*arguments: Any) -> Any:
        before = drawn.getvalue().count(f"{bar}:")
        end = time.monotonic() + 30
        while drawn.getvalue().count(f"{bar}:") < before + 3 and time.monotonic() < end:
            time.sleep(0.01)
        heard.append(drawn.getvalue().count(f"{bar}:") - before)
        return whole(*arguments)

    monkeypatch.setattr(pipeline, step, long_step)
    ask: dict[str, Any] = {"layers": [1], "compactness": "auto"}
    discover(example_adapter(), [moving_square(seed=seed) for seed in (0, 1)], out=tmp_path, **ask)
    assert heard
    assert min(heard) >= 3


def test_concept_tables_fit_the_labels(run: Run) -> None:
    for layer, head in ((0, 0), (2, 1)):
        concepts = run.concepts(layer, head)
        assert len(concepts.centers) == concepts.k
        assert set(concepts.concept) <= set(range(concepts.k))
        for video in range(4):
            labels = run.labels(video, layer)[head]
            support = run.support(video, layer, head)
            mine = concepts.video == video
            assert set(np.unique(labels)) - {-1} == set(concepts.label[mine])
            for label, concept, size in zip(
                concepts.label[mine], concepts.concept[mine], concepts.size[mine], strict=True
            ):
                assert (labels == label).sum() == size
                assert (support[labels == label] == concept).all()
            assert (support[labels == -1] == -1).all()


def test_tokens_take_the_concept_at_their_place(run: Run) -> None:
    tokens = run.tokens(1, 2).reshape(2, 2, 4, 4)
    support = run.support(1, 2, 1)
    assert tokens.dtype == np.int32
    assert tokens[1, 0, 0, 0] == support[0, 0, 0]
    assert tokens[1, 1, 3, 3] == support[3, 31, 31]
    assert tokens[1, 1, 1, 2] == support[3, 10, 21]  # 31/3 = 10.33, 62/3 = 20.67


def test_units_count_every_concept_once(run: Run) -> None:
    units = run.units()
    assert len({tuple(unit) for unit in units.tolist()}) == len(units)
    for layer in run.layers:
        for head in run.heads:
            mine = units[(units[:, 0] == layer) & (units[:, 1] == head), 2]
            assert mine.tolist() == list(range(run.concepts(layer, head).k))


def test_preview_is_what_the_model_saw(run: Run) -> None:
    np.testing.assert_array_equal(run.preview(3), moving_square(seed=3))


def test_records_say_which_part_of_which_frames_was_seen(tmp_path: Path) -> None:
    adapter = example_adapter().with_model(example_adapter().model, "cut")
    adapter.frames = FrameTransform(size=(32, 32), shortest_edge=40)
    wide = [np.pad(moving_square(9, seed=n), ((0, 0), (0, 8), (0, 48), (0, 0))) for n in range(3)]
    run = discover(adapter, wide, out=tmp_path, sampling_rate=2, layers=[0], progress=False)
    record = run.videos[1]
    assert record.frame_size == (40, 80)
    assert record.crop == (4.0, 24.0, 32.0, 32.0)
    assert record.frame_indices == (1, 3, 5, 7)
    assert record.tubelet_size == 2
    np.testing.assert_array_equal(run.preview(1), wide[1][1:8:2, 4:36, 24:56])


@pytest.mark.parametrize(
    "changed",
    [
        {"max_memory": 70_000},  # a head at a time
        {"max_memory": 180_000},  # two layers, then one
        {"progress": True},
    ],
)
def test_what_a_run_does_not_depend_on(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter, changed: dict[str, Any]
) -> None:
    plain = discover(adapter, videos, out=tmp_path / "plain", progress=False)
    other = discover(
        adapter, iter(videos), out=tmp_path / "other", **{"progress": False, **changed}
    )
    assert run_files(plain.path) == run_files(other.path)


def test_memory_is_divided_among_layers_and_heads() -> None:
    groups = plan_groups([2, 5], [0, 1, 3], head_bytes=10, max_memory=25)
    assert [(g.layers, g.heads) for g in groups] == [
        ([2], [0, 1]),
        ([2], [3]),
        ([5], [0, 1]),
        ([5], [3]),
    ]


def test_the_number_of_threads_changes_nothing(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter, num_threads: None
) -> None:
    torch.set_num_threads(1)
    one = discover(adapter, videos, out=tmp_path / "one", progress=False)
    torch.set_num_threads(3)
    three = discover(adapter, videos, out=tmp_path / "three", progress=False)
    assert run_files(one.path) == run_files(three.path)


def test_files_arrays_and_loaders_give_the_same_concepts(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter
) -> None:
    paths = [write_video(tmp_path / f"{n}.mkv", video) for n, video in enumerate(videos)]
    loader = DataLoader([torch.from_numpy(video) for video in videos], batch_size=3)
    runs = [
        discover(adapter, samples, out=tmp_path / str(n), progress=False)
        for n, samples in enumerate((paths, videos, loader))
    ]
    for other in runs[1:]:
        for name in ("concepts/keys-00.safetensors", "videos/00002/keys-01.safetensors"):
            arrays = [read_tensors(one.path / name).arrays for one in (runs[0], other)]
            assert arrays[0].keys() == arrays[1].keys()
            for key, array in arrays[0].items():
                np.testing.assert_array_equal(array, arrays[1][key])


@pytest.mark.parametrize("num_frames", [9, 10])  # with and without padding
def test_long_videos_keep_their_time(
    tmp_path: Path, adapter: ProjectionAdapter, num_frames: int
) -> None:
    videos = [moving_square(num_frames, seed=seed) for seed in range(3)]
    run = discover(adapter, videos, out=tmp_path, num_frames="all", progress=False)
    assert run.labels(0, 0).shape == (2, num_frames, 32, 32)
    assert run.tokens(0, 0).shape == (2, 5 * 16)
    assert run.videos[1].frame_indices == tuple(range(num_frames))
    np.testing.assert_array_equal(run.preview(1), videos[1])


def test_random_crops_depend_on_the_seed_alone(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter
) -> None:
    options: dict[str, Any] = {"proposals": "random_crops", "progress": False}
    first = discover(adapter, videos, out=tmp_path / "a", seed=1, **options)
    subset = discover(adapter, videos, out=tmp_path / "b", seed=1, layers=[1], **options)
    other = discover(adapter, videos, out=tmp_path / "c", seed=2, **options)
    np.testing.assert_array_equal(first.labels(3, 1), subset.labels(3, 1))
    assert (first.labels(3, 1) != other.labels(3, 1)).any()
    assert (first.labels(3, 1)[0] != first.labels(3, 1)[1]).any()
    assert (first.labels(3, 1) != first.labels(2, 1)).any()


def test_compactness_is_chosen_for_each_layer(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter
) -> None:
    options: dict[str, Any] = {"compactness": "auto", "parts": ("keys", "values")}
    run = discover(adapter, videos, out=tmp_path / "a", progress=False, **options)
    again = discover(
        adapter, iter(videos), out=tmp_path / "b", progress=False, max_memory=70_000, **options
    )
    assert run_files(run.path) == run_files(again.path)
    assert len({run.compactness(layer, part) for layer in run.layers for part in run.parts}) > 1
    clips = torch.stack([adapter.preprocess(video) for video in videos[:3]])
    tokens = capture(adapter, clips, layers=[2], parts=("values",))["values"][2]
    grids = list(tokens.unflatten(2, (2, 4, 4)).permute(0, 1, 5, 2, 3, 4))
    expected = choose_compactness(grids, (4, 32, 32), 12)
    assert run.compactness(2, "values") == expected
    fixed = discover(
        adapter, videos, out=tmp_path / "c", layers=[2], compactness=expected,
        parts=("values",), progress=False,
    )  # fmt: skip
    np.testing.assert_array_equal(fixed.labels(3, 2, "values"), run.labels(3, 2, "values"))
    np.testing.assert_array_equal(
        run.assign(videos[3], adapter).tokens(2, "values"), run.tokens(3, 2, "values")
    )


def test_sanity_is_a_run_of_other_weights(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter
) -> None:
    run = discover(adapter, videos, out=tmp_path, sanity=True, progress=False)
    assert run.sanity is not None
    assert run.sanity.model["sha256"] != run.model["sha256"]
    assert run.sanity.videos == run.videos
    assert (run.sanity.labels(0, 2) != run.labels(0, 2)).any()
    assert run.sanity.sanity is None


def test_a_video_of_the_run_gets_its_own_concepts(
    run: Run, adapter: ProjectionAdapter, videos: list[np.ndarray]
) -> None:
    assigned = run.assign(videos[1], adapter)
    for layer in run.layers:
        np.testing.assert_array_equal(assigned.labels(layer), run.labels(1, layer))
        np.testing.assert_array_equal(
            assigned.tokens(layer, "values"), run.tokens(1, layer, "values")
        )
        for head in run.heads:
            np.testing.assert_array_equal(
                assigned.support(layer, head), run.support(1, layer, head)
            )


def test_assign_refuses_another_model(run: Run, videos: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match="the weights of example are not those of"):
        run.assign(videos[0], example_adapter(seed=1))


def test_processes_share_the_work(tmp_path: Path) -> None:
    """Three processes at once, by hand and by torchrun, write what one writes."""
    assert forked.run(WORKER, tmp_path / "one") == 0
    workers = [forked.start(WORKER, tmp_path / "many") for _ in range(3)]
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    # standalone: at a port that is free, whatever else runs on this machine
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "3"]
    subprocess.run([*torchrun, WORKER, tmp_path / "torchrun"], check=True, timeout=300)
    expected = run_files(tmp_path / "one")
    for name in ("many", "torchrun"):
        assert run_files(tmp_path / name) == expected
        log = (tmp_path / name / "log.jsonl").read_text()
        assert log.count('"finished"') == 1


def test_a_finished_run_is_not_done_again(
    tmp_path: Path, videos: list[np.ndarray], adapter: ProjectionAdapter
) -> None:
    discover(adapter, videos, out=tmp_path, progress=False)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    discover(adapter, videos, out=tmp_path, progress=False)
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}


def test_anything_can_be_a_source_of_concepts(tmp_path: Path, run: Run) -> None:
    """scikit-learn's k-means on the run's tubelets, stored as a run of its own."""
    from sklearn.cluster import KMeans

    centers: list[np.ndarray] = []
    volumes = [np.full((2, 4, 32, 32), -1) for _ in run.videos]
    for head in run.heads:
        concepts = run.concepts(1, head)
        rows = np.stack(
            [
                run.tubelets(int(video), 1).means[head, label]
                for video, label in zip(concepts.video, concepts.label, strict=True)
            ]
        )
        clustering = KMeans(3 + head, n_init=2, random_state=0).fit(rows)
        centers.append(clustering.cluster_centers_)
        for video, volume in enumerate(volumes):
            labels = run.labels(video, 1)[head]
            mine = concepts.video == video
            for label, cluster in zip(concepts.label[mine], clustering.labels_[mine], strict=True):
                volume[head][labels == label] = cluster
    site = ("keys", 1)
    stored = store_concepts(
        tmp_path / "kmeans", run, {site: volumes}, {site: centers}, method="scikit-learn KMeans"
    )
    assert stored.units().tolist() == [[1, 0, n] for n in range(3)] + [[1, 1, n] for n in range(4)]
    np.testing.assert_array_equal(stored.support(2, 1, 1), volumes[2][1])
    np.testing.assert_allclose(stored.concepts(1, 1).centers, centers[1], rtol=1e-6)
    assert stored.concepts(1, 0).size.sum() == sum((volume[0] >= 0).sum() for volume in volumes)
    assert stored.videos == run.videos
    with pytest.raises(InputError, match="cannot be assigned"):
        stored.assign(moving_square())


def test_concepts_of_tokens_stay_where_they_are(tmp_path: Path, run: Run) -> None:
    """A source that works on tokens: its volumes are on the token grid."""
    volumes = [np.random.default_rng(n).integers(-1, 5, (2, 2, 4, 4)) for n in range(4)]
    site = ("outputs", 2)
    stored = store_concepts(
        tmp_path / "sae",
        run,
        {site: volumes},
        {site: [np.eye(5), np.eye(5)]},
        method="an autoencoder",
    )
    got = stored.tokens(3, 2, "outputs")
    np.testing.assert_array_equal(got, volumes[3].reshape(2, -1))
    with pytest.raises(InputError, match=r"head 1, expected concepts from -1 to 3, got -1 to 4"):
        store_concepts(
            tmp_path / "bad",
            run,
            {site: volumes},
            {site: [np.eye(5), np.eye(4)]},
            method="an autoencoder",
        )


def test_public_names() -> None:
    assert vtcd_ops.discover is discover
    assert vtcd_ops.load is load
    assert vtcd_ops.store_concepts is store_concepts
