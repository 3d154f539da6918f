"""Folders of masks against folders of truth: layouts, rules, and what is missing or wrong."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline.test_vos_metrics import by_trackeval, ellipses

from vtcd_ops.commands import app
from vtcd_ops.common.errors import InputError
from vtcd_ops.vos_metrics import contour_accuracy, evaluate, region_similarity, statistics

PALETTE = [value for i in range(6) for value in (40 * i, 128, 0)]


def write_maps(folder: Path, maps: np.ndarray, mode: str = "P") -> Path:
    """Write label maps [T, H, W] as 00000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, labels in enumerate(maps):
        if mode == "P":
            image = Image.fromarray(labels.astype(np.uint8), "P")
            image.putpalette(PALETTE)
        elif mode == "1":
            image = Image.fromarray(labels > 0)
        else:
            image = Image.fromarray(labels.astype(np.uint16 if mode == "I;16" else np.uint8))
            image = image.convert(mode) if mode in ("RGB", "RGBA", "LA") else image
        image.save(folder / f"{t:05d}.png")
    return folder


def binary(seed: int, num_frames: int = 7) -> np.ndarray:
    return ellipses(num_frames, 40, 60, seed) * np.uint8(255)


def several(seed: int, num_frames: int = 7) -> np.ndarray:
    """Three objects that hide one another: labels 1, 2 and 4."""
    maps = np.zeros((num_frames, 40, 60), np.uint8)
    for label in (1, 2, 4):
        maps[ellipses(num_frames, 40, 60, seed + label)] = label
    return maps


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_davis16_leaves_out_both_ends(tmp_path: Path) -> None:
    ours, theirs = binary(1), binary(2)
    write_maps(tmp_path / "ours/swan", ours, "L")
    write_maps(tmp_path / "theirs/swan", theirs, "L")
    for frame in ("00000", "00006"):  # nobody needs to predict them
        (tmp_path / f"ours/swan/{frame}.png").unlink()
    table = evaluate(tmp_path / "ours", tmp_path / "theirs", progress=False)
    assert table.rule == "davis16"
    (scores,) = table.objects
    assert (scores.sequence, scores.label) == ("swan", 1)
    assert scores.frames == tuple(f"{t:05d}" for t in range(1, 6))
    expected = region_similarity(ours[1:-1] > 0, theirs[1:-1] > 0)
    np.testing.assert_array_equal(scores.region, expected)
    expected = contour_accuracy(ours[1:-1] > 0, theirs[1:-1] > 0)
    np.testing.assert_array_equal(scores.contour, expected)


def test_paper_counts_all_frames(tmp_path: Path) -> None:
    ours, theirs = binary(1), binary(2)
    write_maps(tmp_path / "ours", ours, "L")
    write_maps(tmp_path / "theirs", theirs, "L")
    table = evaluate(tmp_path / "ours", tmp_path / "theirs", "paper", progress=False)
    expected = region_similarity(ours > 0, theirs > 0)
    assert table.mean["J mean"] == pytest.approx(expected.mean())
    assert table.objects[0].sequence == "theirs"


def test_davis17_is_what_trackeval_says(tmp_path: Path) -> None:
    """Every object on its own, the mean over objects of all sequences."""
    summaries = []
    for name, seed in (("one", 10), ("two", 20)):
        ours, theirs = several(seed), several(seed + 1)
        write_maps(tmp_path / "ours" / name, ours)
        write_maps(tmp_path / "theirs/Annotations/480p" / name, theirs)
        sides = [{k: maps[1:-1] == k for k in (1, 2, 4)} for maps in (ours, theirs)]
        j, f, _ = by_trackeval(*sides)
        summaries += list(zip(j, f))
    table = evaluate(tmp_path / "ours", tmp_path / "theirs", progress=False)
    assert table.rule == "davis17"
    labels = [(scores.sequence, scores.label) for scores in table.objects]
    assert labels == [(name, label) for name in ("one", "two") for label in (1, 2, 4)]
    for scores, (j, f) in zip(table.objects, summaries):
        np.testing.assert_allclose(scores.region, j, rtol=0, atol=1e-12)
        np.testing.assert_allclose(scores.contour, f, rtol=0, atol=1e-12)
    assert table.mean["J mean"] == pytest.approx(np.mean([j for j, _ in summaries]))
    assert table.mean["F decay"] == pytest.approx(
        np.mean([statistics(f).decay for _, f in summaries])
    )
    both = (table.mean["J mean"] + table.mean["F mean"]) / 2
    assert table.mean["J&F"] == pytest.approx(both)


