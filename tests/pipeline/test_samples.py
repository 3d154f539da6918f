"""Samples, manifests, and reading videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, write_image, write_video
from torch.utils.data import DataLoader, TensorDataset

from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.discovery.discover import discover
from vtcd_ops.video.readers import open_video, read_video
from vtcd_ops.video.samples import Sample, as_samples, read_manifest


def test_video_file_gives_the_frames_that_were_written(tmp_path: Path) -> None:
    frames = moving_square(7)[:, :24]
    source = open_video(write_video(tmp_path / "a.mkv", frames))
    assert source.num_frames == 7
    assert source.fps == 10
    assert source.frame_size == frames.shape[1:3]
    np.testing.assert_array_equal(np.stack(list(source.frames([0, 3, 3, 6]))), frames[[0, 3, 3, 6]])


def test_folder_gives_the_frames_in_order_of_their_names(tmp_path: Path) -> None:
    frames = moving_square(12)
    for index in reversed(range(12)):
        write_image(tmp_path / f"{index:05d}.png", frames[index])
    (tmp_path / "notes.txt").write_text("not a frame")
    got, _ = read_video(tmp_path)
    np.testing.assert_array_equal(got, frames)
    assert open_video(tmp_path).frame_size == open_video(frames).frame_size == (32, 32)


def test_content_hash_ignores_name_and_place(tmp_path: Path) -> None:
    frames = moving_square()
    one, two = write_video(tmp_path / "a.mkv", frames), tmp_path / "b.mkv"
    two.write_bytes(one.read_bytes())
    assert open_video(one).sha256() == open_video(two).sha256()
    assert open_video(frames).sha256() != open_video(frames[:, :, ::-1]).sha256()
    # the same bytes in another shape are another video
    assert open_video(frames).sha256() != open_video(frames.reshape(4, 16, 64, 3)).sha256()


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", moving_square()[0])
    write_image(tmp_path / "1.png", moving_square(edge=40)[0])
    with pytest.raises(InputError, match=r"frames of different sizes, 32x32 and 40x40"):
        read_video(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_manifest(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"videos.{suffix}"
    rows = [{"video": "a.mp4", "label": "rolling", "text": "a ball"}, {"video": "/b.mp4"}]
    if suffix == "csv":
        path.write_text("video,label,text\na.mp4,rolling,a ball\n/b.mp4,,\n")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    first, second = read_manifest(path)
    assert first == Sample(str(tmp_path / "a.mp4"), label="rolling", text="a ball")
    assert second == Sample("/b.mp4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "video,lable\na.mp4,b\n", "expected the columns video, .* got lable"),
        ("m.csv", "label\nb\n", "row 1: the column video is missing"),
        ("m.csv", "video\n", "lists no video"),
        ("m.csv", "", "lists no video"),
        (
            "m.csv",
            "video,label\na.mp4,roll\nb.mp4,lift,up\n",
            "row 2: more cells than the 2",
        ),
        ("m.csv", 'video,text\na.mp4,"unclosed\nb.mp4,x\n', "cannot be read: unexpected end"),
        ("m.csv", "path,label\na.mp4,roll\n", "video is missing .*its columns: path, label"),
        ("m.csv", "\ufeffVideo,label\na.mp4,b\n", "got Video; rename it video"),
        ("m.jsonl", '{"video": "a.mp4", "label": NaN}', "row 1: .*whole numbers, got nan"),
        ("m.jsonl", '{"video": "a.mp4", "label": 1.5}', "row 1: .*whole numbers, got 1.5"),
        ("m.jsonl", '{"video": "a.mp4", "label": [1]}', "row 1: .*names or whole numbers, got"),
        ("m.jsonl", '{"video": "a.mp4", "text": 3}', "row 1: sample: text expected text, got 3"),
        ("m.jsonl", '{"video": 3}', "row 1: video expected a path, got 3"),
        ("m.jsonl", '{"video": null}', "row 1: the column video is missing or empty"),
        ("m.jsonl", "[" * 100_000, "cannot be read"),
        ("m.jsonl", "{", "cannot be read"),
        ("m.jsonl", "[1]", "row 1: expected a JSON object"),
    ],
)
def test_bad_manifest(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize("wrap", ["paths", "samples", "manifest"])
def test_a_missing_file_is_found_before_the_first_video(tmp_path: Path, wrap: str) -> None:
    """Not after hours of work on the videos before it."""
    (tmp_path / "there.mp4").touch()
    paths = [str(tmp_path / "there.mp4"), str(tmp_path / "missing.mp4")]
    (tmp_path / "videos.csv").write_text("video\nthere.mp4\nmissing.mp4\n")
    samples = {
        "paths": paths,
        "samples": [Sample(path) for path in paths],
        "manifest": tmp_path / "videos.csv",
    }[wrap]
    with pytest.raises(InputError, match=r"missing\.mp4 does not exist"):
        next(as_samples(samples))


def test_a_dataloader_is_a_source_of_samples() -> None:
    clips = torch.from_numpy(np.stack([moving_square(seed=seed) for seed in range(5)]))
    labels = torch.arange(5)
    loader = DataLoader(list(zip(clips, labels, strict=True)), batch_size=2)
    samples = list(as_samples(loader))
    assert [sample.label for sample in samples] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(samples[3].video, clips[3].numpy())


def collated(items: Sequence[object], size: int = 2) -> DataLoader:
    return DataLoader(list(items), batch_size=size)  # type: ignore[arg-type]


def test_batches_of_paths_are_samples(tmp_path: Path) -> None:
    """Whatever a DataLoader makes of them: lists, tuples and tensors."""
    paths = [str(tmp_path / f"{letter}.mp4") for letter in "abcde"]
    folders = [str(tmp_path / f"frames-{letter}") for letter in "abcde"]
    for path, folder in zip(paths, folders, strict=True):
        Path(path).touch()
        Path(folder).mkdir()
        Path(folder, "0.png").touch()
    numbers, words = [3, 1, 4, 1, 5], ["roll", "b", "c", "d", "e"]
    for videos in (paths, folders):
        for size in (1, 2, 3):
            assert [s.video for s in as_samples(collated(videos, size))] == videos
            pairs = list(as_samples(collated(list(zip(videos, numbers)), size)))
            assert [(s.video, s.label) for s in pairs] == list(zip(videos, numbers))
            pairs = list(as_samples(collated(list(zip(videos, words)), size)))
            assert [(s.video, s.label) for s in pairs] == list(zip(videos, words))
            rows = [{"video": v, "label": n, "text": w} for v, n, w in zip(videos, numbers, words)]
            for samples in (list(as_samples(collated(rows, size))), list(as_samples(rows))):
                assert [(s.video, s.label, s.text) for s in samples] == list(
                    zip(videos, numbers, words)
                )
    assert [s.label for s in as_samples([(paths[0], "b"), [paths[1], "roll"]])] == ["b", "roll"]


def test_batches_of_clips_without_labels() -> None:
    clips = torch.from_numpy(np.stack([moving_square(seed=seed) for seed in range(5)]))
    for loader in (DataLoader(clips, batch_size=2), DataLoader(TensorDataset(clips), batch_size=2)):  # type: ignore[arg-type]
        videos = [sample.video for sample in as_samples(loader)]
        np.testing.assert_array_equal(np.stack(videos), clips.numpy())  # type: ignore[arg-type]
    assert len(list(as_samples([[clips[0], clips[1]]]))) == 2  # a list of two clips, no pair


def test_batches_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    paths = [str(tmp_path / "a.mp4")] * 2
    with pytest.raises(InputError, match="expected 2 labels in a batch, got 3"):
        list(as_samples([(paths, torch.arange(3))]))
    with pytest.raises(InputError, match="expected a list of labels for a batch, got 'roll'"):
        list(as_samples([(paths, "roll")]))
    with pytest.raises(InputError, match=r"expected the fields video, .* got video, lable"):
        list(as_samples([{"video": paths[0], "lable": 1}]))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (np.int64(1), 1),
        (torch.tensor(2), 2),
        (np.float32(3.0), 3),
        (np.str_("roll"), "roll"),
        (True, 1),
        (None, None),
    ],
)
def test_labels_are_plain(label: Any, expected: object) -> None:
    for sample in (Sample("a.mp4", label=label), *as_samples([(moving_square(), label)])):
        assert sample.label == expected
        assert type(sample.label) is type(expected)
        json.dumps(sample.label)


@pytest.mark.parametrize("label", [float("nan"), np.nan, 0.5, float("inf"), [1], {}, object()])
def test_other_labels_are_refused(label: Any) -> None:
    with pytest.raises(InputError, match="labels that are names or whole numbers, got"):
        Sample("a.mp4", label=label)


def test_a_sample_of_a_tensor() -> None:
    clip, mask = torch.from_numpy(moving_square()), torch.ones(32, 32, dtype=torch.bool)
    sample = Sample(clip, query_mask=mask)  # type: ignore[arg-type]
    assert isinstance(sample.video, np.ndarray)
    assert isinstance(sample.query_mask, np.ndarray)
    np.testing.assert_array_equal(read_video(sample.video)[0], moving_square())
    with pytest.raises(InputError, match="video expected a path or an array, got int"):
        Sample(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["video,label\na.mp4,x\n", "video;label\r\na.mp4;x\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_manifests_of_spreadsheets(tmp_path: Path, text: str, mark: str) -> None:
    (tmp_path / "m.CSV").write_bytes((mark + text).encode())
    assert read_manifest(tmp_path / "m.CSV") == [Sample(str(tmp_path / "a.mp4"), label="x")]
    (tmp_path / "m.jsonl").write_bytes((mark + '{"video": "a.mp4", "label": "x"}').encode())
    assert read_manifest(tmp_path / "m.jsonl") == [Sample(str(tmp_path / "a.mp4"), label="x")]


def test_cells_hold_what_quotes_hold(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('video,text\na.mp4,"a ball, red\nand round\u2028"\n')
    [sample] = read_manifest(tmp_path / "m.csv")
    assert sample.text == "a ball, red\nand round\u2028"


def test_other_columns_are_left_out_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,video,label,split\n7,a.mp4,x,train\n")
    with pytest.warns(InputWarning, match="left out the columns id, split"):
        assert read_manifest(tmp_path / "m.csv") == [Sample(str(tmp_path / "a.mp4"), label="x")]


def test_the_manifest_of_a_run_over_arrays_can_be_read(tmp_path: Path) -> None:
    videos = [Sample(moving_square(seed=seed), label=seed) for seed in range(3)]
    run = discover(example_adapter(), videos, out=tmp_path, layers=[2], progress=False)
    samples = read_manifest(run.path / "manifest.jsonl")
    assert [(s.video, s.name, s.label) for s in samples] == [
        (None, f"video_{seed}", seed) for seed in range(3)
    ]
    with pytest.raises(InputError, match="video video_0 was an array in memory"):
        list(as_samples(run.path / "manifest.jsonl"))


def test_what_cannot_be_used_is_left_out_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "m.csv").write_text("video,target_masks\na.mp4,\ngone.mp4,\na.mp4,gone.npz\n")
    bad: list[tuple[str, str]] = []
    items = [tmp_path / "m.csv", tmp_path / "missing", 5, moving_square()]
    found = list(as_samples(items, lambda name, error: bad.append((name, str(error)))))
    assert [sample.name for sample in found] == ["a", "video_1"]
    assert [name for name, _ in bad] == ["gone", "a", str(tmp_path / "missing"), "int"]
    assert "gone.npz does not exist" in bad[1][1]


def test_names_are_unique_and_tell_the_sequence(tmp_path: Path) -> None:
    for sequence in ("cows", "dog"):
        frames = tmp_path / sequence / "frames"
        frames.mkdir(parents=True)
        write_image(frames / "0.png", moving_square()[0])
    paths = [tmp_path / "cows/frames", tmp_path / "dog/frames", tmp_path / "dog/frames"]
    assert [sample.name for sample in as_samples(paths)] == ["cows", "dog", "dog (2)"]


def test_a_folder_of_videos_is_each_of_them(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "masks.npz").touch()
    assert [Path(str(s.video)).name for s in as_samples(tmp_path)] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    "samples", [[], np.zeros((4, 8, 8, 3)), [np.zeros((4, 8, 8, 4), np.uint8)], 5, [object()]]
)
def test_what_is_no_sample_is_refused(samples: object) -> None:
    with pytest.raises(InputError, match="samples expected"):
        list(as_samples(samples))


def test_samples_are_equal_by_content() -> None:
    first = Sample(np.arange(4), label=1, query_mask=np.zeros((2, 2)))
    same = Sample(np.arange(4), label=np.int64(1), query_mask=np.zeros((2, 2)))
    assert first == same
    assert hash(first) == hash(same)
    assert first != Sample(np.arange(4) + 1, label=1, query_mask=np.zeros((2, 2)))
    assert first != Sample(np.arange(4), label=1)
    assert Sample("a.mp4") == Sample("a.mp4") != Sample("b.mp4")
    assert len({Sample("a.mp4", "x"), Sample("a.mp4", "x"), Sample("a.mp4", "y")}) == 2
