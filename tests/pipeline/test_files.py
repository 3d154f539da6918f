"""Files that appear complete or not at all, and claims that end with their process."""

from __future__ import annotations

from pathlib import Path

import forked
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage import files
from vtcd_ops.storage.codec import pack_frames, pack_labels, unpack_frames, unpack_labels
from vtcd_ops.storage.file_claims import FileClaims

SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, max_side=5)


@given(arrays.arrays(np.int64, SHAPES, elements=st.integers(-1, 70_000)))
def test_labels_come_back(volume: np.ndarray) -> None:
    blob, dtype = pack_labels(volume)
    np.testing.assert_array_equal(unpack_labels(blob, volume.shape, dtype), volume)


@pytest.mark.parametrize(("largest", "dtype"), [(254, "uint8"), (255, "uint16"), (65535, "uint32")])
def test_labels_take_the_smallest_type(largest: int, dtype: str) -> None:
    volume = np.array([[[-1, largest]]])
    blob, got = pack_labels(volume)
    assert got == dtype
    np.testing.assert_array_equal(unpack_labels(blob, (1, 1, 2), got), volume)


@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3, st.just(3))))
def test_frames_come_back(frames: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack_frames(pack_frames(frames), frames.shape), frames)


def test_a_stream_of_another_length_is_refused() -> None:
    blob, dtype = pack_labels(np.zeros((4, 8, 8), dtype=np.int32))
    for shape in ((4, 8, 9), (4, 8, 7)):
        with pytest.raises(InputError, match="expected"):
            unpack_labels(blob, shape, dtype)
    with pytest.raises(InputError, match="damaged"):
        unpack_labels(b"no stream", (1, 1, 1), dtype)


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(InputError, match=f"{path} cannot be written: No space left"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_folder_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path, tmp_path / "videos", tmp_path / "videos/00000", tmp_path / "concepts"]
    for folder in folders[1:]:
        folder.mkdir()
        (folder / "file").touch()
    flushed: list[int] = []
    monkeypatch.setattr(files.os, "fsync", lambda fd: flushed.append(files.os.fstat(fd).st_ino))
    files.flush_folders(tmp_path)
    assert sorted(flushed) == sorted(folder.stat().st_ino for folder in folders)


def test_only_the_first_writer_counts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.write_atomic(path, b"first", replace=False)
    assert not files.write_atomic(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_is_being_written_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what a killed writer left behind is; a living one holds a lock on its file."""
    left = tmp_path / ".tmp-file-0123456789abcdef"
    mine = tmp_path / ".tmp-notes"
    left.touch()
    mine.touch()
    monkeypatch.setattr(files.os, "fsync", lambda _: files.remove_temporaries(tmp_path))
    assert files.write_atomic(tmp_path / "file", b"content")
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "file"]


def test_a_write_outlives_a_machine_that_knows_nothing_of_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where machines do not share locks, one may remove what another is writing."""
    removed: list[Path] = []

    def remove(_: int) -> None:
        if not removed:
            removed.extend(tmp_path.glob(".tmp-*"))
            removed[0].unlink()

    monkeypatch.setattr(files.os, "fsync", remove)
    assert files.write_atomic(tmp_path / "file", b"content")
    assert len(removed) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_same_content_same_bytes(tmp_path: Path) -> None:
    """Several metadata entries of safetensors would come in random order."""
    tensors = {name: np.arange(5.0) for name in ("b", "a", "c")}
    files.write_tensors(tmp_path / "1", tensors, {"x": 1, "y": 2})
    files.write_tensors(tmp_path / "2", dict(reversed(tensors.items())), {"y": 2, "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys, time, pathlib; from vtcd_ops.storage.file_claims import FileClaims\n"
        "with FileClaims(pathlib.Path(sys.argv[1])).claim(3) as mine:\n"
        "    print(mine, flush=True); time.sleep(600)"
    )
    holder, said = forked.start_printing(program, path)
    with said:
        assert said.readline() == "True\n"
    claims = FileClaims(path)
    with claims.claim(3) as mine, claims.claim(4) as other:
        assert (mine, other) == (False, True)
    holder.kill()
    holder.join()
    with claims.claim(3) as mine:
        assert mine
    claims.close()
