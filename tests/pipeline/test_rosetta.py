"""The verb rosetta: which concepts are compared, what is found, what is kept, what is refused."""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pipeline.seen_objects import Eye, write_seen, write_shared

import vtcd_ops
from vtcd_ops.commands import app
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.ops import reference
from vtcd_ops.rosetta_concepts.baseline import mean_of_all
from vtcd_ops.rosetta_concepts.compared import Baseline
from vtcd_ops.rosetta_concepts.supports import PackedSupports
from vtcd_ops.storage.documents import encode_json, read_json

SHAPE = (6, 8, 10)


def supports(seed: int, *, heads: int = 2, k: int = 3, noise: float = 0.1) -> np.ndarray:
    """Concepts of two heads in three videos, the same objects for every seed, with noise."""
    objects = np.random.default_rng(0).integers(-1, k, (3, heads, *SHAPE))
    random = np.random.default_rng(seed + 1)
    return np.where(random.random(objects.shape) < noise, random.integers(-1, k, objects.shape),
                    objects)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_shared(folder / str(i), supports(i), name=f"model {i}") for i in range(3)]


def all_masks(runs: list[Run]) -> tuple[list[np.ndarray], list[int]]:
    """The supports of all concepts of all runs, read one by one: an oracle for the packing."""
    models = [0, *itertools.accumulate(len(run.units()) for run in runs)]
    masks = [
        np.stack([
            (run.support(video, layer, head) == concept).reshape(-1)
            for run in runs
            for layer, head, concept in run.units().tolist()
        ])
        for video in range(len(runs[0].videos))
    ]  # fmt: skip
    return masks, models


def compare(runs: list[Run], **arguments: object) -> vtcd_ops.Rosetta:
    return vtcd_ops.rosetta(runs, **{"importances": None, "progress": False} | arguments)


def test_every_tuple_of_the_runs(runs: list[Run]) -> None:
    found = compare(runs, delta=0.2)
    masks, models = all_masks(runs)
    expected = reference.rosetta_search(masks, models, 0.2)
    members = [
        tuple(models[run] + row for run, row in enumerate(tuple_) if row >= 0)
        for tuple_ in found.tuples.tolist()
    ]
    assert members == [concepts for concepts, _ in expected]
    assert found.scores.tolist() == [score for _, score in expected]
    assert {len(concepts) for concepts in members} == {2, 3}
    for concepts, row in zip(members, found.per_video, strict=True):
        np.testing.assert_array_equal(row, reference.rosetta_ratios(masks, concepts))


def test_members_name_the_concepts(runs: list[Run]) -> None:
    found = compare(runs)
    for index in range(len(found)):
        for member, row in zip(
            found.members(index), found.tuples[index][found.tuples[index] >= 0], strict=True
        ):
            unit = runs[member.run].units()[row].tolist()
            assert [member.layer, member.head, member.concept] == unit


def test_the_list_without_repeats(runs: list[Run]) -> None:
    """Each left out shares a concept with a better one that is in; those in share none."""
    found = compare(runs, delta=0.02)
    for order in (2, 3):
        chosen = found.without_repeats(order)
        used: set[tuple[int, int]] = set()
        for index in found.of_order(order).tolist():
            row = found.tuples[index].tolist()
            concepts = {(run, concept) for run, concept in enumerate(row) if concept >= 0}
            assert (index in chosen) == used.isdisjoint(concepts)
            used |= concepts if index in chosen else set()
        assert 0 < len(chosen) < len(found.of_order(order))


