"""What is stored says what it is: nothing else is taken for it, by exchange or by settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.videos import moving_square, run_files
from torch import nn

import vtcd_ops
from vtcd_ops.adapters import TokenLayout, example_adapter, weights, weights_sha256
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.storage.documents import encode_json, read_json
from vtcd_ops.storage.files import sha256_file

FAST: dict[str, Any] = {"progress": False, "layers": [0, 1]}
RANK: dict[str, Any] = {"num_masks": 64, "progress": False, "dtype": "float32"}


def videos(count: int = 3, first: int = 0) -> list[np.ndarray]:
    return [moving_square(seed=seed) for seed in range(first, first + count)]


def labelled(count: int = 3) -> list[vtcd_ops.Sample]:
    return [vtcd_ops.Sample(video, label=n % 2) for n, video in enumerate(videos(count))]


def discover(out: Path, **changes: Any) -> Run:
    """A discovery of the example model, some of it changed."""
    options = {"model": example_adapter(), "samples": videos(), "out": out, **FAST, **changes}
    return vtcd_ops.discover(options.pop("model"), options.pop("samples"), **options)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of other videos at the same settings, with controls, rankings and the like."""
    folder = tmp_path_factory.mktemp("stored")
    for name, first in (("run", 0), ("other", 3)):
        samples = [
            vtcd_ops.Sample(video, label=n % 2) for n, video in enumerate(videos(first=first))
        ]
        run = discover(folder / name, samples=samples, compactness="auto", sanity=True)
        for ranking, seed in (("one", 0), ("two", 1)):
            vtcd_ops.rank(run, example_adapter(), samples, "logit", name=ranking, seed=seed, **RANK)
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    shutil.copytree(stored, tmp_path / "copy")
    return tmp_path / "copy"