def test_255_is_void_in_davis17_and_the_object_in_davis16(tmp_path: Path) -> None:
    maps = np.zeros((3, 40, 60), np.uint8)
    maps[:, 5:20, 5:20] = 1
    maps[:, 5:20, 30:50] = 255
    write_maps(tmp_path / "theirs/s", maps, "L")
    found = {}
    for name, ours in (("only 1", maps * (maps == 1)), ("both", (maps > 0).astype(np.uint8))):
        write_maps(tmp_path / name / "s", ours, "L")
        for rule in ("davis16", "davis17"):
            table = evaluate(tmp_path / name, tmp_path / "theirs", rule, progress=False)
            found[name, rule] = table.mean["J mean"]
    assert found["only 1", "davis17"] == found["both", "davis17"] == 1
    assert found["both", "davis16"] == 1
    assert found["only 1", "davis16"] == pytest.approx(15 * 15 / (15 * 15 + 15 * 20))


def test_an_object_may_come_late(tmp_path: Path) -> None:
    theirs = several(1)
    theirs[:4][theirs[:4] == 2] = 0
    ours = theirs.copy()
    write_maps(tmp_path / "ours/s", ours)
    write_maps(tmp_path / "theirs/s", theirs)
    table = evaluate(tmp_path / "ours", tmp_path / "theirs", progress=False)
    assert [scores.label for scores in table.objects] == [1, 2, 4]
    assert table.mean["J&F"] == 1


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "RGB", "RGBA", "LA"])
def test_any_kind_of_png(tmp_path: Path, mode: str) -> None:
    maps = ellipses(3, 40, 60, 3).astype(np.uint8)
    write_maps(tmp_path / "theirs/s", maps, "P")
    write_maps(tmp_path / "ours/s", maps, mode)
    for rule in ("davis16", "davis17"):
        table = evaluate(tmp_path / "ours", tmp_path / "theirs", rule, progress=False)
        assert table.mean["J&F"] == 1


@pytest.mark.parametrize(
    ("lines", "year"),
    [
        ("a\nc\n", "2016"),
        ("/JPEGImages/480p/a/00000.jpg /Annotations/480p/a/00000.png\n"
         "/JPEGImages/480p/a/00001.jpg /Annotations/480p/a/00001.png\n"
         "/JPEGImages/480p/c/00000.jpg /Annotations/480p/c/00000.png\n", "480p"),
    ],
)  # fmt: skip
def test_a_split_of_davis(tmp_path: Path, lines: str, year: str) -> None:
    for name in "abc":
        write_maps(tmp_path / "davis/Annotations/480p" / name, binary(1), "L")
    for name in "ac":
        write_maps(tmp_path / "ours" / name, binary(1), "L")
    (tmp_path / "davis/ImageSets" / year).mkdir(parents=True)
    (tmp_path / "davis/ImageSets" / year / "val.txt").write_text(lines)
    table = evaluate(tmp_path / "ours", tmp_path / "davis", split="val", progress=False)
    assert [scores.sequence for scores in table.objects] == ["a", "c"]
    with pytest.raises(InputError, match=r"the prediction lacks 1 of 3 sequences, such as .*b"):
        evaluate(tmp_path / "ours", tmp_path / "davis", progress=False)
    with pytest.raises(InputError, match=r"has no list of the split 'test': expected .*test\.txt"):
        evaluate(tmp_path / "ours", tmp_path / "davis", split="test", progress=False)


def test_masks_beside_frames(tmp_path: Path) -> None:
    """The layout `<sequence>/masks/*.png`, with other folders beside the masks."""
    write_maps(tmp_path / "theirs/s/masks", binary(1), "L")
    (tmp_path / "theirs/s/frames").mkdir()
    write_maps(tmp_path / "ours/s", binary(1), "L")
    assert evaluate(tmp_path / "ours", tmp_path / "theirs", progress=False).mean["J&F"] == 1
    alone = evaluate(tmp_path / "ours/s", tmp_path / "theirs/s", progress=False)
    assert [scores.sequence for scores in alone.objects] == ["s"]