@pytest.mark.parametrize("order", [2, 3])
def test_the_mean_of_all_tuples(runs: list[Run], order: int) -> None:
    """Exact against a plain loop, and the estimate within its error, over 20 seeds."""
    masks, models = all_masks(runs)
    every = [
        reference.rosetta_score(reference.rosetta_ratios(masks, concepts))
        for which in itertools.combinations(range(3), order)
        for concepts in itertools.product(*(range(models[m], models[m + 1]) for m in which))
    ]
    baseline = compare(runs).baselines[order]
    assert baseline.exact
    assert baseline.num_tuples == len(every)
    assert baseline.mean == pytest.approx(np.mean(every), rel=1e-12)
    words, videos = vtcd_ops.pack_supports([torch.from_numpy(video) for video in masks])
    packed = PackedSupports(words, videos, torch.tensor(models))
    drawn = [
        mean_of_all(packed, order, seed=seed, exact_words=0, num_drawn=300) for seed in range(20)
    ]
    errors = [(one.mean - baseline.mean) / one.stderr for one in drawn]
    assert not any(one.exact for one in drawn)
    assert 0.5 < np.std(errors) < 1.6
    assert abs(np.mean(errors)) < 1.0
    assert drawn[0].stderr == pytest.approx(np.std(every) / np.sqrt(300), rel=0.25)


def test_only_the_most_important_are_compared(runs: list[Run]) -> None:
    values = [np.linspace(0, 1, 6), np.linspace(1, 0, 6), np.array([0, 5, 1, 4, 2, np.nan])]
    found = compare(runs, importances=values, epsilon=[0.5, 0.34, 1 / 3], delta=None, top=3)
    assert [units.tolist() for units in found.units] == [
        runs[0].units()[[3, 4, 5]].tolist(),
        runs[1].units()[[0, 1, 2]].tolist(),
        runs[2].units()[[1, 3]].tolist(),
    ]
    assert [run.epsilon for run in found.runs] == [0.5, 0.34, 1 / 3]
    all_of_one = compare(runs, importances=[values[0], None, values[2]], delta=None, top=1)
    assert [len(units) for units in all_of_one.units] == [1, 6, 1]