def exchange(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


TUBELETS, CONCEPTS = "videos/00001/keys-00.safetensors", "concepts/keys-00.safetensors"
UNFINISHED: dict[str, tuple[str, str]] = {
    "tubelets of two videos": (f"run/{TUBELETS}", "run/videos/00002/keys-00.safetensors"),
    "tubelets of two layers": (f"run/{TUBELETS}", "run/videos/00001/keys-01.safetensors"),
    "tubelets of another run": (f"run/{TUBELETS}", f"other/{TUBELETS}"),
    "record of another run": (
        "run/videos/00001/clip.safetensors",
        "other/videos/00001/clip.safetensors",
    ),
    "records of two videos": (
        "run/videos/00001/clip.safetensors",
        "run/videos/00002/clip.safetensors",
    ),
    "concepts of two layers": (f"run/{CONCEPTS}", "run/concepts/keys-01.safetensors"),
    "concepts of another run": (f"run/{CONCEPTS}", f"other/{CONCEPTS}"),
}


@pytest.mark.parametrize("exchanged", list(UNFINISHED))
def test_an_exchange_in_an_unfinished_run_is_refused(folder: Path, exchanged: str) -> None:
    """There is no list of hashes yet; the file itself says what it is."""
    one, other = UNFINISHED[exchanged]
    (folder / "run/run.json").unlink()
    exchange(folder / one, folder / other)
    with pytest.raises(InputError, match=r"belongs elsewhere|was begun with another video"):
        discover(folder / "run", compactness="auto", samples=labelled())
    assert not (folder / "run/run.json").exists()


def test_another_compactness_is_refused(folder: Path) -> None:
    """That of a run with other settings; equal settings on other videos are told by the videos."""
    other = discover(folder / "third", compactness="auto", n_segments=6)
    shutil.copy(other.path / "compactness.json", folder / "run/compactness.json")
    (folder / "run/run.json").unlink()
    with pytest.raises(InputError, match=r"compactness\.json belongs elsewhere"):
        discover(folder / "run", compactness="auto", samples=labelled())


def test_another_control_is_refused(folder: Path) -> None:
    exchange(folder / "run/sanity", folder / "other/sanity")
    with pytest.raises(InputError, match=r"run/sanity is the control of another run than"):
        _ = load(folder / "run").sanity


def test_the_control_of_another_model_is_refused(folder: Path) -> None:
    discover(folder / "third", compactness="auto", sanity=True, model=example_adapter(seed=5))
    exchange(folder / "run/sanity", folder / "third/sanity")
    with pytest.raises(InputError, match=r"run/sanity is the control of another run than"):
        _ = load(folder / "run").sanity


def test_the_control_is_verified_once(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(stored / "run")
    control = run.sanity
    monkeypatch.setattr(vtcd_ops.discovery.run, "load", None)
    assert run.sanity is control


@pytest.mark.parametrize(
    "names",
    [
        ("scores.safetensors", "estimate.safetensors", "result.json"),
        ("estimate.safetensors",),
        ("settings.json",),
        ("",),  # the folders themselves
    ],
)
def test_an_exchange_among_rankings_is_refused(folder: Path, names: tuple[str, ...]) -> None:
    rankings = folder / "run/importance"
    for name in names:
        exchange(rankings / "one" / name, rankings / "two" / name)
    with pytest.raises(InputError, match=r"belongs elsewhere|is damaged"):
        load(folder / "run").importance("one")


def test_a_renamed_ranking_is_refused(folder: Path) -> None:
    rankings = folder / "run/importance"
    (rankings / "one").rename(rankings / "three")
    with pytest.raises(InputError, match="belongs elsewhere: it is of 'one'"):
        load(folder / "run").importance("three")


@pytest.mark.parametrize("kind", ["videos", "parts"])
def test_exchanged_parts_of_a_ranking_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    run = load(folder / "run")
    options = {**RANK, "name": "three", "num_masks": 256}
    with monkeypatch.context() as patch:
        patch.setattr(vtcd_ops.importance.scores_store.ScoresWriter, "write_scores", interrupt)
        with pytest.raises(KeyboardInterrupt):
            vtcd_ops.rank(run, example_adapter(), labelled(), "logit", **options)
    first, second, *_ = sorted((run.path / "importance/three" / kind).iterdir())
    exchange(first, second)
    with pytest.raises(InputError, match="belongs elsewhere"):
        vtcd_ops.rank(run, example_adapter(), labelled(), "logit", **options)


def test_a_flipped_bit_is_noticed_before_the_list_vouches_for_it(folder: Path) -> None:
    """In a file that no step reads again, as its concepts are there."""
    path = folder / "run" / TUBELETS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    (folder / "run/run.json").unlink()
    with pytest.raises(InputError, match=f"{path} is damaged.*the same command makes it again"):
        discover(folder / "run", compactness="auto", samples=labelled())
    path.unlink()
    mended = discover(folder / "run", compactness="auto", samples=labelled())
    assert len(mended.units()) > 0


def test_a_list_without_files_is_refused(folder: Path) -> None:
    run = folder / "run"
    document = read_json(run / "run.json")
    for files in ({}, dict(list(document["files"].items())[1:])):
        (run / "run.json").write_bytes(encode_json({**document, "files": files}))
        with pytest.raises(InputError, match=r"run\.json is damaged: files expected"):
            load(run)


def test_an_earlier_format_is_read_but_not_gone_on_with(folder: Path) -> None:
    """Files of format 2 do not say where they belong; the list of hashes vouches for them."""
    run = folder / "run"
    settings = {**read_json(run / "settings.json"), "format": 2}
    (run / "settings.json").write_bytes(encode_json(settings))
    contents = read_json(run / "run.json")
    compactness = read_json(run / "compactness.json")["compactness"]
    (run / "compactness.json").write_bytes(encode_json(compactness))
    for name in ("settings.json", "compactness.json"):
        file = run / name
        contents["files"][name] = [file.stat().st_size, sha256_file(file)]
    (run / "run.json").write_bytes(encode_json(contents))
    old = load(run)
    assert old.format == 2
    assert old.support(0, 1, 1).shape == (4, 32, 32)
    assert old.compactness(1) == compactness["keys"]["1"]
    with pytest.raises(InputError, match="run of an earlier version of vtcd_ops"):
        discover(run, compactness="auto", samples=labelled())


def other_frames(adapter: Any) -> None:
    adapter.frames = replace(adapter.frames, mean=(0.0, 0.0, 0.0))


def other_layout(adapter: Any) -> None:
    adapter.layout = TokenLayout("twh")


def reversed_taps(adapter: Any) -> None:
    adapter._module_names = adapter._module_names[::-1]


@pytest.mark.parametrize("change", [other_frames, other_layout, reversed_taps])
def test_a_model_seen_or_read_in_another_way_is_another(
    stored: Path, change: Callable[[Any], None]
) -> None:
    """The weights are the same, the features are not."""
    changed = example_adapter()
    change(changed)
    assert weights_sha256(changed.model) == weights_sha256(example_adapter().model)
    with pytest.raises(InputError, match=r"holds a run with model features"):
        discover(stored / "run", model=changed, compactness="auto", samples=labelled())
    with pytest.raises(InputError, match=r"the model of the run .* had"):
        load(stored / "run").assign(videos()[0], changed)


def test_weights_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    sha256 = weights.hashlib.sha256
    monkeypatch.setattr(weights.hashlib, "sha256", lambda: hashed.append("again") or sha256())
    model = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 40))
    before = weights_sha256(model)
    assert weights_sha256(model) == before
    assert len(hashed) == 1
    first = model[0].weight.data
    first[:20], first[20:40] = first[20:40].clone(), first[:20].clone()  # no version, same sum
    changed = weights_sha256(model)
    assert changed != before
    other = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 40))
    other.load_state_dict(model.state_dict())
    assert weights_sha256(other) == changed


