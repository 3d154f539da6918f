"""Samples, manifests, and reading videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, write_image, write_video
from torch.utils.data import DataLoader

from vtcd_ops.errors import InputError
from vtcd_ops.samples import Sample, as_samples, read_manifest
from vtcd_ops.video_reader import open_video, read_video


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
