"""Attribution curves against the known effects of an additive model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.additive import additive_adapter, samples, true_effects
from pipeline.videos import run_files

import vtcd_ops
from vtcd_ops import InputError, Run
from vtcd_ops.adapters import ProjectionAdapter
from vtcd_ops.importance.curves import Curves, read_curves
from vtcd_ops.importance.scores_store import ScoresWriter, read_settings

FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectionAdapter, Run]:
    adapter = additive_adapter()
    out = tmp_path_factory.mktemp("curves") / "run"
    run = vtcd_ops.discover(adapter, samples(), out=out, parts=["values"], progress=False)
    vtcd_ops.rank(run, adapter, samples(), num_masks=200, **FAST)
    vtcd_ops.rank(run, adapter, samples(), method="occlusion", **FAST)
    return adapter, run


@pytest.fixture(scope="module")
def found(ranked: tuple[ProjectionAdapter, Run]) -> Curves:
    adapter, run = ranked
    return vtcd_ops.curves(run, adapter, samples(), num_points=10, num_random=3, **FAST)


def test_every_point_is_what_is_left(ranked: tuple[ProjectionAdapter, Run], found: Curves) -> None:
    """The baseline less the known effects of the units removed so far."""
    adapter, run = ranked
    importance = run.importance("occlusion-logit")
    assert importance is not None
    effects = np.nan_to_num(true_effects(adapter, run, importance))  # [V, U]
    baseline = importance.tensors["baseline"]
    num_units = len(importance.units)
    for direction, order in (("positive", importance.order), ("negative", importance.order[::-1])):
        for point, fraction in enumerate(found.fractions):
            removed = order[: round(fraction * num_units)]
            expected = baseline - effects[:, removed].sum(axis=1)
            got = found.scores["occlusion-logit", direction][:, point]
            np.testing.assert_allclose(got, expected, atol=1e-5)


def test_fractions_are_true_ones(found: Curves) -> None:
    """From nothing to everything; both ends are the same for every order."""
    assert found.fractions[0] == 0.0
    assert found.fractions[-1] == 1.0
    first = next(iter(found.scores.values()))
    for scores in found.scores.values():
        np.testing.assert_allclose(scores[:, 0], first[:, 0], atol=1e-6)
        np.testing.assert_allclose(scores[:, -1], first[:, -1], atol=1e-6)


def test_a_true_order_has_the_extreme_areas(found: Curves) -> None:
    """Where the effects are known and add up, no order is better than theirs."""
    assert set(found.scores) == {
        ("cris-logit", "positive"),
        ("cris-logit", "negative"),
        ("occlusion-logit", "positive"),
        ("occlusion-logit", "negative"),
        ("random", "positive"),
    }
    best, worst = (found.area("occlusion-logit", way) for way in ("positive", "negative"))
    assert best < found.area("random") < worst
    assert best <= found.area("cris-logit", "positive") + 1e-9
    assert worst >= found.area("cris-logit", "negative") - 1e-9


def test_areas_and_bands() -> None:
    """A flat curve at .9 has the area .9 and no band; the band of a spread one is a bootstrap's."""
    settings = {"metric": "logit"}
    fractions = np.array([0.0, 0.3, 1.0])
    flat = np.full((5, 3), 0.9)
    spread = np.random.default_rng(0).normal(size=(40, 3))
    curves = Curves("x", settings, fractions, {("a", "positive"): flat, ("b", "positive"): spread})
    assert curves.area("a") == pytest.approx(0.9)
    assert curves.area_interval("a") == pytest.approx((0.9, 0.9))
    expected = (spread.mean(axis=0)[:2].mean() * 0.3) + (spread.mean(axis=0)[1:].mean() * 0.7)
    assert curves.area("b") == pytest.approx(expected)
    low, high = curves.band("b")
    half = 1.96 * spread.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(high - low, 2 * half, rtol=0.1)
    np.testing.assert_allclose((high + low) / 2, spread.mean(axis=0), atol=0.1)


