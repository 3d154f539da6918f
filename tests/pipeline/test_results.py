"""What a run gives back, and what it makes of documents that are forged or come from elsewhere."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, run_files, write_video

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.run_results import register_readers
from vtcd_ops.discovery.run_writer import RunWriter
from vtcd_ops.storage import files
from vtcd_ops.storage.documents import encode_json, read_json

SITE = ("keys", 1)


def videos(count: int = 3) -> list[np.ndarray]:
    return [moving_square(seed=seed) for seed in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return discover(
        example_adapter(), videos(), out=tmp_path_factory.mktemp("run") / "run", layers=[0, 1],
        parts=["values"], compactness="auto", progress=False,
    )  # fmt: skip


def test_a_run_of_other_parts_needs_no_part(run: Run) -> None:
    assert run.tubelets(0, 1).shape == (4, 32, 32)
    np.testing.assert_array_equal(run.labels(0, 1), run.labels(0, 1, "values"))
    np.testing.assert_array_equal(run.support(0, 1, 1), run.support(0, 1, 1, "values"))
    np.testing.assert_array_equal(run.tokens(0, 1), run.tokens(0, 1, "values"))
    np.testing.assert_array_equal(run.units(), run.units("values"))
    assert run.concepts(1, 0).part == "values"
    assert run.compactness(0) == run.compactness(0, "values")
    assigned = run.assign(videos()[0], example_adapter())
    np.testing.assert_array_equal(assigned.tokens(1), run.tokens(0, 1))
    np.testing.assert_array_equal(assigned.labels(1), assigned.labels(1, "values"))
    np.testing.assert_array_equal(assigned.support(1, 0), assigned.support(1, 0, "values"))


def test_numbers_of_numpy_and_from_the_end(tmp_path: Path) -> None:
    plain = discover(
        example_adapter(), videos(), out=tmp_path / "plain", layers=[1, 2], heads=[1], seed=3,
        n_segments=6, threshold=0.5, progress=False,
    )  # fmt: skip
    other = discover(
        example_adapter(), videos(), out=tmp_path / "other", layers=np.array([-1, -2]),
        heads=[torch.tensor(-1)], seed=np.int64(3), n_segments=np.uint8(6),
        threshold=np.float32(0.5), progress=False,
    )  # fmt: skip
    assert run_files(plain.path) == run_files(other.path)
    one = np.int64(1)
    np.testing.assert_array_equal(plain.support(one, one, one), plain.support(1, 1, 1))


@pytest.mark.parametrize("layers", [[3], [-4], [], [0.5], ["a"]])
def test_layers_that_are_not_there(tmp_path: Path, layers: list[Any]) -> None:
    with pytest.raises(InputError, match="layers expected"):
        discover(example_adapter(), videos(), out=tmp_path / "run", layers=layers, progress=False)


def test_results_are_equal_by_content(run: Run) -> None:
    one, again = run.concepts(1, 0), load(run.path).concepts(1, 0)
    assert one == again
    assert one != run.concepts(1, 1)
    assert one != replace(again, size=again.size + 1)
    assert one != "something else"
    assert run.videos == load(run.path).videos


def test_random_crops_of_a_new_video_are_those_of_its_part(tmp_path: Path) -> None:
    """As the first video of a run that is made of it alone would get them."""
    run = discover(
        example_adapter(), videos(), out=tmp_path, parts=["keys", "values"], layers=[1],
        proposals="random_crops", progress=False,
    )  # fmt: skip
    assigned = run.assign(videos()[0], example_adapter())
    for part in ("keys", "values"):
        np.testing.assert_array_equal(assigned.labels(1, part), run.labels(0, 1, part))
    assert (assigned.labels(1, "keys") != assigned.labels(1, "values")).any()


def halves() -> tuple[list[np.ndarray], list[np.ndarray]]:
    half = np.repeat([0, 1], 16).reshape(1, 2, 4, 4).repeat(2, axis=0)  # [A, t, h, w]
    return [half] * 3, [np.eye(2, 8), np.eye(2, 8)]


def store(out: Path, run: Run, **changes: Any) -> Run:
    supports, centers = halves()
    options = {"supports": {SITE: supports}, "centers": {SITE: centers}, "method": "halves"}
    return vtcd_ops.store_concepts(out, run, **{**options, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["write_clip", "write_tubelets", "write_concepts", "finish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_storing_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    expected = store(tmp_path / "whole", run)
    original = getattr(RunWriter, call)

    def interrupt(*arguments: Any) -> None:
        if when == "after":
            original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            store(tmp_path / "half", run)
    assert run_files(store(tmp_path / "half", run).path) == run_files(expected.path)


def test_other_concepts_are_not_stored_over_them(run: Run, tmp_path: Path) -> None:
    first = store(tmp_path / "run", run)
    before = run_files(first.path)
    assert store(tmp_path / "run", run).units().tolist() == first.units().tolist()
    with pytest.raises(InputError, match="holds a run with settings content"):
        store(tmp_path / "run", run, centers={SITE: [np.eye(2, 8), 2 * np.eye(2, 8)]})
    assert run_files(first.path) == before


def test_a_control_c_says_how_to_go_on(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mkv", moving_square())
    program = (
        "import sys, signal, os; from vtcd_ops import cli\n"
        "from vtcd_ops.discovery import discover\n"
        "discover.load_on = lambda *model: os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.argv = ['vtcd', 'discover', 'example', {str(video)!r}, '--out', {str(tmp_path)!r}]\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr.strip() == "vtcd: interrupted; the same command goes on from here"


def discover_in_child(out: Path) -> None:
    discover(example_adapter(), videos(2), out=out, layers=[0], progress=False)


def test_a_forked_process_does_not_wait_for_threads_it_has_not(
    tmp_path: Path, num_threads: None
) -> None:
    torch.set_num_threads(2)
    torch.randn(4_000_000).sum()  # whose threads a forked process has not
    discover_in_child(tmp_path / "parent")
    child = multiprocessing.get_context("fork").Process(
        target=discover_in_child, args=(tmp_path / "child",)
    )
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
        pytest.fail("the forked process hangs")
    assert child.exitcode == 0
    assert run_files(tmp_path / "child") == run_files(tmp_path / "parent")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a document are; of equal ones in a row, the first."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with another value in one place; `places`: nothing there at all."""
    head, *rest = path
    copy = dict(document) if isinstance(document, dict) else list(document)
    if rest:
        copy[head] = changed(copy[head], tuple(rest), value)
    elif value is places:
        del copy[head]
    else:
        copy[head] = value
    return copy


