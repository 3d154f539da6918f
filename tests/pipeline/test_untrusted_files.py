"""Files from anybody: none runs code, fills the memory, never ends, or leads out of its folder."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.untrusted import refused
from pipeline.videos import moving_square, write_image
from vtcd_internvideo.tokenizer import read_merges

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.adapters.checkpoints import read_saved
from vtcd_ops.bridges import from_pretrained, save_pretrained
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.reporting.concept_names import read_names
from vtcd_ops.segmentation.labelled_videos import find_labelled_videos
from vtcd_ops.storage.codec import unpack_frames, unpack_labels
from vtcd_ops.storage.documents import digest_json, read_plain_json
from vtcd_ops.video.masks import read_mask, read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import as_samples, read_manifest
from vtcd_ops.vos_metrics import evaluate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    videos = [moving_square(seed=seed) for seed in range(2)]
    out = tmp_path_factory.mktemp("run") / "run"
    return vtcd_ops.discover(example_adapter(), videos, out=out, layers=[2], progress=False)


def zeros(megabytes: int) -> bytes:
    """A deflated stream of zeros, of a thousandth of the size."""
    stream, one = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1 << 20)
    block = stream.compress(one) + stream.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def zlib_of_zeros(megabytes: int = 400) -> bytes:
    checksum = 1
    for _ in range(megabytes):
        checksum = zlib.adler32(bytes(1 << 20), checksum)
    return b"\x78\xda" + zeros(megabytes) + checksum.to_bytes(4, "big")


# Bombs: each writes a file that unpacks to gigabytes, and returns what reads it.
def npz_of_zeros(folder: Path) -> Callable[[], object]:
    header = {"descr": "|u1", "fortran_order": False, "shape": (4096, 1024, 1024)}
    with (
        zipfile.ZipFile(folder / "m.npz", "w") as archive,
        archive.open("target_masks.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
    return lambda: read_masks(folder / "m.npz", None)


def npz_in_the_other_order(folder: Path) -> Callable[[], object]:
    header = {"descr": "|u1", "fortran_order": True, "shape": (1 << 20, 1024, 1024)}
    with (
        zipfile.ZipFile(folder / "m.npz", "w") as archive,
        archive.open("target_masks.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
    return lambda: read_masks(folder / "m.npz", [0])


def header_of_npy(folder: Path) -> Callable[[], object]:
    with (
        zipfile.ZipFile(folder / "m.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("target_masks.npy", "w") as file,
    ):
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30))
        for _ in range(250):
            file.write(bytes(1 << 20))
    return lambda: read_masks(folder / "m.npz", [0])


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def _png(folder: Path, size: int, more: bytes = b"") -> Path:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
    pixels = zlib.compress(bytes(min(size * (size + 1), 1 << 20)))
    content = header + more + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    path = folder / "0.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def image_of_a_mask(folder: Path) -> Callable[[], object]:
    path = _png(folder, 60_000)
    return lambda: read_mask(path)


def image_of_labels(folder: Path) -> Callable[[], object]:
    for name in ("ours", "theirs"):
        for frame in range(3):
            (folder / name / "a").mkdir(parents=True, exist_ok=True)
            _png(folder, 60_000).rename(folder / name / f"a/{frame}.png")
    return lambda: evaluate(folder / "ours", folder / "theirs", progress=False)


def frames_of_a_video(folder: Path) -> Callable[[], object]:
    _png(folder, 60_000)
    return lambda: vtcd_ops.discover(
        example_adapter(), str(folder), num_frames=1, max_memory="100MB", out=folder / "run"
    )


def profile_in_an_image(folder: Path) -> Callable[[], object]:
    profile = b"k\0\0" + zlib_of_zeros()
    path = _png(folder, 8, _chunk(b"iCCP", profile))
    return lambda: next(open_video(path.parent).frames([0]))


def stored_labels(folder: Path) -> Callable[[], object]:
    blob = zlib_of_zeros()
    return lambda: unpack_labels(blob, (4, 8, 8), "uint8")


def stored_frames(folder: Path) -> Callable[[], object]:
    blob = np.frombuffer(zlib_of_zeros(), np.uint8)
    return lambda: unpack_frames(blob, (4, 8, 8, 3))


def words_of_a_tokenizer(folder: Path) -> Callable[[], object]:
    head = gzip.compress(b"")[:10]
    (folder / "merges.txt.gz").write_bytes(head + zeros(400) + bytes(8))
    return lambda: read_merges(folder / "merges.txt.gz")


def deep_json(folder: Path) -> Callable[[], object]:
    (folder / "names.json").write_text("[" * 100_000)
    return lambda: read_names(folder / "names.json")


def endless_number(folder: Path) -> Callable[[], object]:
    (folder / "names.json").write_text('{"a": {"name": "a", "by": "b", "score": 1e999}}')
    return lambda: read_names(folder / "names.json")


def huge_json(folder: Path) -> Callable[[], object]:
    with (folder / "run.json").open("wb") as file:
        file.truncate(1 << 40)
    return lambda: read_plain_json(folder / "run.json")


def huge_weights(folder: Path) -> Callable[[], object]:
    (folder / "w.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    return lambda: read_saved(folder / "w.safetensors")


BOMBS = [npz_of_zeros, npz_in_the_other_order, header_of_npy, image_of_a_mask, image_of_labels,
         frames_of_a_video, profile_in_an_image, stored_labels, stored_frames,
         words_of_a_tokenizer, deep_json, endless_number, huge_json, huge_weights]  # fmt: skip


@pytest.mark.parametrize("write", BOMBS, ids=lambda write: write.__name__)
def test_bombs(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    refused(write(tmp_path))


def test_an_image_that_says_that_it_holds_gigabytes(tmp_path: Path) -> None:
    """Pillow asks for what a chunk says, which a process of bounded memory does not get."""
    path = _png(tmp_path, 8)
    whole = path.read_bytes()
    place = whole.index(b"IDAT") - 4
    path.write_bytes(whole[:place] + b"\x7f\xff\xff\xff" + whole[place + 4 :])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 30), limits[1]))
    try:
        refused(lambda: read_mask(path), "0.png cannot be read")
        refused(lambda: next(open_video(tmp_path).frames([0])), "0.png cannot be read as an image")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


# What is no file: a pipe that nobody writes to, a device without end.
def _readers(path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "video", lambda: open_video(path)
    yield "samples", lambda: open_video(next(as_samples(str(path))).video)
    yield "mask", lambda: read_mask(path)
    yield "masks", lambda: read_masks(path, None)
    yield "json", lambda: read_plain_json(path)
    yield "names", lambda: read_names(path)
    yield "manifest", lambda: read_manifest(path)
    yield "weights", lambda: read_saved(path)


@pytest.mark.parametrize("suffix", ["mp4", "npy", "png", "csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    for _, read in _readers(path):
        refused(read)


@pytest.mark.parametrize("name", ["settings.json", "run.json"])
def test_runs_whose_documents_are_no_files(run: Run, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    for place in ("/dev/zero", "/dev/stdin"):
        (folder / name).unlink()
        (folder / name).symlink_to(place)
        refused(lambda: load(folder))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(lambda: load(folder))


@pytest.mark.parametrize(
    "place", ["../../etc/hostname", "/etc/hostname", "videos/../../../etc/hostname", "a\0b", ""]
)
def test_runs_list_no_file_outside(run: Run, tmp_path: Path, place: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    document = json.loads((folder / "run.json").read_text())
    document.pop("sha256")
    document["files"][place] = [0, "0" * 64]
    sealed = {**document, "sha256": digest_json(document)}
    (folder / "run.json").write_text(json.dumps(sealed))
    for read in (load, from_pretrained):
        refused(
            lambda read=read: read(folder),
            match="outside of itself|files expected those of 2 videos",
        )


def test_a_downloaded_run_publishes_nothing_else(run: Run, tmp_path: Path) -> None:
    """Links of a run that came from anywhere; those of the Hub's cache lead to its own blobs."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    for name, target in (("more", secret), ("key.txt", secret / "key")):
        folder = tmp_path / f"run-{name}"
        shutil.copytree(run.path, folder)
        (folder / name).symlink_to(target)
        refused(lambda folder=folder: save_pretrained(folder, tmp_path / "public"),
                match="symbolic link")  # fmt: skip
        assert not (tmp_path / "public").exists()
    snapshot = tmp_path / "models--a--b/snapshots/0123"
    shutil.copytree(run.path, snapshot)
    (snapshot.parents[1] / "blobs").mkdir()
    for file in [path for path in snapshot.rglob("*") if path.is_file()]:
        blob = snapshot.parents[1] / "blobs" / file.name
        blob = blob.with_name(f"{len(list(blob.parent.iterdir()))}-{blob.name}")
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, file.parent))
    assert load(save_pretrained(snapshot, tmp_path / "public")).layers == run.layers


def test_nothing_is_written_through_links(run: Run, tmp_path: Path) -> None:
    """Going on with a run whose folder was prepared by somebody."""
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    shutil.copytree(run.path, folder)
    (folder / "importance").symlink_to(outside)
    samples = [vtcd_ops.Sample(moving_square(seed=seed), label=1) for seed in range(2)]
    refused(lambda: vtcd_ops.rank(folder, example_adapter(), samples, "logit", num_masks=64,
                                  progress=False), match="symbolic link")  # fmt: skip
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["../../outside", "/tmp", "..", "a\0b"])
def test_lists_of_sequences_name_those_of_the_folder(tmp_path: Path, name: str) -> None:
    for place in ("JPEGImages/480p/a", "Annotations/480p/a"):
        (tmp_path / place).mkdir(parents=True)
        write_image(tmp_path / place / "0.png", np.zeros((8, 8, 3), np.uint8))
    lists = tmp_path / "ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text(f"a\n{name}\n")
    refused(lambda: find_labelled_videos(tmp_path, "val"), match="lacks 1 of 2 sequences")
    (lists / "val.txt").write_bytes(b"a\n\xff\xfe\n")
    refused(lambda: find_labelled_videos(tmp_path, "val"), match="cannot be read")
