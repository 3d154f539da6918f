"""`vtcd segment` on a bundled clip: masks in the layout of DAVIS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from vtcd_hf_videomae import adapter as miniature_module

import vtcd_ops
from vtcd_ops.commands.app import app
from vtcd_ops.commands.segment import parse_part_heads
from vtcd_ops.video.masks import read_masks
from vtcd_ops.vos_metrics import evaluate, region_similarity

CLIP = Path(miniature_module.__file__).parent / "clips" / "push_left.mp4"


def call(*given: str | Path) -> str:
    result = CliRunner().invoke(app, ["segment", *map(str, given)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The first mask as numbers in a palette, object 3."""
    mask = read_masks(CLIP.with_suffix(".npz"), [0])[0].numpy()
    image = Image.fromarray(3 * mask.astype(np.uint8))
    image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "first.png")
    return tmp_path / "first.png"


def test_masks_of_a_bundled_clip(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    said = call(
        "hf_videomae:mini-ssl", CLIP, "--first-mask", first, "--out", out, "--num-concepts", "16"
    )
    truth = read_masks(CLIP.with_suffix(".npz"), None).numpy()
    names = [f"{frame:05d}.png" for frame in range(len(truth))]
    assert sorted(path.name for path in out.iterdir()) == names
    maps = []
    for name in names:
        with Image.open(out / name) as image:
            assert image.mode == "P"
            assert (image.getpalette() or [])[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
            maps.append(np.array(image))
    labels = np.stack(maps)
    found = vtcd_ops.segment("hf_videomae:mini-ssl", CLIP, first, num_concepts=16)
    assert np.array_equal(labels, found.labels.numpy())
    assert set(np.unique(labels)) == {0, 3}
    seen = int((labels > 0).any(axis=(1, 2)).sum())
    assert f"{len(names)} masks, an object in {seen} of them" in said.replace("\n", " ")
    assert region_similarity(labels == 3, truth)[0] > 0.3  # 8 x 8 tokens; later the box is lost


def test_masks_are_replaced_when_asked(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    given = ("hf_videomae:mini-ssl", CLIP, "--first-mask", first, "--out", out, "--mode", "paper")
    call(*given, "--heads", "keys:3:0,keys:2:1")
    (out / "00000.png").write_bytes(b"")
    (out / "99999.png").write_bytes(b"")  # of a longer video
    with pytest.raises(vtcd_ops.InputError, match="holds images: give another folder"):
        call(*given)
    assert (out / "00000.png").read_bytes() == b""
    call(*given, "--overwrite")
    assert not (out / "99999.png").exists()
    assert (out / "00000.png").stat().st_size > 0


def test_vos_metrics_read_what_is_written(tmp_path: Path) -> None:
    """Of two objects: the numbers survive the palette, and the frames are in their order."""
    frames, truth = tmp_path / "frames", tmp_path / "truth" / "scene"
    out = tmp_path / "found" / "scene"
    for folder in (frames, truth, out.parent):
        folder.mkdir(parents=True)
    masks = np.zeros((16, 64, 64), dtype=np.uint8)
    colours = np.array([[90, 90, 90], [250, 20, 20], [20, 20, 250]], dtype=np.uint8)
    for number, mask in enumerate(masks):
        mask[16:40, number : 24 + number] = 1
        mask[44:60, 40:60] = 2
        Image.fromarray(colours[mask]).save(frames / f"{number:05d}.png")
        image = Image.fromarray(mask)
        image.putpalette(list(range(256)) * 3)
        image.save(truth / f"{number:05d}.png")
    call("hf_videomae:mini-ssl", frames, "--first-mask", truth / "00000.png", "--out", out)
    scores = evaluate(out.parent, truth.parent, rule="davis17")
    found = vtcd_ops.segment("hf_videomae:mini-ssl", frames, masks[0]).labels.numpy()
    for row in scores.rows:  # which leave out the first and the last frame
        label = int(row["object"])
        expected = region_similarity(found == label, masks == label)[1:-1].mean()
        assert row["J mean"] == pytest.approx(expected, abs=1e-12)
    assert [int(row["object"]) for row in scores.rows] == [1, 2]


def test_what_is_refused(first: Path, tmp_path: Path) -> None:
    given = ["segment", "hf_videomae:mini-ssl", str(CLIP), "--first-mask", str(first), "--out"]
    for more, message in (
        ([str(tmp_path / "no" / "masks")], "out expected a folder in one that exists"),
        ([str(tmp_path / "masks"), "--heads", "3:0"], "heads expected as part:layer:head"),
        ([str(tmp_path / "masks"), "--heads", "keys:99:0"], "layer expected 0 to"),
    ):
        with pytest.raises(vtcd_ops.InputError, match=message):
            CliRunner().invoke(app, [*given, *more], catch_exceptions=False)
    assert not (tmp_path / "masks").exists()


def test_heads_as_text() -> None:
    assert parse_part_heads("keys:1:0, outputs:11:3") == [("keys", 1, 0), ("outputs", 11, 3)]
