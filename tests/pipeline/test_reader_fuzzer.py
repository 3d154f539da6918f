"""A few of the files that the readers' fuzzer makes by the hundred thousand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pipeline import reader_fuzzer
from pipeline.reader_files import READERS, Reader
from pipeline.reader_fuzzer import fuzz, fuzz_apart


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_good_files_are_read(reader: Reader, tmp_path: Path) -> None:
    for number, content in enumerate(reader.examples()):
        path = tmp_path / f"{number}.{reader.suffix}"
        path.write_bytes(content)
        reader.read(path)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_others_are_read_or_refused_in_a_sentence(reader: Reader) -> None:
    tally = fuzz(reader, seed=7, seconds=60, most=60)
    assert tally.bad == []
    assert tally.outcomes["sentence"] > 5


def _breaks(path: Path) -> None:
    raise KeyError("as no reader should")


def _hangs(path: Path) -> None:
    time.sleep(10)


def _fills(path: Path) -> None:
    bytearray(3 << 30)


@pytest.mark.parametrize(
    ("read", "outcome"), [(_breaks, "no sentence"), (_hangs, "hang"), (_fills, "memory")]
)
def test_what_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch, read: object, outcome: str) -> None:
    monkeypatch.setattr(reader_fuzzer, "SECONDS", 1)
    wrong = Reader("wrong", "bin", lambda: [b"abc"], read)  # type: ignore[arg-type]
    row = fuzz_apart(wrong, seed=0, seconds=60, most=1)
    assert row[outcome] == 1
    assert len(row["bad"]) == 1