def test_a_video_more_is_said(stored: Path) -> None:
    before = run_files(stored / "run")
    more = [*labelled(), vtcd_ops.Sample(videos(1, 7)[0], name="new")]
    for samples in (more, iter(more)):
        with pytest.raises(InputError, match=r"holds a finished run without the video new: "):
            discover(stored / "run", compactness="auto", samples=samples)
    assert run_files(stored / "run") == before


@pytest.mark.parametrize("count", [2, 4])
def test_a_run_that_was_begun_with_other_videos_is_not_gone_on_with(
    folder: Path, count: int
) -> None:
    (folder / "run/run.json").unlink()
    with pytest.raises(
        InputError, match=r"was begun with 3 videos, now|holds a run of more videos"
    ):
        discover(folder / "run", compactness="auto", samples=labelled(count))


def test_other_concepts_of_the_same_tubelets(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The concept stage alone is done again; the result is that of doing everything."""
    options = {"compactness": "auto", "samples": labelled(), "threshold": 0.5, "sanity": True}
    with pytest.raises(InputError, match=r"threshold 0.9, not 0.5: .*--reuse .*/run. to keep the"):
        discover(stored / "run", **options)
    whole = discover(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(vtcd_ops.discovery.video_divider.VideoDivider, "divide", None)
        reused = discover(tmp_path / "reused", reuse=stored / "run", **options)
    assert run_files(reused.path) == run_files(whole.path)
    assert reused.sanity is not None
    more = [*labelled(), vtcd_ops.Sample(videos(1, 7)[0], label=1)]
    longer = {**options, "samples": more, "sanity": False}
    grown = discover(tmp_path / "grown", reuse=stored / "run", **longer)
    assert run_files(grown.path) == run_files(discover(tmp_path / "long", **longer).path)


def test_what_cannot_be_reused(stored: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"reuse": stored / "run", "samples": labelled()}
    with pytest.raises(InputError, match=r"settings compactness 'auto', not 0.1"):
        discover(tmp_path / "a", **options)
    with pytest.raises(InputError, match=r"compactness of .* was chosen from other videos"):
        discover(tmp_path / "b", reuse=stored / "run", compactness="auto", samples=videos(first=11))
    with pytest.raises(InputError, match=r"settings.json is missing"):
        discover(tmp_path / "c", reuse=tmp_path / "nothing")


def test_overwrite_begins_anew(folder: Path) -> None:
    run = folder / "run"
    (run / "report.html").touch()
    (run / "notes.txt").write_text("mine")
    anew = discover(run, overwrite=True, n_segments=6)
    assert anew.settings["n_segments"] == 6
    assert anew.importances() == []
    assert anew.sanity is None
    names = {path.name for path in run.iterdir()}
    assert names == {
        "settings.json", "run.json", "manifest.jsonl", "log.jsonl", "videos", "concepts",
        "notes.txt",
    }  # fmt: skip
    (folder / "mine").mkdir()
    (folder / "mine/settings.json").write_text('{"colour": "blue"}')
    with pytest.raises(InputError, match="is damaged"):
        discover(folder / "mine", overwrite=True)
    assert (folder / "mine/settings.json").read_text() == '{"colour": "blue"}'


def test_overwrite_is_for_one_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="overwrite expected one process"):
        discover(folder / "run", overwrite=True)


def test_a_ranking_of_other_class_texts_is_another(folder: Path) -> None:
    """What the classes are called decides the answer, and stands in no weight."""
    run, changed = load(folder / "run"), example_adapter()
    changed.class_names = ("left", "right", "up")
    with pytest.raises(InputError, match="holds a ranking with answers"):
        vtcd_ops.rank(run, changed, labelled(), "logit", name="one", **RANK)


def test_no_lock_stays_behind(stored: Path) -> None:
    assert list(stored.rglob(".lock")) == []
    assert list(stored.rglob(".tmp-*")) == []
