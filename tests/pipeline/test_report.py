"""The report: complete, self-contained, the run's own numbers and supports, safe and repeatable."""

from __future__ import annotations

import base64
import io
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pipeline.report_page import Page, links, write_controlled_run, write_run
from pipeline.videos import moving_square

from vtcd_ops.commands.app import main
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting import report
from vtcd_ops.reporting.clips import choose_videos, rank_videos
from vtcd_ops.reporting.figures import round_axis
from vtcd_ops.reporting.quantities import concept_values, head_values

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=https://example.com/x.png onerror=alert(1)>",
    "\"><b onmouseover='alert(1)'>&amp; {{ 7 * 7 }} {% raw %}",
    "a\u2028b 日本語.mp4",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a sanity control."""
    return write_controlled_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(report(run))


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert [link for link in links(page) if not link.startswith(("#", "data:"))] == []
    assert {tag for tag, _ in page.elements} & {"iframe", "object", "embed", "base"} == set()
    policies = [a["content"] for _, a in page.elements if "Content-Security-Policy" in a.values()]
    assert [str(policy).split(";")[0] for policy in policies] == ["default-src 'none'"]
    assert all("form-action 'none'; base-uri 'none'" in str(policy) for policy in policies)


def test_every_head_and_concept_appears(run: Run, page: Page) -> None:
    cells = {(a["data-layer"], a["data-head"]) for _, a in page.elements if "data-head" in a}
    assert cells == {(str(layer), str(head)) for layer in run.layers for head in run.heads}
    for run_id, shown in (("model", run), ("control", run.sanity)):
        assert shown is not None
        heads = {(head["layer"], head["head"]): head for head in page.heads(run_id)}
        for layer, head, concept in shown.units():
            found = heads[layer, head]["concepts"][concept]
            assert len(found["clips"]) == 3
        assert sum(len(head["concepts"]) for head in heads.values()) == len(shown.units())
    addresses = [a["href"] for tag, a in page.elements if tag == "a"]
    for layer, head, concept in run.units():
        assert f"#keys-L{layer}-H{head}-C{concept}" in addresses


@pytest.mark.parametrize("run_id", ["model", "control"])
def test_supports_are_those_of_the_run(run: Run, page: Page, run_id: str) -> None:
    shown = run if run_id == "model" else run.sanity
    assert shown is not None
    for head in page.heads(run_id):
        volumes = page.decode(head, run_id)
        assert volumes
        for video, volume in volumes.items():
            np.testing.assert_array_equal(volume, shown.support(video, head["layer"], head["head"]))


def test_long_videos_and_fine_grids_are_sampled(tmp_path: Path) -> None:
    run = write_run(tmp_path, num_videos=1, shape=(60, 130, 66))
    page = Page(report(run))
    [video] = page.document["videos"]
    assert video["frames"] == [index * 60 // 24 for index in range(24)]
    head = page.heads()[3]
    expected = run.support(0, head["layer"], head["head"])[video["frames"], 1::3, 1::3]
    np.testing.assert_array_equal(page.decode(head)[0], expected)


def test_previews_are_those_of_the_run(run: Run, page: Page) -> None:
    from PIL import Image

    for index, video in enumerate(page.document["videos"]):
        with Image.open(io.BytesIO(base64.b64decode(page.scripts[f"frames-{index}"]))) as sheet:
            pixels = np.asarray(sheet.convert("RGB"), dtype=float)
        for frame, original in enumerate(run.preview(video["index"])):
            top = frame // video["columns"] * video["height"]
            left = frame % video["columns"] * video["width"]
            shown = pixels[top : top + video["height"], left : left + video["width"]]
            assert abs(shown.mean() - original.mean()) < 3
            assert np.corrcoef(shown.ravel(), original.ravel())[0, 1] > 0.8  # noise, compressed


def test_numbers_are_those_of_the_run(run: Run, page: Page) -> None:
    for head in page.heads():
        volumes = [run.support(video, head["layer"], head["head"]) for video in range(4)]
        for index, concept in enumerate(head["concepts"]):
            shares = [float((volume == index).mean()) for volume in volumes]
            present = [share for share in shares if share]
            assert concept["values"]["size"] == pytest.approx(np.mean(present), abs=6e-5)
            assert concept["values"]["videos"] == len(present)
            assert concept["values"]["silhouette"] is None  # foreign concepts have none
        assert head["values"]["concepts"] == len(head["concepts"])


def test_same_run_same_bytes(run: Run, tmp_path: Path) -> None:
    first = report(run, tmp_path / "first.html").read_bytes()
    second = report(run.path, tmp_path / "second.html").read_bytes()
    assert first == second
    assert str(tmp_path).encode() not in first
    assert len(list(tmp_path.iterdir())) == 2  # nothing else is left


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    run = write_run(tmp_path, names=HOSTILE)
    page = Page(report(run))
    assert sorted(video["name"] for video in page.document["videos"]) == sorted(HOSTILE)
    clean = Page(report(write_run(tmp_path / "clean"), tmp_path / "clean.html"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert "<script>alert" not in page.html
    assert "https://example.com" not in " ".join(links(page))


def test_hostile_model_name_is_escaped(tmp_path: Path) -> None:
    page = Page(report(write_run(tmp_path, model={"name": HOSTILE[0]})))
    assert HOSTILE[0] in page.text
    assert "<script>alert" not in page.html


def test_without_sanity_says_how_to_get_it(tmp_path: Path) -> None:
    page = Page(report(write_run(tmp_path)))
    assert [run["id"] for run in page.document["runs"]] == ["model"]
    assert "--sanity" in page.text
    assert "Randomised copy" not in page.text


def test_sanity_is_shown_beside_the_model(page: Page) -> None:
    assert "Randomised copy" in page.text
    assert "no discovery" in page.text


def test_one_concept_one_head(tmp_path: Path) -> None:
    run = write_run(tmp_path, num_videos=1, concepts=(1,))
    page = Page(report(run))
    assert all(len(head["concepts"]) == 1 for head in page.heads())
    assert page.heads()[0]["concepts"][0]["clips"] == [0]


def test_limits_bound_clips_and_videos(run: Run, tmp_path: Path) -> None:
    page = Page(report(run, tmp_path / "small.html", max_clips=1, max_videos=2))
    assert len(page.document["videos"]) == 2
    for head in page.heads():
        for concept in head["concepts"]:
            assert len(concept["clips"]) == 1
    assert "2 of the 4 videos" in page.text


@pytest.mark.parametrize("limit", ["max_clips", "max_videos"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_limits_are_checked(run: Run, limit: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^report: {limit} expected a whole number above 0, got"):
        report(run, **{limit: value})  # type: ignore[arg-type]


def test_miniature_models_are_called_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, model={"name": "hf_videomae:mini-ssl"})
    assert "miniature model" in Page(report(run)).text


@pytest.mark.parametrize("name", ["absent", "."])
def test_command_refuses_what_is_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["vtcd", "report", str(tmp_path / name)])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # that main() replaces
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "is not a run" in told
    assert len(told.strip().splitlines()) == 1  # no traceback


def test_unwritable_file_leaves_the_old_report(run: Run, tmp_path: Path) -> None:
    old = report(run, tmp_path / "report.html").read_bytes()
    with pytest.raises(InputError, match=r"absent/report\.html cannot be written: No such"):
        report(run, tmp_path / "absent" / "report.html")
    assert (tmp_path / "report.html").read_bytes() == old


def _concepts(
    video: list[int], size: list[int], encoding: list[float], silhouette: list[float] | None = None
) -> SimpleNamespace:
    """A head with one concept and the given tubelets."""
    return SimpleNamespace(
        k=1,
        video=np.array(video, np.int32),
        concept=np.zeros(len(video), np.int32),
        size=np.array(size),
        encoding=np.array(encoding, np.float32),
        silhouette=np.array(silhouette or [np.nan] * len(video), np.float32),
    )


def test_best_videos_have_the_largest_encoding() -> None:
    concepts = _concepts([0, 1, 2, 1], [10, 10, 10, 10], [0.2, 0.1, 0.9, 0.5])
    assert rank_videos(concepts, 0) == [2, 1, 0]  # type: ignore[arg-type]


def test_slivers_do_not_choose_the_clip() -> None:
    concepts = _concepts([0, 1, 2, 3], [4, 100, 90, 110], [0.9, 0.3, 0.5, 0.5])
    assert rank_videos(concepts, 0) == [3, 2, 1, 0]  # type: ignore[arg-type]


def test_videos_that_most_concepts_want_are_chosen() -> None:
    assert choose_videos([[5, 1], [5, 2], [7, 2]], max_videos=2, num_clips=2) == {5, 2}


def test_values_of_a_head_by_hand() -> None:
    concepts = _concepts([0, 0, 2], [10, 30, 20], [1, 1, 1], [0.5, 0.1, 0.3])
    volumes = {0: 100, 2: 50}
    [values] = concept_values(concepts, volumes)  # type: ignore[arg-type]
    assert values == pytest.approx({"silhouette": 0.3, "size": 0.4, "videos": 2, "tubelets": 3})
    of_head = head_values(concepts, volumes, [values])  # type: ignore[arg-type]
    assert of_head["tubelet_size"] == pytest.approx((0.1 + 0.3 + 0.4) / 3)
    assert of_head["largest"] == pytest.approx(0.4)


@pytest.mark.parametrize("values", [[0.3], [-0.21, 0.68], [0, 0], [-3, 1e4], [0.1 + 0.2, 0.3]])
def test_axis_holds_all_values(values: list[float]) -> None:
    axis = round_axis(values)
    assert axis.low <= min(values) + 1e-9
    assert axis.high >= max(values) - 1e-9
    assert axis.high > axis.low
    assert 2 <= len(axis.ticks) <= 8


def test_discovered_run_with_sanity(tmp_path: Path) -> None:
    from vtcd_ops.adapters import example_adapter
    from vtcd_ops.discovery.discover import discover

    videos = [moving_square(seed=seed) for seed in range(3)]
    run = discover(
        example_adapter(),
        videos,
        out=tmp_path,
        parts=("keys", "values"),
        sanity=True,
        progress=False,
    )
    page = Page(report(run))
    assert len(page.heads()) == 2 * 3 * 2
    for head in page.heads():
        table = run.concepts(head["layer"], head["head"], head["part"])
        if table.k > 1:
            assert head["values"]["silhouette"] == pytest.approx(table.mean_silhouette, abs=6e-5)
        for video, volume in page.decode(head).items():
            support = run.support(video, head["layer"], head["head"], head["part"])
            np.testing.assert_array_equal(volume, support)
    options = {attributes["value"] for tag, attributes in page.elements if tag == "option"}
    assert {"keys", "values"} <= options
