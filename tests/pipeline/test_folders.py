"""What a folder given as a sample holds, and in which order."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from pipeline.videos import moving_square, write_image

from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.video.media_files import in_natural_order
from vtcd_ops.video.readers import open_video, read_video
from vtcd_ops.video.samples import Sample, as_samples


@pytest.fixture(autouse=True)
def warnings_are_errors() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        yield


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names_of(folder: Path) -> list[str]:
    return [str(Path(str(sample.video)).relative_to(folder)) for sample in as_samples(folder)]


def test_frames_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = moving_square(12)
    for index, frame in enumerate(frames):
        write_image(tmp_path / f"{index + 1}.png", frame)
    got, _ = read_video(tmp_path)
    np.testing.assert_array_equal(got, frames)


def test_videos_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "clip 10.mp4", "clip 9.MP4", "clip 1.mp4", "another.webm")
    assert names_of(tmp_path) == ["another.webm", "clip 1.mp4", "clip 9.MP4", "clip 10.mp4"]


def test_equal_numbers_have_one_order() -> None:
    names = ["1.png", "01.png", "001.png", "2.png"]
    for turned in (names, names[::-1]):
        ordered = [path.name for path in in_natural_order(map(Path, turned))]
        assert ordered == ["001.png", "01.png", "1.png", "2.png"]


def test_what_systems_leave_behind_is_no_sample(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "._a.mp4", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png")
    assert names_of(tmp_path) == ["a.mp4"]


def test_what_systems_leave_behind_is_no_frame(tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"{index}.png", moving_square(3)[index])
    touch(tmp_path, "._0.png", ".DS_Store", "thumbs.db")
    assert open_video(tmp_path).num_frames == 3


def test_a_cover_among_frames_is_left_out_with_a_word(tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"{index}.png", moving_square(3)[index])
    write_image(tmp_path / "cover.png", moving_square(edge=64)[0])
    with pytest.warns(InputWarning, match=r"left out cover\.png, which has no number"):
        assert open_video(tmp_path).num_frames == 3


def test_a_cover_among_videos_is_left_out_with_a_word(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b2.mp4", "cover.jpg", "b2.jpg")
    with pytest.warns(InputWarning, match=r"left out the images beside .*b2\.jpg, cover\.jpg"):
        assert names_of(tmp_path) == ["a.mp4", "b2.mp4"]


def test_videos_among_frames_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "preview.mp4")
    with pytest.raises(InputError, match=r"videos and numbered images \(1\.jpg"):
        list(as_samples(tmp_path))


def test_folders_of_videos_give_labels(tmp_path: Path) -> None:
    touch(tmp_path, "run/x.mp4", "run/y.mp4", "jump/x.mp4", "jump/thumbs.db", ".git/z.mp4")
    with pytest.warns(InputWarning, match="took the names of its folders as labels: jump, run"):
        samples = list(as_samples(tmp_path))
    assert [(s.label, s.name) for s in samples] == [("jump", "x"), ("run", "x (2)"), ("run", "y")]


def test_folders_of_frames_are_videos_without_labels(tmp_path: Path) -> None:
    touch(tmp_path, "dog/frames/0.jpg", "dog/masks/0.png", "cat/0.jpg", "cat/1.jpg")
    samples = list(as_samples(tmp_path))
    assert [(s.name, s.label) for s in samples] == [("cat", None), ("dog", None)]


@pytest.mark.parametrize("resolution", ["480p", "Full-Resolution", ""])
def test_the_root_of_davis(tmp_path: Path, resolution: str) -> None:
    for sequence in ("bear", "camel"):
        touch(tmp_path, f"JPEGImages/{resolution}/{sequence}/00000.jpg")
    touch(tmp_path, f"Annotations/{resolution}/bear/00000.png", "ImageSets/2017/val.txt")
    bear, camel = as_samples(tmp_path)
    frames, masks = tmp_path / "JPEGImages" / resolution, tmp_path / "Annotations" / resolution
    assert bear == Sample(str(frames / "bear"), target_masks=str(masks / "bear"), name="bear")
    assert camel == Sample(str(frames / "camel"), name="camel")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), "holds neither frames nor videos$"),
        (("a.txt",), "holds neither frames nor videos$"),
        (("train/run/x.mp4",), "neither frames nor videos, nor do its folders: name those"),
        (("JPEGImages/480p/readme.txt",), "holds no sequence of frames in"),
    ],
)
def test_a_folder_of_nothing(tmp_path: Path, names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        list(as_samples(touch(tmp_path, *names)))
