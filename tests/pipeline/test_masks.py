"""What in a mask is the object, whatever the file."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vtcd_ops.common.errors import InputError
from vtcd_ops.video.masks import read_mask, read_masks

DISC = (np.indices((64, 80)) - [[[30]], [[35]]]).astype(float)
OBJECT = np.hypot(*DISC) < 20  # the truth [64, 80]
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    Image.fromarray(pixels).convert(mode).save(path, **options) if mode else Image.fromarray(
        pixels
    ).save(path, **options)
    return path


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize(("quality", "at_least"), [(30, 0.97), (75, 0.985), (95, 0.995)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_its_source(tmp_path: Path, quality: int, at_least: float, mode: str) -> None:
    path = save(
        tmp_path / "a.jpg", np.where(OBJECT, 255, 0).astype(np.uint8), mode, quality=quality
    )
    assert iou(read_mask(path).numpy(), OBJECT) >= at_least


@pytest.mark.parametrize(
    "pixels",
    [
        np.where(OBJECT, 255, 0).astype(np.uint8),
        np.where(OBJECT, 1, 0).astype(np.uint8),
        np.where(OBJECT, 1 + (np.indices(OBJECT.shape)[0] > 30), 0).astype(np.uint8),
        np.where(OBJECT[..., None], [0, 0, 3], 0).astype(np.uint8),
        np.where(OBJECT[..., None], [255, 255, 255], 0).astype(np.uint8),
        np.where(OBJECT[..., None], [[0, 0, 0, 255]], 0).astype(np.uint8),
        np.where(OBJECT[..., None], [[255, 255, 255, 255]], [[255, 255, 255, 0]]).astype(np.uint8),
        np.where(OBJECT[..., None], [[9, 0, 0, 255]], [[0, 0, 0, 255]]).astype(np.uint8),
        np.where(OBJECT, 40000, 0).astype(np.uint16),
        np.where(OBJECT, 1001, 0).astype(np.uint16),
        OBJECT,
    ],
    ids=[
        "white",
        "one",
        "two",
        "blue",
        "white-rgb",
        "black-alpha",
        "white-alpha",
        "opaque",
        "16-bit",
        "id",
        "bool",
    ],
)
def test_lossless_images(tmp_path: Path, pixels: np.ndarray) -> None:
    path = save(tmp_path / "mask.png", pixels)
    np.testing.assert_array_equal(read_mask(path).numpy(), OBJECT)


def palette_image(
    path: Path, numbers: np.ndarray, white: tuple[int, ...] = (255, 255, 255)
) -> Path:
    image = Image.fromarray(numbers.astype(np.uint8), "P")
    image.putpalette(PALETTE + [7] * (765 - len(PALETTE)) + list(white))
    image.save(path)
    return path


@pytest.mark.parametrize("void", [(255, 255, 255), (224, 224, 192)])
def test_the_void_of_davis_is_no_object(tmp_path: Path, void: tuple[int, ...]) -> None:
    numbers = np.where(OBJECT, 1, 0)
    numbers[:8] = 255
    assert not (OBJECT[:8]).any()
    path = palette_image(tmp_path / "0.png", numbers, void)
    np.testing.assert_array_equal(read_mask(path).numpy(), OBJECT)
    # a later frame, which the object has left, is told by the frames before it
    palette_image(tmp_path / "1.png", np.where(numbers == 255, 255, 0), void)
    got = read_masks(tmp_path, [0, 1]).numpy()
    np.testing.assert_array_equal(got, [OBJECT, np.zeros_like(OBJECT)])


def test_255_alone_is_the_object(tmp_path: Path) -> None:
    path = palette_image(tmp_path / "0.png", np.where(OBJECT, 255, 0))
    np.testing.assert_array_equal(read_mask(path).numpy(), OBJECT)
    grey = np.where(OBJECT, 2, 0).astype(np.uint8)
    grey[:8] = 255  # beside numbers it is void, in grey too
    np.testing.assert_array_equal(read_mask(save(tmp_path / "g.png", grey)).numpy(), OBJECT)


def test_soft_edges_are_cut_in_the_middle(tmp_path: Path) -> None:
    soft = np.clip(255 * (20.5 - np.hypot(*DISC)) / 4, 0, 255).astype(np.uint8)
    path = save(tmp_path / "soft.png", soft)
    np.testing.assert_array_equal(read_mask(path).numpy(), soft >= 128)
    np.testing.assert_array_equal(read_mask(soft / np.float32(255)).numpy(), soft / 255 >= 0.5)


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.where(OBJECT, 85 * (1 + np.indices(OBJECT.shape)[1] % 3), 0), "soft edges or objects"),
        (np.random.default_rng(0).integers(0, 255, (64, 80, 3)), "got a picture of more than 256"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, pixels: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=rf"mask\.png: .*{sentence}"):
        read_mask(save(tmp_path / "mask.png", pixels.astype(np.uint8)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.full((2, 3, 3), np.nan), "got NaN or infinity"),
        (np.full((2, 3, 3), -2.0), r"probabilities, not logits\), got -2"),
        (np.full((2, 3, 3), -1), "masks expected numbers from 0, got -1"),
    ],
)
def test_arrays_that_are_no_masks(values: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_masks(values, [0])


def test_masks_are_turned_as_their_pictures_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "mask.png", np.where(OBJECT, 255, 0).astype(np.uint8), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path))) > 0
    assert expected.shape == (80, 64)
    np.testing.assert_array_equal(read_mask(path).numpy(), expected)


def test_masks_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(1, 12):
        save(tmp_path / f"{number}.png", np.full((2, 2), number == 9, bool))
    (tmp_path / "._1.png").touch()
    assert read_masks(tmp_path, range(11)).any(dim=(1, 2)).nonzero().item() == 8


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float64, ">i4"])
def test_planes_of_a_file(tmp_path: Path, order: str, dtype: type) -> None:
    volume = np.random.default_rng(0).random((7, 3, 4)) > 0.5
    array = np.asarray(volume.astype(dtype), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    np.savez_compressed(tmp_path / "b.npz", target_masks=array, other=np.zeros(3))
    for name in ("a.npy", "a.npz", "b.npz"):
        got = read_masks(tmp_path / name, [1, 4, 4])
        np.testing.assert_array_equal(got.numpy(), volume[[1, 4, 4]])


def test_a_broken_archive_is_one_sentence(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "good.npz", np.random.default_rng(0).random((4, 9, 9)))
    content = (tmp_path / "good.npz").read_bytes()
    path = tmp_path / "masks.npz"
    refused = 0
    for cut in range(0, len(content), 37):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"masks\.npz"):
            read_masks(path, [0])
    for position in range(0, len(content), 7):
        broken = bytearray(content)
        broken[position] ^= 0x5A
        path.write_bytes(broken)
        try:
            read_masks(path, [3])
        except InputError:
            refused += 1
    assert refused > 100


MEASURE = """
import resource, sys
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.masks import read_masks
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(read_masks(sys.argv[1], [0, 2]).sum().item())
except InputError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("shape", "expected"), [((300, 2000, 3000), "0"), ((3, 60000, 60000), "take 7.2 GB, at most")]
)
def test_a_small_file_does_not_fill_the_memory(
    tmp_path: Path, shape: tuple[int, ...], expected: str
) -> None:
    """Arrays of 1.8 and 10.8 GB."""
    path = tmp_path / "masks.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("target_masks.npy", "w", force_zip64=True) as file,
    ):
        header = {"shape": shape, "fortran_order": False, "descr": "|u1"}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(3 if shape[1] < 60000 else 0):  # the third plane is the last one wanted
            file.write(bytes(shape[1] * shape[2]))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    assert expected in done.stdout
    assert int(done.stderr) < 100  # MB, beside what was there before


def test_all_frames_of_a_file(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    np.savez_compressed(tmp_path / "masks.npz", first=masks, target_masks=~masks)
    np.save(tmp_path / "masks.npy", masks)
    for found in (
        read_masks(masks, None),
        read_masks(tmp_path / "masks.npy", None),
        read_masks(tmp_path / "masks.npz", None, "first"),
    ):
        assert found.numpy().tolist() == masks.tolist()
    np.save(tmp_path / "empty.npy", masks[:0])
    with pytest.raises(InputError, match="masks of at least 1 frame expected, got 0"):
        read_masks(tmp_path / "empty.npy", None)