def test_importances_come_with_their_own_order_of_units(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def importance(run: Run, name: str | None = None) -> SimpleNamespace:
        return SimpleNamespace(units=run.units()[::-1], value=np.arange(6.0))

    monkeypatch.setattr(Run, "importance", importance, raising=False)
    found = compare(runs, importances="stored", epsilon=0.5, delta=None, top=1)
    assert [units.tolist() for units in found.units] == [r.units()[:3].tolist() for r in runs]


def test_top_and_the_numbers_of_models(runs: list[Run]) -> None:
    every = compare(runs, delta=0.01)
    top = compare(runs, delta=None, top=4)
    for order in (2, 3):
        np.testing.assert_array_equal(
            top.tuples[top.of_order(order)], every.tuples[every.of_order(order)][:4]
        )
    assert compare(runs, min_models=3).orders == [3]
    assert compare(runs, max_models=2).orders == [2]


def test_runs_in_any_order_of_videos(tmp_path: Path) -> None:
    first = write_seen(tmp_path / "a", Eye(), videos=(0, 1, 2))
    second = write_seen(tmp_path / "b", Eye(), videos=(2, 0, 1))
    found = compare([first, second], delta=0.9)
    assert found.scores.tolist() == [1.0] * 3
    assert [found.members(i)[0].concept for i in range(3)] == [0, 1, 2]


def test_supports_beyond_the_memory_lie_in_a_file(runs: list[Run]) -> None:
    found, expected = compare(runs, max_memory=1000), compare(runs)
    np.testing.assert_array_equal(found.tuples, expected.tuples)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_saved_and_read_again(runs: list[Run], tmp_path: Path) -> None:
    found = compare(runs, out=tmp_path / "shared")
    again = vtcd_ops.load_rosetta(tmp_path / "shared")
    for name in ("tuples", "scores", "per_video"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (again.runs, again.videos, again.settings) == (found.runs, found.videos, found.settings)
    assert again.baselines == found.baselines
    assert again.summary() == found.summary()
    assert [run.path for run in again.open_runs()] == [run.path.resolve() for run in runs]
    files = {path.name: path.read_bytes() for path in (tmp_path / "shared").iterdir()}
    compare(runs, out=tmp_path / "shared")
    assert {path.name: path.read_bytes() for path in (tmp_path / "shared").iterdir()} == files


@pytest.mark.parametrize("name", ["settings.json", "rosetta.json", "rosetta.safetensors"])
def test_damage_is_noticed(runs: list[Run], tmp_path: Path, name: str) -> None:
    compare(runs, out=tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[content.index(b"model") if name.endswith("json") else len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        vtcd_ops.load_rosetta(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["rosetta.json"],
        ["rosetta.safetensors"],
        ["rosetta.json", "rosetta.safetensors"],
        ["settings.json"],
        ["settings.json", "rosetta.json"],
    ],
)
def test_files_of_another_result_are_noticed(
    runs: list[Run], tmp_path: Path, names: list[str]
) -> None:
    compare(runs, out=tmp_path / "a")
    compare(runs, out=tmp_path / "b", delta=0.5)
    for name in names:
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(InputError, match=r"belongs elsewhere: "):
        vtcd_ops.load_rosetta(tmp_path / "a")
    compare(runs, out=tmp_path / "a")  # the same call mends it
    vtcd_ops.load_rosetta(tmp_path / "a")


def test_a_run_that_is_not_the_one_compared_is_noticed(runs: list[Run], tmp_path: Path) -> None:
    for number, run in enumerate(runs):
        shutil.copytree(run.path, tmp_path / f"{number}")
    copies = [load(tmp_path / f"{number}") for number in range(len(runs))]
    compare(copies, out=tmp_path / "shared")
    (tmp_path / "0").rename(tmp_path / "gone")
    assert len(vtcd_ops.load_rosetta(tmp_path / "shared"))  # of itself it is whole
    (tmp_path / "1").rename(tmp_path / "0")
    with pytest.raises(InputError, match=r"the run .*/0 is not the one that was compared"):
        vtcd_ops.load_rosetta(tmp_path / "shared")


def test_a_result_of_the_first_format_is_read(runs: list[Run], tmp_path: Path) -> None:
    found = compare(runs, out=tmp_path)
    document = read_json(tmp_path / "rosetta.json") | {"format": 1}
    (tmp_path / "rosetta.json").write_bytes(encode_json(document))
    (tmp_path / "settings.json").unlink()
    assert vtcd_ops.load_rosetta(tmp_path).summary() == found.summary()


def test_a_baseline_without_tuples() -> None:
    none = PackedSupports(
        torch.zeros(0, dtype=torch.int64), torch.tensor([0, 1]), torch.tensor([0, 0, 0])
    )
    assert mean_of_all(none, 2) == Baseline(2, 0.0, 0.0, 0, 0)


def vtcd(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Run the command line; return the exit status and what it wrote."""
    monkeypatch.setattr(sys, "argv", ["vtcd", *arguments])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    written = capsys.readouterr()
    return int(exit_.value.code or 0), written.out, written.err


def test_command_line(
    runs: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [str(run.path) for run in runs]
    out = tmp_path / "shared"
    status, said, _ = vtcd(
        monkeypatch, capsys, "rosetta", *paths, "--out", str(out), "--importances", "all",
        "--delta", "0.3", "--no-progress",
    )  # fmt: skip
    assert status == 0
    found, expected = vtcd_ops.load_rosetta(out), compare(runs, delta=0.3)
    np.testing.assert_array_equal(found.tuples, expected.tuples)
    assert said.splitlines() == [
        *(expected.line(row) for row in expected.summary()), str(out / "report.html")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Runs that do not go together, by name."""
    folder = tmp_path_factory.mktemp("others")
    write_seen(folder / "a", Eye())
    write_seen(folder / "other", Eye(), videos=(0, 3))
    write_seen(folder / "fewer", Eye(), videos=(0,))
    write_seen(folder / "early", Eye(frames=tuple(range(10)), tokens=(5, 12, 16)))
    write_seen(folder / "late", Eye(frames=tuple(range(20, 30)), tokens=(5, 12, 16)))
    write_seen(folder / "left", Eye(crop=(0.0, 0.0, 96.0, 40.0)))
    write_seen(folder / "right", Eye(crop=(0.0, 88.0, 96.0, 40.0)))
    one, two = np.full((2, 2, 1, *SHAPE), -1)
    one[:, :, 0], two[:, :, -1] = 0, 0
    write_shared(folder / "one", one, name="first")
    write_shared(folder / "two", two, name="second")
    one[:, :, -1, :2, :2] = 0
    write_shared(folder / "little", one, name="little")
    (folder / "empty").mkdir()
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{a}", "runs expected 2 to 8, got 1"),
        (" ".join(["{a}"] * 9), "runs expected 2 to 8, got 9"),
        ("{a} {empty}", "{empty} is not a run of vtcd"),
        ("{a} {other}", "different videos: video 1 of {a} is not in {other}"),
        ("{a} {fewer}", "different videos: video 1 of {a} is not in {fewer}"),
        ("{fewer} {a}", "different videos: video 1 of {a} is not in {fewer}"),
        ("{early} {late}", "saw different frames of video 0: 0 to 10 and 20 to 30, which do not"),
        ("{left} {right}", "saw different columns of video 0: 0 to 40 and 88 to 128, which do not"),
        ("{a} {a} --delta 0", "delta expected above 0 and at most 1, got 0"),
        ("{a} {a} --delta 1.2", "delta expected above 0 and at most 1, got 1.2"),
        ("{a} {a} --delta nan", "delta expected above 0 and at most 1, got nan"),
        ("{a} {a} --delta some", "--delta: expected a number, got 'some'"),
        ("{a} {a} --delta none", "expected a delta, a top number, or both"),
        ("{a} {a} --epsilon 0", "epsilon expected above 0 and at most 1, got 0"),
        ("{a} {a} --epsilon 15", "epsilon expected above 0 and at most 1, got 15"),
        ("{a} {a} --epsilon .1,.2,.3", "epsilon expected one, or 2, one a run, got 3"),
        ("{a} {a} --top 0", "top expected at least 1, got 0"),
        ("{a} {a} --min-models 3", "min_models and max_models expected 2 to 2"),
        ("{a} {a} --parts values", "{a} has keys, not values"),
        ("{a} {a} --importances best", "importances expected stored, got 'best'"),
        ("{a} {a} --max-memory lots", "max_memory expected a size such as 1GB, got 'lots'"),
        (
            "{a} {a} --delta .001 --max-tuples 2",
            "rosetta: max_tuples expected more, got 2: so many",
        ),
        ("{one} {two}", "no 2 concepts of different runs overlap in any video"),
        (
            "{little} {two}",
            "no tuple of 2 concepts or more scores 0.15; the best score there is, 0.025, is that "
            "of little layer 3 head 0 concept 0 with second layer 3 head 0 concept 0",
        ),
    ],
)
def test_bad_input(
    others: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    sentence: str,
) -> None:
    command = [piece.format(**others) for piece in arguments.split(" ")]
    if "--importances" not in command:
        command += ["--importances", "all"]
    status, _, said = vtcd(
        monkeypatch, capsys, "rosetta", *command, "--out", str(tmp_path / "out"), "--no-progress"
    )
    assert status == 2
    assert sentence.format(**others) in said
    assert said.startswith("vtcd: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_runs_without_importances_say_what_to_do(runs: list[Run]) -> None:
    with pytest.raises(InputError, match=r"have no importance yet: rank them first, or compare"):
        vtcd_ops.rosetta(runs, progress=False)
    with pytest.raises(InputError, match=r"importances of .*0 \(keys\) expected \[6\], got \[4\]"):
        compare(runs, importances=[np.zeros(4), None, None])
    of_values = SimpleNamespace(
        units=runs[0].units(), value=np.zeros(6), settings={"part": "values"}
    )
    with pytest.raises(InputError, match=r"expected those of its keys, got those of its values"):
        compare(runs, importances=[of_values, None, None])
    with pytest.raises(InputError, match="importances expected 3, one a run, got 1"):
        compare(runs, importances=[np.zeros(6)])


def test_another_run_in_the_place_of_one(tmp_path: Path) -> None:
    first = write_shared(tmp_path / "a", supports(0))
    write_shared(tmp_path / "b", supports(1))
    found = compare([first, tmp_path / "b"])
    (tmp_path / "b").rename(tmp_path / "c")
    write_shared(tmp_path / "b", supports(2))
    with pytest.raises(InputError, match="is not the one that was compared"):
        found.open_runs()
