"""`vtcd segment` on folders of videos with masks: layouts, resume, heads, scores, overlays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from segmentation.moving_object import colour_adapter, moving_square, two_squares

import vtcd_ops
from vtcd_ops.commands.segment import parse_part_heads
from vtcd_ops.commands.segment_videos import segment_videos
from vtcd_ops.segmentation.labelled_videos import find_labelled_videos
from vtcd_ops.video.readers import read_video
from vtcd_ops.vos_metrics import region_similarity

COLOURS = [("keys", 1, 0)]


def write_images(folder: Path, images: np.ndarray, first: int = 0, palette: bool = False) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images, first):
        image = Image.fromarray(pixels)
        if palette:
            image.putpalette(list(range(256)) * 3)
        image.save(folder / f"{number:05d}.png")


def davis(root: Path, year: str) -> Path:
    """Two sequences; of 2016 masks of 0 and 255, of 2017 numbers in a palette."""
    video, masks = moving_square(8)
    pair, labels = two_squares(8)
    numbers = [masks.astype(int), np.where(labels == 7, 2, labels)]
    for name, frames, truth in zip(("one", "two"), (video, pair), numbers, strict=True):
        write_images(root / "JPEGImages/480p" / name, frames)
        if year == "2016":
            truth = np.where(truth > 0, 255, 0)
        write_images(
            root / "Annotations/480p" / name, truth.astype(np.uint8), palette=year == "2017"
        )
    (root / "ImageSets" / year).mkdir(parents=True)
    listed = root / "ImageSets" / year
    lines = {"2017": "two\n", "480p": "/JPEGImages/480p/two/00000.jpg /Annotations/480p/two/0.png"}
    (listed / "val.txt").write_text(lines.get(year, "two\n"))
    (listed / "train.txt").write_text("one\n")
    return root


@pytest.mark.parametrize("year", ["2016", "480p", "2017"])
def test_a_split_of_davis(year: str, tmp_path: Path) -> None:
    root = davis(tmp_path / "davis", "2016" if year == "480p" else year)
    if year == "480p":
        (root / "ImageSets/2016").rename(root / "ImageSets/480p")
    made = segment_videos(
        colour_adapter(), root, out=tmp_path / "out", split="val", train_split="train",
        num_heads=1, overlay=True,
    )  # fmt: skip
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "heads.json", "scores.csv", "settings.json", "two", "two.json", "two.mp4"
    ]  # fmt: skip
    # the head of colours fits the training video's square; the others are noise
    assert parse_part_heads(str(tmp_path / "out/heads.json")) == COLOURS
    video, labels = two_squares(8)
    with Image.open(tmp_path / "out/two/00003.png") as image:
        found = np.array(image)
    expected = vtcd_ops.segment(
        colour_adapter(), video, labels[0] if year == "2017" else labels[0] > 0, heads=COLOURS
    ).labels[3].numpy()  # fmt: skip
    assert np.array_equal(found, np.where(expected == 7, 2, expected))
    assert made.scores is not None
    assert made.scores.rule == ("davis17" if year == "2017" else "davis16")
    assert [int(row["object"]) for row in made.scores.rows] == ([1, 2] if year == "2017" else [1])
    shown, _ = read_video(tmp_path / "out/two.mp4")
    assert shown.shape == video.shape
    tinted = np.abs(shown[3].astype(int) - video[3]).mean(axis=-1)
    assert tinted[found > 0].mean() > 2 * tinted[found == 0].mean()


def test_several_objects_where_one_is_asked_for(tmp_path: Path) -> None:
    """DAVIS'17 by the rules of one object, and heads chosen on it: all objects count as one."""
    root = davis(tmp_path / "davis", "2017")
    _, truth = two_squares(8)
    for rule, frames in (("davis16", slice(1, -1)), ("paper", slice(None))):
        made = segment_videos(
            colour_adapter(), root, out=tmp_path / "out", heads=COLOURS, split="val", rule=rule
        )
        assert made.scores is not None
        (row,) = made.scores.rows
        found = np.stack(
            [np.array(Image.open(one)) for one in sorted((tmp_path / "out/two").iterdir())]
        )
        assert set(np.unique(found)) == {0, 1, 2}  # still told apart
        found, known = found > 0, truth > 0
        agreement = (found & known).sum((1, 2)) / (found | known).sum((1, 2))
        assert row["J mean"] == pytest.approx(agreement[frames].mean())
    video, _ = two_squares(8)
    chosen = [
        vtcd_ops.choose_heads(colour_adapter(), vtcd_ops.Sample(video, target_masks=masks))
        for masks in (truth, truth > 0)
    ]
    assert chosen[0] == chosen[1]