WRONG = (places, None, -1, 0, 10**18, 1e300, "", "x", [], {}, [[]], True, {"a": 1})


def refusal(path: Path) -> str | None:
    """The sentence with which reading a run ends, if it does."""
    try:
        touch(path)
    except InputError as error:
        return str(error)
    return None


def touch(path: Path) -> None:
    """Read everything of a run."""
    run = load(path)
    repr(run)
    for layer in run.layers:
        run.compactness(layer)
        for video in range(len(run.videos)):
            run.labels(video, layer)
            run.tokens(video, layer)
        for head in run.heads:
            run.concepts(layer, head)
    run.preview(0)
    run.units()


def reseal(run: Path, name: str) -> None:
    """Give the list of files the hash that a forged one has."""
    if name == "run.json":
        return
    document = read_json(run / "run.json")
    document["files"][name] = [(run / name).stat().st_size, files.sha256_file(run / name)]
    (run / "run.json").write_bytes(encode_json(document))


@pytest.mark.parametrize("name", ["run.json", "settings.json", "compactness.json"])
def test_forged_documents_are_sentences(run: Run, tmp_path: Path, name: str) -> None:
    """The hashes are right, the values are not: refused, or harmless, but never a traceback."""
    forged = tmp_path / "run"
    shutil.copytree(run.path, forged)
    document, contents = read_json(forged / name), (forged / "run.json").read_bytes()
    refused = 0
    for path in places(document):
        for value in WRONG:
            (forged / "run.json").write_bytes(contents)
            (forged / name).write_bytes(encode_json(changed(document, path, value)))
            reseal(forged, name)
            said = refusal(forged)
            assert said is None or str(forged) in said, (path, value)
            refused += said is not None
    assert refused > 50


