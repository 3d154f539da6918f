"""Single frames of a long video: the right ones, and no others decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.coded_videos import number_in, numbered, write_numbered

from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.video import packet_index
from vtcd_ops.video.readers import FileSource, open_video

X264 = {"g": "12"}  # keyframes, with B-frames between
LISTED = {
    "h264.mp4": ("libx264", {"options": X264}),
    "h264.mkv": ("libx264", {"options": X264}),
    "fragments.mp4": (
        "libx264",
        {"options": X264, "container": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "short-groups.mp4": ("libx264", {"options": {"g": "3", "keyint_min": "1", "bf": "2"}}),
    "open-gop.mp4": ("libx264", {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3"}}),
    "open-gop.mkv": ("libx264", {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3"}}),
    "refresh.mp4": ("libx264", {"options": {"x264-params": "intra-refresh=1:keyint=20"}}),
    "h265.mp4": (
        "libx265",
        {"options": {"x265-params": "log-level=none:keyint=12:open-gop=1:bframes=4"}},
    ),
    "h265.mkv": ("libx265", {"options": {"x265-params": "log-level=none:keyint=12:bframes=4"}}),
    "vp9.webm": ("libvpx-vp9", {"options": {"cpu-used": "8", "g": "15"}}),
    "prores.mov": ("prores", {"pix_fmt": "yuv422p10le"}),
}  # fmt: skip


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of all frames that were decoded by the list of packets."""
    numbers: list[int] = []
    decode = packet_index._decode

    def counted(*args: Any) -> Iterator[tuple[int, Any]]:
        for number, frame in decode(*args):
            numbers.append(number)
            yield number, frame

    monkeypatch.setattr(packet_index, "_decode", counted)
    return numbers


def shifted(path: Path, seconds: float, name: str) -> Path:
    """Copy a video's packets to other times; in MP4 those before zero are cut by an edit list."""
    import av

    copy = path.with_name(name)
    with av.open(str(path)) as source, av.open(str(copy), "w") as file:
        old = source.streams.video[0]
        new = file.add_stream_from_template(old)
        shift = round(Fraction(seconds).limit_denominator(1000) / old.time_base)
        for packet in source.demux(old):
            if packet.size:
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = new
                file.mux(packet)
    return copy


@pytest.mark.parametrize("name", LISTED)
def test_any_choice_of_frames_is_the_right_one(tmp_path: Path, name: str) -> None:
    codec, options = LISTED[name]
    path = write_numbered(tmp_path / name, codec, 120, **options)  # type: ignore[arg-type]
    assert packet_index.list_frames(path) is not None
    chosen = np.random.default_rng(0)
    source = open_video(path)
    assert source.num_frames == 120
    for count in (1, 2, 5, 30):
        wanted = sorted(chosen.integers(0, 120, count).tolist())
        assert [number_in(frame) for frame in source.frames(wanted)] == wanted
    assert [number_in(frame) for frame in source.frames(range(120))] == list(range(120))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_that_begins_late(tmp_path: Path, suffix: str) -> None:
    path = write_numbered(tmp_path / "a.mp4", options=X264)
    source = open_video(shifted(path, 7.0, f"late.{suffix}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)  # it passes for whole
        assert source.num_frames == 60
    assert source.times([0, 59]) == pytest.approx([0, 5.9], abs=2e-3)
    assert [number_in(frame) for frame in source.frames([0, 30, 59])] == [0, 30, 59]


@pytest.mark.parametrize("cut", [5, 12, 17])
def test_an_edit_list_cuts_the_beginning(tmp_path: Path, cut: int) -> None:
    """The first frame shown lies in the middle of a group: those before it are decoded, unseen."""
    path = write_numbered(tmp_path / "a.mp4", options=X264)
    source = open_video(shifted(path, -cut / 10, "edited.mp4"))
    frames = [number_in(frame) for frame in source.frames(range(source.num_frames))]
    assert frames == list(range(cut, 60))
    wanted = [0, 3, 20, len(frames) - 1]
    assert [number_in(frame) for frame in source.frames(wanted)] == [frames[i] for i in wanted]
    assert source.times([0])[0] == 0


def test_no_other_group_is_decoded(tmp_path: Path, decoded: list[int]) -> None:
    path = write_numbered(
        tmp_path / "a.mp4", num_frames=240, options={"g": "12", "bf": "0", "sc_threshold": "0"}
    )
    source = open_video(path)
    assert source.num_frames == 240
    assert max(decoded) < 12  # of the first frames alone it is seen that they are as listed
    decoded.clear()
    wanted = [5, 100, 101, 239]
    assert [number_in(frame) for frame in source.frames(wanted)] == wanted
    assert sorted(set(decoded)) == [*range(6), *range(96, 102), *range(228, 240)]
    assert len(decoded) == len(set(decoded))


class Lying(FileSource):
    """A file whose list of packets says something else than what is decoded."""

    def __init__(self, path: Path, tmp_path: Path, frames: int) -> None:
        other = write_numbered(tmp_path / "other.mp4", num_frames=frames, options={"g": "7"})
        super().__init__(path)
        listed = packet_index.list_frames(path)
        assert listed is not None
        scan, index = packet_index.list_frames(other) or listed
        shown = (*listed[1].shown[:20], *(time + 1 for time in index.shown[20:]))
        self._listed = scan, packet_index.PacketIndex(shown, index.keys, index.entries)


def test_what_contradicts_its_list_is_decoded_from_the_beginning(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", options=X264)
    wanted = [2, 19, 31, 58]
    assert [number_in(f) for f in Lying(path, tmp_path, 60).frames(wanted)] == wanted
    with pytest.raises(InputError, match=r"a\.mp4 lists 80 frames and 60 can be decoded: it is"):
        list(Lying(path, tmp_path, 80).frames(wanted))


def test_frames_of_one_size_alone_are_read(tmp_path: Path) -> None:
    source = open_video(write_numbered(tmp_path / "a.mkv", options=X264))
    assert source.frame_size == source.header_size == numbered(0).shape[:2]
