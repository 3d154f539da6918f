"""The report of a run of many videos: what it looks at is bounded, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipeline.videos import moving_square

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting import measured_videos
from vtcd_ops.reporting.overlaps import overlaps
from vtcd_ops.reporting.profiles import head_profiles


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    videos = [moving_square(seed=seed) for seed in range(6)]
    out = tmp_path_factory.mktemp("many") / "run"
    return vtcd_ops.discover(example_adapter(), videos, out=out, progress=False)


def bound(monkeypatch: pytest.MonkeyPatch, volumes: int, videos: int) -> None:
    monkeypatch.setattr(measured_videos, "_MOST_VOLUMES", volumes)
    monkeypatch.setattr(measured_videos, "_LEAST_VIDEOS", videos)


@pytest.mark.parametrize(
    ("volumes", "least", "expected"),
    [(36, 1, [0, 1, 2, 3, 4, 5]), (18, 1, [0, 2, 5]), (1, 2, [0, 5]), (1, 9, [0, 1, 2, 3, 4, 5])],
)
def test_evenly_spread(
    run: Run, monkeypatch: pytest.MonkeyPatch, volumes: int, least: int, expected: list[int]
) -> None:
    bound(monkeypatch, volumes, least)  # of three layers of two heads
    assert measured_videos.measured_videos(run) == expected


def test_profiles_and_overlaps_of_some_videos(run: Run) -> None:
    """As counted from the supports of these videos alone."""
    some, layer, head = [1, 4], 2, 1
    volumes = [run.support(video, layer, head) for video in some]
    places = np.linspace(0, 31, 16).round().astype(int)[:, None]  # of the frame's rows and columns
    for index, profile in enumerate(head_profiles(run, "keys", layer, head, some)):
        shares = [(volume[:, places, places.T] == index).mean(axis=(1, 2)) for volume in volumes]
        there = [share for share in shares if share.any()]
        expected = np.mean(there, axis=0).mean() if there else 0.0
        assert np.mean(profile.time) == pytest.approx(expected)
    found = overlaps(run, run, "keys", some)
    one, other = (found.rows.index(unit) for unit in ((2, 1, 0), (0, 0, 0)))
    ratios = []
    for video in some:
        ours, theirs = run.tokens(video, 2)[1] == 0, run.tokens(video, 0)[0] == 0
        if (ours | theirs).any():
            ratios.append((ours & theirs).sum() / (ours | theirs).sum())
    assert found.ratio[one, other] == pytest.approx(np.mean(ratios))


def test_the_page_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = "Where and when concepts lie, and how much they overlap, is measured in"
    whole = vtcd_ops.report(run, out=tmp_path / "whole.html", progress=False).read_text()
    assert words not in whole
    bound(monkeypatch, 1, 2)
    page = vtcd_ops.report(run, out=tmp_path / "some.html", progress=False).read_text()
    assert f"{words} 2 of the 6 videos, evenly spread." in page
