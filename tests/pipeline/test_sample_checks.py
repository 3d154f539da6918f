"""All samples are looked through before the first is worked on; bad ones are left out if asked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.coded_videos import cut_off, write_numbered
from pipeline.test_bad_input import vtcd
from pipeline.test_features import steered
from pipeline.videos import moving_square, run_files, write_image, write_video
from torch.utils.data import DataLoader

import vtcd_ops.discovery
from vtcd_ops.adapters import example_adapter
from vtcd_ops.adapters.projections import ProjectionAdapter
from vtcd_ops.cli import main
from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.sample_checks import ClipChoice, check_samples
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.video.clips import choose_clip
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Good and bad videos."""
    good = write_video(tmp_path / "good.mkv", moving_square(8))
    second = write_video(tmp_path / "second.mkv", moving_square(8, seed=1))
    short = write_video(tmp_path / "short.mkv", moving_square(3))
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for frame in range(4):
        write_image(mixed / f"{frame}.png", moving_square(edge=32 + 8 * (frame == 2))[0])
    return {"good": good, "second": second, "short": short, "text": text, "mixed": mixed}


@pytest.mark.parametrize("bad", ["short", "text"])
def test_the_last_sample_is_looked_at_before_the_first_is_worked_on(
    paths: dict[str, Path], tmp_path: Path, bad: str
) -> None:
    out = tmp_path / "run"
    for samples in ([paths["good"], paths[bad]], (paths["good"], Sample(str(paths[bad])))):
        with pytest.raises(InputError, match=rf"video {bad}: "):
            discover(example_adapter(), samples, out=out, progress=False)
    assert not out.exists()


def test_a_missing_field_is_found_first(adapter: ProjectionAdapter, tmp_path: Path) -> None:
    samples = [Sample(moving_square(), text="1"), Sample(moving_square(seed=1))]
    with pytest.raises(InputError, match="video video_1: example needs the text of every video"):
        discover(steered(adapter), samples, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_looking_through_decodes_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: ProjectionAdapter
) -> None:
    path = write_numbered(tmp_path / "a.mp4")
    monkeypatch.setattr("vtcd_ops.video.decoding._frames", None)
    choose = ClipChoice(adapter, Settings(), 10**9)
    assert len(check_samples([path, path], choose)) == 2


def listed(samples: Any, out: Path) -> tuple[list[str], list[str]]:
    """Names of the videos of a run without bad ones, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        run = discover(
            example_adapter(), samples, out=out, layers=[2], progress=False, skip_bad=True
        )
    told = [str(w.message) for w in caught if issubclass(w.category, InputWarning)]
    return [video.name for video in run.videos], told


def test_bad_samples_are_left_out_and_listed(paths: dict[str, Path], tmp_path: Path) -> None:
    order = ["text", "good", "short", "mixed", "second"]
    given: list[Any] = [paths[name] for name in order] + [tmp_path / "missing.mp4", 7]
    names, told = listed(given, tmp_path / "run")
    assert names == ["good", "second"]
    assert [line.split(":")[0] for line in told] == [
        f"left out {tmp_path}/missing.mp4",
        "left out int",
        "left out text",
        "left out short",
        "left out mixed",
    ]
    assert "at least 4 frames, got 3" in told[3]
    # the same bytes as of the good ones alone, again (finished), and from an iterator
    discover(
        example_adapter(),
        [paths["good"], paths["second"]],
        out=tmp_path / "alone",
        layers=[2],
        progress=False,
    )
    assert run_files(tmp_path / "run") == run_files(tmp_path / "alone")
    assert listed(given, tmp_path / "run")[0] == ["good", "second"]

    def one_by_one() -> Iterator[Any]:
        yield from given

    assert listed(one_by_one(), tmp_path / "iterator")[0] == ["good", "second"]
    assert run_files(tmp_path / "iterator") == run_files(tmp_path / "alone")


def test_bad_samples_of_a_dataloader(tmp_path: Path) -> None:
    clips = np.stack([moving_square(seed=seed) for seed in range(3)])
    batches = DataLoader([*clips, "missing.mp4"], batch_size=1, collate_fn=lambda batch: batch[0])
    names, told = listed(batches, tmp_path / "run")
    assert names == ["video_0", "video_1", "video_2"]
    assert told == ["left out missing.mp4: missing.mp4 does not exist"]


def test_nothing_good_is_an_error(paths: dict[str, Path], tmp_path: Path) -> None:
    with (
        pytest.warns(InputWarning, match="left out text"),
        pytest.raises(InputError, match="expected at least one video, got none"),
    ):
        discover(example_adapter(), paths["text"], out=tmp_path / "r", skip_bad=True)


@pytest.fixture
def by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vtcd_ops.adapters.placement, "load_model", lambda model: example_adapter())


@pytest.mark.usefixtures("by_name")
def test_the_command_line_lists_them(
    paths: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = tmp_path / "a\x1b[2J\u202e.mp4"
    hostile.write_text("no video")
    given = [str(paths["good"]), str(hostile), str(paths["second"]), "--out", str(tmp_path / "r")]
    status, error = vtcd(monkeypatch, capsys, "discover", "example", *given)
    assert status == 2
    assert error.startswith("vtcd: video a\\x1b[2J\\u202e: ")
    assert error.count("\n") == 1
    words = ["discover", "example", *given, "--skip-bad", "--no-progress"]
    status, error = vtcd(monkeypatch, capsys, *words)
    assert status == 0
    assert error.splitlines()[0].startswith("vtcd: left out a\\x1b[2J\\u202e: ")
    assert error.count("\n") == 1
    assert "\x1b" not in error


@pytest.mark.usefixtures("by_name")
def test_a_late_error_begins_a_line_of_its_own(
    paths: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The bar ends before the sentence."""
    given = [str(paths["good"]), str(paths["mixed"]), "--out", str(tmp_path / "r")]
    status, error = vtcd(monkeypatch, capsys, "discover", "example", *given)
    assert status == 2
    assert "videos:" in error
    last = error.rstrip("\n").rpartition("\n")[2]
    assert last.startswith("vtcd: video mixed: ")