def test_what_is_finished_is_kept(tmp_path: Path) -> None:
    root, out = davis(tmp_path / "davis", "2017"), tmp_path / "out"
    call: dict[str, Any] = {"out": out, "heads": COLOURS}
    first = segment_videos(colour_adapter(), root, **call)
    assert all("an object in 8 of them" in line for line in first.lines)
    before = (out / "one/00002.png").read_bytes()
    made = (out / "one/00002.png").stat().st_mtime_ns
    (out / "two.json").unlink()  # as if killed in the second
    (out / "two/00001.png").unlink()
    lines = segment_videos(colour_adapter(), root, **call).lines
    assert lines[0] == "one: there already"
    assert (out / "one/00002.png").stat().st_mtime_ns == made
    assert (out / "two/00001.png").is_file()
    (out / "one/00002.png").write_bytes(b"damaged")
    segment_videos(colour_adapter(), root, **call)
    assert (out / "one/00002.png").read_bytes() == before
    with pytest.raises(vtcd_ops.InputError, match=r"masks of other settings \(mode\): give"):
        segment_videos(colour_adapter(), root, mode="paper", **call)
    segment_videos(colour_adapter(), root, overwrite=True, **call)
    assert (out / "one/00002.png").read_bytes() == before
    mask = root / "Annotations/480p/one/00000.png"
    mask.write_bytes((root / "Annotations/480p/one/00003.png").read_bytes())
    lines = segment_videos(colour_adapter(), root, **call).lines
    assert lines[0].startswith("one: 8 masks")  # another first mask: made anew
    assert lines[1] == "two: there already"


def test_plain_folders_and_frames_with_gaps(tmp_path: Path) -> None:
    """Frames 5 to 12 alone, and only the first mask: names are kept, nothing is scored."""
    video, masks = moving_square(8)
    write_images(tmp_path / "data/mine/frames", video, first=5)
    write_images(tmp_path / "data/mine/masks", masks[:1].astype(np.uint8), first=5)
    (tmp_path / "data/mine/frames/00008.png").unlink()
    made = segment_videos(colour_adapter(), tmp_path / "data", out=tmp_path / "o", heads=COLOURS)
    assert made.scores is None
    assert sorted(path.stem for path in (tmp_path / "o/mine").iterdir()) == [
        f"{number:05d}" for number in (5, 6, 7, 9, 10, 11, 12)
    ]
    with Image.open(tmp_path / "o/mine/00012.png") as image:
        last = np.array(image) > 0
    assert region_similarity(last[None], masks[7:])[0] > 0.44


def test_what_is_refused_of_folders(tmp_path: Path) -> None:
    root = davis(tmp_path / "davis", "2016")
    (root / "Annotations/480p/one/00000.png").unlink()
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (root, {}, "a mask of the first frame expected, 00000.png, got none"),
        (root, {"split": "test"}, "has no list of the split 'test'"),
        (root, {"train_split": "trainval", "split": "val"}, "no list of the split 'trainval'"),
        (root, {"sequences": ["three"]}, "lacks 1 of 1 sequence, such as three"),
        (root, {"train_split": "train", "heads": COLOURS}, "either train_split or heads, got both"),
        (root / "JPEGImages/480p/one", {}, "first_mask expected with a single video"),
        (root / "JPEGImages/480p/one", {"split": "val"}, "split expected with a folder of DAVIS"),
    ]
    for number, (folder, given, message) in enumerate(cases):
        with pytest.raises(vtcd_ops.InputError, match=message):
            segment_videos(colour_adapter(), folder, out=tmp_path / f"out{number}", **given)
    with pytest.raises(vtcd_ops.InputError, match="holds no videos with masks: expected JPEGIm"):
        find_labelled_videos(tmp_path / "davis/ImageSets")
    (tmp_path / "heads.json").write_text(json.dumps([["keys", 1]]))
    with pytest.raises(vtcd_ops.InputError, match="expected to hold heads such as"):
        parse_part_heads(str(tmp_path / "heads.json"))


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("L", (0, 255)),
        ("P", (0, 1)),
        ("RGB", (0, 255)),
        ("alpha", (0, 255)),
        ("I;16", (0, 65535)),
        ("jpeg", (0, 255)),
    ],
)
def test_first_masks_of_every_kind(mode: str, values: tuple[int, int], tmp_path: Path) -> None:
    _, masks = moving_square(1)
    grey = np.where(masks[0], values[1], values[0])
    path = tmp_path / ("mask.jpg" if mode == "jpeg" else "mask.png")
    if mode == "alpha":
        pixels = np.zeros((*grey.shape, 4), dtype=np.uint8)
        pixels[..., 3] = grey
        Image.fromarray(pixels).save(path)
    elif mode == "I;16":
        Image.fromarray(grey.astype(np.uint16)).save(path)
    elif mode == "P":
        image = Image.fromarray(grey.astype(np.uint8))
        image.putpalette(list(range(256)) * 3)
        image.save(path)
    else:
        image = Image.fromarray(grey.astype(np.uint8))
        image.convert("RGB" if mode == "RGB" else "L").save(path)
    video, _ = moving_square(6)
    found = vtcd_ops.segment(colour_adapter(), video, path, heads=COLOURS)
    expected = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=COLOURS)
    assert np.array_equal(found.labels.numpy(), expected.labels.numpy())
