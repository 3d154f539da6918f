"""What is left of a run's videos on disk: the same concepts, and what they are still good for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.additive import additive_adapter, samples
from pipeline.videos import run_files

import vtcd_ops
from vtcd_ops import InputError
from vtcd_ops.bridges.attribution import feature_mask
from vtcd_ops.bridges.coco import export_coco
from vtcd_ops.discovery import run_writer
from vtcd_ops.discovery.layer_members import gather
from vtcd_ops.discovery.run import Run
from vtcd_ops.discovery.run_files import tubelet_file

KEEPS = ("everything", "tokens", "concepts")
PARTS = ("values",)


def discover(out: Path, **more: Any) -> Run:
    options: dict[str, Any] = {"parts": PARTS, "progress": False, **more}
    return vtcd_ops.discover(additive_adapter(), samples(), out=out, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("kept")
    return {keep: discover(folder / keep, keep=keep) for keep in KEEPS}


def heads_of(run: Run) -> list[tuple[int, int]]:
    return [(layer, head) for layer in run.layers for head in run.heads]


def bytes_of(run: Run) -> int:
    return sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())


def test_the_concepts_are_the_same(runs: dict[str, Run]) -> None:
    for keep in KEEPS[1:]:
        assert runs[keep].keep == keep
        for layer, head in heads_of(runs[keep]):
            kept, whole = (runs[one].concepts(layer, head) for one in (keep, "everything"))
            assert kept == whole
    assert bytes_of(runs["concepts"]) < bytes_of(runs["tokens"]) < bytes_of(runs["everything"])
    assert not list(runs["concepts"].path.glob("videos/*/values-*"))
    assert [video.sha256 for video in runs["concepts"].videos] == [
        video.sha256 for video in runs["everything"].videos
    ]


def test_the_tokens_are_the_same(runs: dict[str, Run]) -> None:
    some, whole = runs["tokens"], runs["everything"]
    for video in range(len(whole.videos)):
        for layer in whole.layers:
            assert np.array_equal(some.tokens(video, layer), whole.tokens(video, layer))
            means = [run.tubelets(video, layer).means for run in (some, whole)]
            assert np.array_equal(*means)
    assert vtcd_ops.head_uniqueness(some) == vtcd_ops.head_uniqueness(whole)


def test_a_new_video_is_assigned_alike(runs: dict[str, Run]) -> None:
    whole = runs["everything"]
    video = samples()[1]
    found = runs["concepts"].assign(video, additive_adapter())
    assert all(np.array_equal(found.tokens(n), whole.tokens(1, n)) for n in whole.layers)


def test_rankings_are_the_same(runs: dict[str, Run], tmp_path: Path) -> None:
    """Of concepts alone the tokens are found again, which must be asked for."""
    options: dict[str, Any] = {"num_masks": 24, "progress": False, "dtype": "float32"}
    copies = {keep: shutil.copytree(runs[keep].path, tmp_path / keep) for keep in KEEPS}
    ranked = {
        keep: vtcd_ops.rank(
            copies[keep], additive_adapter(), samples(), assign=keep == "concepts", **options
        )
        for keep in KEEPS
    }
    for keep in KEEPS[1:]:
        assert np.array_equal(ranked[keep].value, ranked["everything"].value, equal_nan=True)
    for verb in (vtcd_ops.rank, vtcd_ops.curves):
        with pytest.raises(InputError, match=rf"^{verb.__name__}: the concept of every .*assign=T"):
            verb(copies["concepts"], additive_adapter(), samples(), progress=False)


EVERYTHING_NEEDED: dict[str, Callable[[Run, Path], Any]] = {
    "report": lambda run, _: vtcd_ops.report(run),
    "card": lambda run, out: vtcd_ops.card(run, "values-L0-H0-C0", out=out / "card.gif"),
    "suggest_names": lambda run, _: vtcd_ops.suggest_names(run, "unread", ["a", "b"]),
    "evidence": lambda run, _: vtcd_ops.evidence(run),
    "rosetta": lambda run, _: vtcd_ops.rosetta([run, run]),
    "compare": lambda run, _: vtcd_ops.compare(run, run),
    "export_coco": lambda run, out: export_coco(run, out / "coco.json"),
    "feature_mask": lambda run, _: feature_mask(run, 0, 0, 0, (4, 8, 8)),
    "store_concepts": lambda run, out: vtcd_ops.store_concepts(
        out / "stored", run, {}, {}, method="none"
    ),
    "run.support": lambda run, _: run.support(0, 0, 0),
    "run.labels": lambda run, _: run.labels(0, 0),
    "run.preview": lambda run, _: run.preview(0),
}


@pytest.mark.parametrize("keep", KEEPS[1:])
@pytest.mark.parametrize("verb", EVERYTHING_NEEDED)
def test_what_needs_more_is_refused_by_name(
    runs: dict[str, Run], tmp_path: Path, verb: str, keep: str
) -> None:
    words = rf"^{verb}: the label volumes and frames .* with keep='{keep}': .*keep='everything'$"
    with pytest.raises(InputError, match=words):
        EVERYTHING_NEEDED[verb](runs[keep], tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_needs_tokens_is_refused_by_name(runs: dict[str, Run]) -> None:
    run = runs["concepts"]
    for name, call in {
        "head_uniqueness": lambda: vtcd_ops.head_uniqueness(run),
        "run.tokens": lambda: run.tokens(0, 0),
        "run.tubelets": lambda: run.tubelets(0, 0),
    }.items():
        with pytest.raises(InputError, match=rf"^{name}: the concept of every token"):
            call()


def test_an_unknown_word(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="discover: keep expected one of everything, tokens, conc"):
        discover(tmp_path / "run", keep="nothing")


@pytest.mark.parametrize("keep", KEEPS[1:])
def test_a_larger_run_is_made_smaller(runs: dict[str, Run], tmp_path: Path, keep: str) -> None:
    """What is kept later has the same bytes as what is kept at once."""
    whole = runs["everything"].path
    with pytest.raises(InputError, match=rf"keep 'everything', not '{keep}': .* give reuse="):
        discover(whole, keep=keep)
    run = discover(tmp_path / "later", keep=keep, reuse=whole)
    assert run_files(run.path) == run_files(runs[keep].path)
    assert run == runs[keep]


def test_a_smaller_run_is_not_reused(runs: dict[str, Run], tmp_path: Path) -> None:
    for keep, asked in (("tokens", "everything"), ("concepts", "concepts")):
        with pytest.raises(InputError, match=f"reuse expected a run with .*with keep='{keep}'$"):
            discover(tmp_path / f"run-{keep}", keep=asked, reuse=runs[keep].path)


@pytest.mark.parametrize("keep", KEEPS[1:])
@pytest.mark.parametrize("at", ["write_concepts", "remove_unkept"])
def test_it_goes_on_after_an_interruption(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, keep: str
) -> None:
    """Also between the list of the files and the removal of those that are not on it."""

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_writer.RunWriter, at, broken)
        with pytest.raises(KeyboardInterrupt):
            discover(tmp_path / "run", keep=keep)
    assert (tmp_path / "run" / tubelet_file(0, "values", 0)).is_file()
    again = discover(tmp_path / "run", keep=keep)
    assert run_files(again.path) == run_files(runs[keep].path)
    assert discover(tmp_path / "run", keep=keep) == again  # it is finished


def test_a_file_of_a_larger_run_is_damage(runs: dict[str, Run], tmp_path: Path) -> None:
    """Its settings are the same, so its keep must be looked at."""
    name = tubelet_file(0, "values", 0)
    run = discover(tmp_path / "run", keep="tokens")
    (run.path / name).write_bytes((runs["everything"].path / name).read_bytes())
    with pytest.raises(InputError, match="damaged"):
        vtcd_ops.load(run.path)
    with pytest.raises(InputError, match="is damaged: its heads are not the run's"):
        run.tokens(0, 0)


# --- a head at a time ---


def test_heads_take_turns(runs: dict[str, Run], tmp_path: Path) -> None:
    """In a memory for a few tubelets every head is read for itself; the bytes are the same."""
    read = 0
    plain = run_writer.RunWriter.tubelets

    def counted(writer: run_writer.RunWriter, *arguments: Any) -> Any:
        nonlocal read
        read += 1
        return plain(writer, *arguments)

    whole = runs["everything"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_writer.RunWriter, "tubelets", counted)
        patch.setattr("vtcd_ops.discovery.video_divider.VideoDivider._budget", lambda *_: 10**9)
        run = discover(tmp_path / "run", max_memory=1)
    once = len(whole.videos) * len(whole.layers)
    assert read == once * (len(whole.heads) + 1)  # and once to verify
    assert run_files(run.path) == run_files(whole.path)


def test_as_many_heads_as_fit(runs: dict[str, Run]) -> None:
    run = runs["everything"]
    layer = run.layers[0]
    videos = [(v, run.tubelets(v, layer), str(v)) for v in range(len(run.videos))]
    rows = range(len(run.heads))
    everything, sources = gather(videos, rows, 10**9)
    assert sources == [str(v) for v in range(len(run.videos))]
    assert len(everything) == len(rows)
    for row, head in zip(rows, everything, strict=True):
        expected = run.concepts(layer, run.heads[row])
        for name in ("video", "label", "size"):
            assert np.array_equal(head[name], getattr(expected, name))
    room = 8 * everything[0]["means"].nbytes
    one, same = gather(videos, rows, room)
    assert len(one) == 1
    assert same == sources
    assert np.array_equal(one[0]["means"], everything[0]["means"])
    last, _ = gather(videos, rows[-1:], room)
    assert np.array_equal(last[0]["means"], everything[-1]["means"])