@pytest.mark.usefixtures("by_name")
def test_one_video_is_said_in_the_singular(
    paths: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["vtcd", "discover", "example", str(paths["good"]), "--out", str(tmp_path / "r")]
    monkeypatch.setattr("sys.argv", [*words, "--no-progress"])
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr()
    assert not exit_.value.code
    assert said.out.splitlines()[0].endswith(" concepts of 1 video")
    assert "the concepts are those of a single video" in said.err


def test_a_shorter_step_is_said(adapter: ProjectionAdapter) -> None:
    with pytest.warns(InputWarning, match=r"11 frames are too few for 4 with a step of 5: .* is 3"):
        clip = choose_clip(adapter, open_video(moving_square(11)), sampling_rate=5)
    assert np.diff(clip.indices).tolist() == [3, 3, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_clip(adapter, open_video(moving_square(16)), sampling_rate=5)
        choose_clip(adapter, open_video(moving_square(4)))


def test_an_image_model_takes_fewer_frames_with_a_word(adapter: ProjectionAdapter) -> None:
    adapter.num_frames = adapter.tubelet_size = 1
    with pytest.warns(InputWarning, match="it has 3 frames, fewer than 16: all are looked at"):
        clip = choose_clip(adapter, open_video(moving_square(3)))
    assert clip.indices == [0, 1, 2]
    with pytest.raises(InputError, match="at least 16 frames, got 3"):
        choose_clip(adapter, open_video(moving_square(3)), 16)


def test_what_a_cut_file_lacks_is_said(adapter: ProjectionAdapter, tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "a.mkv", moving_square(8)), 0.4)
    with (
        pytest.warns(InputWarning, match="seems to be cut off"),
        pytest.raises(InputError, match=r"at least 4 frames, got \d \(it seems to be cut off: it"),
    ):
        choose_clip(adapter, open_video(path))


def test_frames_larger_than_the_memory_are_refused_before_one_is_decoded(
    adapter: ProjectionAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    Image.new("L", (10_000, 10_000)).save(tmp_path / "0.png")
    monkeypatch.setattr("vtcd_ops.video.decoding.decode_image", None)
    with pytest.raises(InputError, match=r"10000x10000 pixels takes about 1\.60 GB, more than max"):
        choose_clip(adapter, open_video(tmp_path), max_memory=10**9)
