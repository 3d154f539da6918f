"""Frames of video files and images: which, when, how they are turned, and what a cut leaves."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from pipeline.coded_videos import (
    cut_off,
    number_in,
    numbered,
    set_display_matrix,
    write_numbered,
)
from pipeline.videos import moving_square, write_image

from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.video.readers import open_video, open_video_quickly, read_video

X264 = {"g": "12"}  # keyframes, with B-frames between
FILES = {
    "h264.mp4": ("libx264", {"options": X264}),
    "faststart.mp4": ("libx264", {"options": X264, "container": {"movflags": "faststart"}}),
    "fragments.mp4": (
        "libx264",
        {"options": X264, "container": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "h264.mkv": ("libx264", {"options": X264}),
    "h264.ts": ("libx264", {"options": X264}),
    "h264.mov": ("libx264", {"options": X264}),
    "open-gop.mp4": ("libx264", {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3"}}),
    "h265.mp4": ("libx265", {"options": {"x265-params": "log-level=none"}}),
    "vp8.webm": ("libvpx", {}),
    "vp9.webm": ("libvpx-vp9", {"options": {"cpu-used": "8"}}),
    "mpeg4.avi": ("mpeg4", {}),
    "mjpeg.avi": ("mjpeg", {"pix_fmt": "yuvj420p"}),
    "mpeg2.mpg": ("mpeg2video", {"options": {"bf": "2"}}),
    "mpeg1.mpg": ("mpeg1video", {}),
    "ffv1.mkv": ("ffv1", {}),
    "picture.gif": ("gif", {"pix_fmt": "rgb8"}),
    "prores.mov": ("prores", {"pix_fmt": "yuv422p10le"}),
    "dnxhd.mov": ("prores_ks", {"pix_fmt": "yuva444p10le"}),
    "huff.avi": ("huffyuv", {"pix_fmt": "yuv422p"}),
    "png.mov": ("png", {"pix_fmt": "rgb24"}),
}


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_the_one_that_was_written(tmp_path: Path, name: str) -> None:
    codec, options = FILES[name]
    path = write_numbered(tmp_path / name, codec, 60, **options)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)  # no whole file passes for cut
        source = open_video(path)
        assert source.num_frames == open_video_quickly(path).num_frames == 60
    wanted = [0, 1, 13, 13, 31, 58, 59]
    assert [number_in(frame) for frame in source.frames(wanted)] == wanted
    rate = 25 if codec.startswith("mpeg") else 10
    assert source.times(wanted) == pytest.approx([i / rate for i in wanted], abs=2e-3)


def test_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).integers(1, 12, 60)
    times = np.concatenate([[0], np.cumsum(gaps[:-1])]).tolist()
    source = open_video(write_numbered(tmp_path / "a.mkv", times=times))
    assert source.times(range(60)) == pytest.approx([time / 100 for time in times], abs=1e-3)
    assert source.times([59])[0] != pytest.approx(59 / source.fps, rel=0.01)


def test_a_cover_is_not_the_video(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", cover=True)
    source = open_video(path)
    assert source.num_frames == 60
    assert number_in(next(source.frames([42]))) == 42


def test_bt709_is_decoded_with_its_own_matrix(tmp_path: Path) -> None:
    """The colour that was coded, by the matrix of BT.709 in limited range."""
    import av

    path = tmp_path / "a.mp4"
    colour = np.array([200, 60, 30])
    red, green, blue = colour / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    coded = (
        16 + 219 * luma,
        128 + 224 * (blue - luma) / 1.8556,
        128 + 224 * (red - luma) / 1.5748,
    )
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1
        planes = [np.full(shape, round(v)) for v, shape in zip(coded, [(64, 64)] + 2 * [(32, 32)])]
        yuv = np.concatenate([plane.reshape(-1, 64) for plane in planes]).astype(np.uint8)
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(yuv, format="yuv420p")))
        file.mux(stream.encode())
    frames, _ = read_video(path)
    assert np.abs(frames.astype(int) - colour).max() <= 2


# By how ffmpeg turns pictures itself (its filters' names), as numpy says it
MATRICES = {
    (1, 0, 0, 1): lambda p: p,
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),  # clockwise
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (-1, 0, 0, 1): lambda p: p[:, ::-1],  # hflip
    (1, 0, 0, -1): lambda p: p[::-1],  # vflip
    (0, 1, 1, 0): lambda p: p.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda p: p[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_videos_are_turned_and_mirrored_as_they_say(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    path = write_numbered(tmp_path / "a.mp4", num_frames=38)
    plain = next(open_video(path).frames([37]))
    plain_number = numbered(37)
    assert np.abs(plain.astype(int) - plain_number).mean() < 5
    source = open_video(set_display_matrix(path, *matrix))
    turned = MATRICES[matrix](plain)
    np.testing.assert_array_equal(next(source.frames([37])), turned)
    assert source.frame_size == turned.shape[:2]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    blocks = np.random.default_rng(0).integers(0, 255, (3, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"0.{suffix}"
    quality = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    image = Image.fromarray(np.kron(blocks, np.ones((16, 16, 1))).astype(np.uint8))
    image.save(path, exif=exif, **quality)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    source = open_video(tmp_path)
    [got] = source.frames([0])
    assert got.shape[:2] == source.frame_size == expected.shape[:2]
    assert np.abs(got.astype(int) - expected).max() <= 2


ODD = ["a:b.mp4", "http:x.mp4", "%03d.mp4", "*.mp4", "[1].mp4", " .mp4", "ü\u202e\x1b[2J.mp4"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_numbered(tmp_path / "plain.mp4", num_frames=5).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert open_video(name).num_frames == 5  # relative
    images = tmp_path / name.removesuffix(".mp4").strip() / "frames"
    images.mkdir(parents=True)
    write_image(images / name.replace("mp4", "png"), moving_square()[0])
    np.testing.assert_array_equal(read_video(images.relative_to(tmp_path))[0], moving_square()[:1])


def test_a_list_of_other_files_is_no_video(tmp_path: Path) -> None:
    write_numbered(tmp_path / "a.mp4", num_frames=5)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(InputError, match=r"list\.mp4 is not a video: it is a list of other files"):
        read_video(path)


CUT = [
    "faststart.mp4",
    "fragments.mp4",
    "h264.mkv",
    "h264.ts",
    "mpeg4.avi",
    "vp8.webm",
    "mjpeg.avi",
]


@pytest.mark.parametrize("name", [*CUT, "mpeg2.mpg", "picture.gif", "png.mov"])
def test_a_cut_file_is_used_with_a_word(tmp_path: Path, name: str) -> None:
    codec, options = FILES[name]
    if name == "png.mov":
        options = {**options, "container": {"movflags": "faststart"}}
    path = write_numbered(tmp_path / name, codec, 120, **options)  # type: ignore[arg-type]
    source = open_video(cut_off(path, 0.6))
    with pytest.warns(InputWarning, match=rf"cut-{name} seems to be cut off: .*frames are used"):
        num_frames = source.num_frames
    assert 0 < num_frames < 100
    frames = list(source.frames(range(num_frames)))
    assert [number_in(frame) for frame in frames[:-1]] == list(range(num_frames - 1))


def test_a_file_cut_before_its_index_cannot_be_read(tmp_path: Path) -> None:
    path = cut_off(write_numbered(tmp_path / "a.mp4"), 0.6)
    with pytest.raises(InputError, match=r"cut-a\.mp4 is not a video that can be read"):
        _ = open_video(path).num_frames


def damaged(path: Path) -> Path:
    """Write 60 frames, in the 21st of which some bytes are gone."""
    write_numbered(path, "png", 60, pix_fmt="rgb24")
    content = bytearray(path.read_bytes())
    position = -1
    for _ in range(21):
        position = content.find(b"\x89PNG", position + 1)
    content[position : position + 8] = bytes(8)
    path.write_bytes(content)
    return path


def test_damage_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = damaged(tmp_path / "a.mov")
    source = open_video(path)
    with pytest.raises(InputError, match=r"a\.mov is damaged near its frame (1[89]|2[0-5]): Inval"):
        list(source.frames(range(60)))
    # Frames before and behind it are as they are
    assert [number_in(frame) for frame in open_video(path).frames([3, 40, 59])] == [3, 40, 59]


def test_damage_in_the_middle_of_what_is_not_listed_is_refused(tmp_path: Path) -> None:
    path = damaged(tmp_path / "a.avi")
    with pytest.raises(InputError, match=r"a\.avi is damaged near its frame (1[89]|2[0-5]): Inval"):
        _ = open_video(path).num_frames


PEAK = """
import resource, sys
from vtcd_ops.video.readers import open_video
from vtcd_ops.adapters import example_adapter
from vtcd_ops.video.clips import choose_clip
adapter = example_adapter()
clip = choose_clip(adapter, open_video(sys.argv[1]), "all")
adapter.num_frames = len(clip.indices)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
[frames] = clip.clips()
assert frames.shape[0] == len(clip.indices)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_huge_frames_are_held_one_at_a_time(tmp_path: Path) -> None:
    """16 frames of 4000x3000 are 576 MB; one of them, with all that decoding takes, is 192."""
    Image.new("RGB", (4000, 3000)).save(tmp_path / "0.png")
    for number in range(1, 16):
        (tmp_path / f"{number}.png").hardlink_to(tmp_path / "0.png")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 200  # MB