def test_they_are_stored(
    ranked: tuple[ProjectionAdapter, Run], found: Curves, tmp_path: Path
) -> None:
    adapter, run = ranked
    read = read_curves(run)
    assert read is not None
    assert read.rows() == found.rows()
    assert read == found
    again = vtcd_ops.curves(run, adapter, samples(), num_points=10, num_random=3, **FAST)
    assert again.rows() == found.rows()
    with found.write(tmp_path / "c.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [row["score"] for row in found.rows()]
    document = json.loads(found.write(tmp_path / "c.json").read_text(encoding="utf-8"))
    assert document["points"] == found.rows()
    assert document["areas"][0]["area"] == found.area("cris-logit")
    with pytest.raises(InputError, match=r"curves: a .json or .csv file expected, got .*c.txt"):
        found.write(tmp_path / "c.txt")


def test_stored_curves_keep_their_names(ranked: tuple[ProjectionAdapter, Run]) -> None:
    """Whatever the order in which rankings were asked for."""
    adapter, run = ranked
    vtcd_ops.rank(run, adapter, samples(), method="random", name="by-chance", **FAST)
    names = ["occlusion-logit", "by-chance"]
    made = vtcd_ops.curves(run, adapter, samples(), rankings=names, name="order", **FAST)
    read = read_curves(run, "order")
    assert read is not None
    assert list(read.scores) == list(made.scores)
    assert read.rows() == made.rows()
    ways = [made.scores[name, "positive"] for name in names]
    assert not np.array_equal(*ways)


@pytest.mark.usefixtures("found")
def test_curves_that_cannot_be(ranked: tuple[ProjectionAdapter, Run], tmp_path: Path) -> None:
    adapter, run = ranked
    with pytest.raises(InputError, match="holds curves with num_random 3, not 2: choose another"):
        vtcd_ops.curves(run, adapter, samples(), num_points=10, num_random=2, **FAST)
    with pytest.raises(InputError, match="has no finished ranking 'none'"):
        vtcd_ops.curves(run, adapter, samples(), rankings=["none"], **FAST)
    with pytest.raises(InputError, match="num_points expected a whole number from 1 on, got 0"):
        vtcd_ops.curves(run, adapter, samples(), num_points=0, **FAST)
    with pytest.raises(InputError, match=r"has no finished curves 'none' \(finished: logit"):
        read_curves(run, "none")
    bare = vtcd_ops.discover(
        adapter, samples(2), out=tmp_path, parts=["values"], layers=[0], progress=False
    )
    assert read_curves(bare) is None
    with pytest.raises(InputError, match="has no ranking: rank its units first"):
        vtcd_ops.curves(bare, adapter, samples(2), **FAST)


def test_rankings_that_come_later(tmp_path: Path) -> None:
    """Only what is new is measured: another ranking, and another order of a ranking."""
    adapter = additive_adapter()
    run = vtcd_ops.discover(adapter, samples(), out=tmp_path, parts=["values"], progress=False)
    ask = {**FAST, "num_points": 5, "num_random": 2}
    vtcd_ops.rank(run, adapter, samples(), num_masks=4, prior=None, **FAST)
    first = vtcd_ops.curves(run, adapter, samples(), **ask)
    before = run_files(run.path / "curves")
    vtcd_ops.rank(run, adapter, samples(), method="occlusion", **FAST)
    second = vtcd_ops.curves(run, adapter, samples(), **ask)
    vtcd_ops.rank(run, adapter, samples(), num_masks=320, prior=None, stop_at=None, **FAST)
    third = vtcd_ops.curves(run, adapter, samples(), **ask)
    after = run_files(run.path / "curves")
    assert {name: after[name] for name in before} == before  # nothing is measured again
    occlusion = ("occlusion-logit", "positive")
    assert set(second.scores) == set(first.scores) | {occlusion, ("occlusion-logit", "negative")}
    assert set(third.scores) == set(second.scores)
    for key in first.scores:
        assert np.array_equal(second.scores[key], first.scores[key])
    assert np.array_equal(third.scores[occlusion], second.scores[occlusion])
    changed = ("cris-logit", "positive")
    assert not np.array_equal(third.scores[changed], second.scores[changed])
    fresh = vtcd_ops.curves(run, adapter, samples(), name="fresh", **ask)
    for key in fresh.scores:
        np.testing.assert_allclose(third.scores[key], fresh.scores[key], atol=1e-6)
    read = read_curves(run, "logit")
    assert read is not None
    assert set(read.scores) == set(third.scores)
    for key in read.scores:
        assert np.array_equal(read.scores[key], third.scores[key])


def test_curves_that_were_killed_before_a_ranking_came(
    ranked: tuple[ProjectionAdapter, Run],
) -> None:
    """They are finished with the rankings that they were begun with, then the others follow."""
    adapter, run = ranked
    names = ["cris-logit", "occlusion-logit"]
    whole = vtcd_ops.curves(run, adapter, samples(), rankings=names, name="whole", **FAST)
    vtcd_ops.curves(run, adapter, samples(), rankings=names[1:], name="killed", **FAST)
    folder = run.path / "curves/killed"
    for file in ("result.json", "scores.safetensors"):
        (folder / file).unlink()
    (folder / "parts").mkdir(exist_ok=True)
    writer = ScoresWriter(folder, read_settings(folder) or {}, "curves")
    writer.write_part(0, 0, np.zeros(16))  # of another width: it is not believed to be another's
    writer.close()
    found = vtcd_ops.curves(run, adapter, samples(), rankings=names, name="killed", **FAST)
    for key in whole.scores:
        np.testing.assert_allclose(found.scores[key], whole.scores[key], atol=1e-6)


def test_overwriting(ranked: tuple[ProjectionAdapter, Run]) -> None:
    """Curves of other settings are replaced where that is asked for; the same ones go on."""
    adapter, run = ranked
    ask = {**FAST, "name": "over", "num_random": 1}
    old = vtcd_ops.curves(run, adapter, samples(), num_points=4, **ask)
    with pytest.raises(InputError, match=r"holds curves with counts .*: choose .*or overwrite it"):
        vtcd_ops.curves(run, adapter, samples(), num_points=2, **ask)
    new = vtcd_ops.curves(run, adapter, samples(), num_points=2, overwrite=True, **ask)
    assert (len(old.fractions), len(new.fractions)) == (5, 3)
    before = run_files(run.path / "curves/over")
    vtcd_ops.curves(run, adapter, samples(), num_points=2, overwrite=True, **ask)
    assert run_files(run.path / "curves/over") == before
