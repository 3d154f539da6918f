"""What the report measures and draws, against definitions of its own: palette, overlaps, cards."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pipeline.report_page import Page, write_controlled_run, write_run
from pipeline.videos import moving_square
from skimage.color import deltaE_ciede2000, rgb2lab

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.concept_evidence.result import ObjectRow
from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting import palette
from vtcd_ops.reporting.evidence import object_sentence
from vtcd_ops.reporting.findings import headline
from vtcd_ops.reporting.overlaps import overlaps
from vtcd_ops.reporting.quantities import head_warning
from vtcd_ops.reporting.shown import Head, ShownRun

# Machado, Oliveira and Fernandes 2009, severity 1, on linear red, green and blue.
SEEN_BY = {
    "everybody": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("eye", "smallest"),
    [("everybody", 23), ("protanopia", 19), ("deuteranopia", 19), ("tritanopia", 19)],
)
def test_concepts_are_told_apart_by_colour(eye: str, smallest: float) -> None:
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in palette.CONCEPTS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SEEN_BY[eye].T, 0, 1)
    shown = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(shown[None])[0]
    found = [deltaE_ciede2000(lab[i], lab[j]) for i, j in combinations(range(len(lab)), 2)]
    assert min(found) >= smallest


def test_ink_on_every_colour_can_be_read() -> None:
    for colour in (*palette.CONCEPTS, *palette.RAMP, *palette.DIVERGING):
        assert palette.contrast(colour, palette.ink_on(colour)) >= 4.5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_controlled_run(tmp_path_factory.mktemp("run"))


def test_overlaps_are_those_of_the_supports(run: Run) -> None:
    """Intersection over union of the tokens, mean over videos, as sets of places."""
    copy = run.sanity
    assert copy is not None
    found = overlaps(run, copy, "keys", range(len(run.videos)))
    for row, (layer, head, concept) in enumerate(found.rows):
        for column, (other, there, index) in enumerate(found.columns):
            ratios = []
            for video in range(len(run.videos)):
                ours = set(np.flatnonzero(run.tokens(video, layer)[head] == concept))
                theirs = set(np.flatnonzero(copy.tokens(video, other)[there] == index))
                if ours | theirs:
                    ratios.append(len(ours & theirs) / len(ours | theirs))
            assert found.ratio[row, column] == pytest.approx(np.mean(ratios))
    itself = overlaps(run, run, "keys", range(len(run.videos)))
    assert np.allclose(np.diag(itself.ratio), 1)
    assert np.allclose(np.diag(itself.beyond_chance), 1)


def _view(identifier: str, run: Run, videos: list[list[int]]) -> ShownRun:
    heads = [
        Head("keys", 0, index, [{"videos": count} for count in counts],
             {"videos": float(np.mean(counts))}, [])
        for index, counts in enumerate(videos)
    ]  # fmt: skip
    return ShownRun(identifier, identifier, run, heads)


def test_the_sentence_says_when_the_copy_is_as_good(run: Run) -> None:
    many, few = [[4, 4]] * 8, [[1, 1, 2]] * 8
    good, bad = _view("model", run, many), _view("control", run, few)
    assert headline(good, bad) == (
        "Layer 0 puts things of different videos together: 16 of its 16 concepts recur in at "
        "least 2 of 4. In its randomised copy: 8 of 24."
    )
    assert headline(bad, good).startswith("The randomised copy is as good: 16 of its 16 concepts")
    assert headline(good, _view("control", run, many)).startswith("The randomised copy is as good")
    assert "Without a randomised copy nobody can say" in headline(good, None)
    # one head ahead is no proof: the sign test asks for more
    assert "as good" in headline(_view("model", run, [[4]]), _view("control", run, [[1]]))


@pytest.mark.parametrize(
    ("copies", "low", "said"),
    [
        (0.07, 0.5, "A concept of layer 3 covers the object: IoU 0.63"),
        (0.55, 0.5, "Copies with random weights cover the object as well: IoU 0.55"),
        (None, 0.5, "Without copies with random weights nobody can say"),
    ],
)
def test_the_sentence_on_objects(copies: float | None, low: float, said: str) -> None:
    rows = [
        ObjectRow(layer, value, low, 0.9, copies, 0.05, (layer, 0, 0), 4)
        for layer, value in ((1, 0.2), (3, 0.63))
    ]
    assert said in str(object_sentence(SimpleNamespace(objects=rows)))  # type: ignore[arg-type]
    assert object_sentence(SimpleNamespace(objects=[])) is None  # type: ignore[arg-type]


def test_evidence_is_in_the_page(tmp_path: Path) -> None:
    model = example_adapter()
    videos = [moving_square(seed=seed) for seed in range(4)]
    run = vtcd_ops.discover(model, videos, out=tmp_path, layers=[2], sanity=True, progress=False)
    found = vtcd_ops.evidence(run, model, videos, copies=1, starts=1, shuffles=9, progress=False)
    page = Page(vtcd_ops.report(run, progress=False))
    assert found.sentence() in page.text
    for row in found.summary():
        assert row.measure.label in page.text
    place = dict(zip(map(tuple, found.units.tolist()), found.values("place"), strict=True))
    for head in page.heads():
        for index, concept in enumerate(head["concepts"]):
            expected = place[head["layer"], head["head"], index]
            if np.isfinite(expected):
                assert concept["values"]["evidence-place"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("videos", "concepts", "warning"),
    [([0, 1, 2, 3], [0, 1, 2, 2], "3 concepts from 4 tubelets"),
     ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], "2 of 2 concepts are of one video"),
     ([0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 1, 1], None)],
)  # fmt: skip
def test_heads_that_should_not_be_believed(
    videos: list[int], concepts: list[int], warning: str | None
) -> None:
    head = SimpleNamespace(k=max(concepts) + 1, video=np.array(videos), concept=np.array(concepts))
    found = head_warning(head, num_videos=4)  # type: ignore[arg-type]
    assert found is None if warning is None else str(found).startswith(warning)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png", ".mp4"])
def test_a_card_moves(run: Run, tmp_path: Path, ending: str) -> None:
    target = vtcd_ops.card(run, "keys-L1-H1-C0", tmp_path / f"card{ending}", clips=2, width=320)
    if ending == ".mp4":
        import av

        with av.open(str(target)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 4
        return
    with Image.open(target) as picture:
        assert picture.width == 320
        assert getattr(picture, "n_frames", 1) == (1 if ending == ".png" else 4)


def test_a_card_dims_what_is_outside(tmp_path: Path) -> None:
    """A picture of one clip: inside the colours of the video, outside grey."""
    run = write_run(tmp_path, num_videos=1, concepts=(2,), shape=(1, 32, 32))
    target = vtcd_ops.card(run, "#keys-L0-H0-C1", tmp_path / "card.png", width=320)
    with Image.open(target) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)[22:342]
    inside = np.kron(run.support(0, 0, 0)[0] == 1, np.ones((10, 10))) > 0
    assert (np.ptp(pixels, axis=-1)[~inside] <= 2).mean() > 0.9
    assert np.ptp(pixels, axis=-1)[inside].mean() > 5


@pytest.mark.parametrize(
    ("concept", "out", "message"),
    [("L1", "a.gif", "concept expected an address such as keys-L3-H1-C0, got L1"),
     ("keys-L1-H1-C9", "a.gif", "concept expected one of the run's, got keys-L1-H1-C9"),
     ("keys-L1-H1-C0", "a.jpg", "out expected .gif, .webp, .mp4, .png, got a.jpg")],
)  # fmt: skip
def test_cards_refuse_what_is_none(
    run: Run, tmp_path: Path, concept: str, out: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        vtcd_ops.card(run, concept, tmp_path / out)


def test_names_are_read_and_refused(run: Run, tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text('{"keys-L1-H1-C0": "the <b>square</b>"}')
    page = vtcd_ops.report(run, tmp_path / "page.html", names=names, progress=False).read_text()
    assert "the \\u003cb\\u003esquare" in page
    for text in ("[]", '{"a": 1}', "{", '{"a": {"name": "x"}}'):
        names.write_text(text)
        with pytest.raises(InputError, match=r"report: .*names"):
            vtcd_ops.report(run, tmp_path / "page.html", names=names, progress=False)