def test_the_table_is_printed_and_written(tmp_path: Path) -> None:
    write_maps(tmp_path / "theirs/s", several(1))
    write_maps(tmp_path / "ours/s", several(1))
    table = evaluate(tmp_path / "ours", tmp_path / "theirs", progress=False)
    lines = str(table).splitlines()
    assert " ".join(lines[0].split()) == "J&F J mean J recall J decay F mean F recall F decay"
    assert lines[1].split()[:5] == ["s", "1", "1.000", "1.000", "1.000"]
    assert lines[-1].startswith("mean (davis17)")
    table.write_csv(tmp_path / "table.csv")
    rows = read_csv(tmp_path / "table.csv")
    assert [row["object"] for row in rows] == ["1", "2", "4", ""]
    assert rows[-1]["rule"] == "davis17"
    assert float(rows[-1]["J&F"]) == 1
    table.write_csv(tmp_path / "frames.csv", per_frame=True)
    rows = read_csv(tmp_path / "frames.csv")
    assert [row["frame"] for row in rows[:5]] == [f"{t:05d}" for t in range(1, 6)]
    assert {float(row["J"]) for row in rows} == {1.0}


def broken(name: str, tmp_path: Path) -> tuple[Path, Path]:
    """A prediction and a truth of which something is wrong."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_maps(ours / "s", several(1))
    write_maps(theirs / "s", several(1))
    file = ours / "s/00003.png"
    match name:
        case "missing frame":
            file.unlink()
        case "other size":
            write_maps(ours / "s", several(1)[:, ::2])
        case "other label":
            write_maps(ours / "s", several(1) + (several(1) == 4))
        case "colours":
            Image.fromarray(np.random.default_rng(0).integers(0, 9, (40, 60, 3), np.uint8)).save(
                file
            )
        case "transparency":
            Image.new("RGBA", (60, 40), (0, 0, 0, 7)).save(file)
        case "no image":
            file.write_bytes(b"nothing")
        case "cut":
            file.write_bytes(file.read_bytes()[:150])
        case "two frames":
            for t in range(2, 7):
                (theirs / f"s/{t:05d}.png").unlink()
        case "no objects":
            write_maps(theirs / "s", np.zeros((7, 40, 60)))
        case "jpeg":
            ours = tmp_path / "jpegs"
            (ours / "s").mkdir(parents=True)
            Image.new("L", (60, 40)).save(ours / "s/00000.jpg")
        case "nothing":
            ours = tmp_path / "nowhere"
    return ours, theirs


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing frame", r"ours/s/00003\.png does not exist: s lacks a mask"),
        ("other size", r"00001\.png: a mask of 60 x 40 pixels expected, .*, got 60 x 20"),
        ("other label", r"00001\.png: labels expected of \[1, 2, 4\], as the truth's, got 5"),
        ("colours", r"00003\.png: labels expected in palette or grey values, got colours"),
        ("transparency", r"00003\.png: labels expected in palette or grey values, got transp"),
        ("no image", r"00003\.png cannot be read as an image: "),
        ("cut", r"00003\.png cannot be read as an image: "),
        ("two frames", r"theirs/s: at least 3 frames expected, got 2"),
        ("no objects", r"theirs/s: masks of objects expected, got none"),
        ("jpeg", r"jpegs: folders of PNG masks expected, found none; JPEG changes labels"),
        ("nothing", r"nowhere is no folder of masks; DAVIS is at https://davischallenge\.org"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, message: str) -> None:
    ours, theirs = broken(name, tmp_path)
    with pytest.raises(InputError, match=message):
        evaluate(ours, theirs, "davis17", progress=False)


def test_an_unknown_rule(tmp_path: Path) -> None:
    expected = "evaluate: rule expected one of davis16, davis17, paper, got 'davis18'"
    with pytest.raises(InputError, match=expected):
        evaluate(tmp_path, tmp_path, "davis18")


def test_names_of_sequences(tmp_path: Path) -> None:
    ours, theirs = broken("", tmp_path)
    with pytest.raises(InputError, match=r"the truth lacks 1 of 2 sequences, such as .*theirs/t"):
        evaluate(ours, theirs, sequences=["s", "t"], progress=False)
    with pytest.raises(InputError, match="sequences expected at least 1, got none"):
        evaluate(ours, theirs, sequences=[], progress=False)


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = broken("", tmp_path)
    command = ["vtcd", "evaluate", str(ours), str(theirs), "--rule", "paper"]
    files = ["--out", str(tmp_path / "table.csv"), "--frames", str(tmp_path / "frames.csv")]
    monkeypatch.setattr(sys, "argv", command + files)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["mean", "(paper)", "1.000"]
    assert [row["sequence"] for row in read_csv(tmp_path / "table.csv")] == ["s", "mean"]
    assert len(read_csv(tmp_path / "frames.csv")) == 7
    (ours / "s/00003.png").unlink()
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"vtcd: {ours}/s/00003.png does not exist: s lacks a mask"
    )