@pytest.mark.parametrize(
    "name",
    [
        "videos/00000/clip.safetensors",
        "videos/00001/values-01.safetensors",
        "concepts/values-01.safetensors",
    ],
)
def test_forged_files_of_tensors_are_sentences(run: Run, tmp_path: Path, name: str) -> None:
    forged = tmp_path / "run"
    shutil.copytree(run.path, forged)
    tensors, info, _ = files.read_tensors(forged / name)
    refused = 0

    def try_with(tensors: dict[str, np.ndarray], info: dict[str, Any], what: object) -> None:
        nonlocal refused
        files.write_tensors(forged / name, tensors, info)
        reseal(forged, name)
        said = refusal(forged)
        assert said is None or str(forged) in said, what
        refused += said is not None

    for path in places(info):
        for value in WRONG:
            try_with(tensors, changed(info, path, value), (path, value))
    for key, array in tensors.items():
        others: dict[str, np.ndarray] = {
            "type": array.astype("int16"),
            "empty": array[:0],
            "short": array[:-1],
            "flat": array.reshape(-1),
            "more axes": array[None],
            "negative": np.zeros_like(array) - np.ones_like(array) - array,
            "huge": np.full_like(array, 2**31 - 2 if array.dtype.itemsize > 1 else 250),
        }
        for what, other in others.items():
            try_with({**tensors, key: other}, info, (key, what))
        try_with({one: tensors[one] for one in tensors if one != key}, info, (key, "gone"))
    assert refused > 30


@pytest.fixture(scope="module")
def results(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranking of a run, and Rosetta concepts of two."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(run.path, folder / "run")
    samples = [vtcd_ops.Sample(video, label=1) for video in videos()]
    options: dict[str, Any] = {"num_masks": 64, "name": "one", "progress": False}
    vtcd_ops.rank(folder / "run", example_adapter(), samples, "logit", **options)
    discover(
        example_adapter(1), videos(), out=folder / "other", layers=[0, 1], parts=["values"],
        progress=False,
    )  # fmt: skip
    vtcd_ops.rosetta(
        [folder / "run", folder / "other"], importances=None, delta=None, top=5, parts="values",
        out=folder / "shared", progress=False,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(
    "name",
    ["shared/rosetta.json", "run/importance/one/settings.json", "run/importance/one/result.json"],
)
def test_forged_documents_of_results_are_sentences(
    results: Path, tmp_path: Path, name: str
) -> None:
    forged = tmp_path / "results"
    shutil.copytree(results, forged)
    document, refused = read_json(forged / name), 0

    def read() -> str | None:
        try:
            if name.startswith("shared"):
                found = vtcd_ops.load_rosetta(forged / "shared")
                repr(found)
                found.members(0)
            else:
                importance = load(forged / "run").importance("one")
                assert importance is not None
                importance.summary()
        except InputError as error:
            return str(error)
        return None

    for path in places(document):
        for value in WRONG:
            (forged / name).write_bytes(encode_json(changed(document, path, value)))
            refused += read() is not None
    assert refused > 30


def test_rankings_are_read_by_whoever_said_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtcd_ops.discovery.run_results._readers", {})
    with pytest.raises(RuntimeError, match="nothing reads importances of a run"):
        run.importances()
    register_readers(
        importances=lambda of: [str(of.path)],
        importance=lambda *given: given,
    )
    assert run.importances() == [str(run.path)]
    assert run.importance("one", estimator="kept") == (run, "one", "kept")
