"""Readers fed with files that nobody would write: labels, weights, manifests, masks, results.

Good files of each kind are made, and changed at random: bytes, lengths, numbers, whole pieces, the
structure of JSON, CSV, safetensors, npy and zip. What a reader does with one must be a value, or
one sentence (an `InputError`), within ten seconds and a bounded memory:
`python tests/pipeline/reader_fuzzer.py --seconds 600`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.reader_files import READERS, Reader, npy

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.documents import digest_json

SECONDS = 10  # that a reader may take
MEMORY = 2 << 30  # bytes beyond those in use, as an address space
NUMBERS = (0, 1, -1, 255, 2**31, 2**32 - 1, 2**60, 2**63, -(2**63), 10**400, 1e300, 0.5)
TEXTS = ("", "..", "../../x", "/dev/zero", "a\0b", "x" * 4000, "\ud800", "\u202e", "é", "NaN")
PIECES = (b"\0", b"\xff", b"\n", b'"', b",", b"[", b"{", b"\x93NUMPY", b"PK\x03\x04", b"\x89PNG")


@dataclass
class Tally:
    """What came of the inputs of a reader."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    bad: list[str] = field(default_factory=list)


def changed(draw: random.Random, content: bytes, suffix: str) -> bytes:
    """Return a file's content after one to four changes."""
    structured = _STRUCTURED.get(suffix)
    for _ in range(draw.randint(1, 4)):
        if structured is not None and draw.random() < 0.5:
            content = structured(draw, content)
        elif content:
            content = draw.choice(_BYTES)(draw, content)
    return content


def _flip(draw: random.Random, content: bytes) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def _insert(draw: random.Random, content: bytes) -> bytes:
    place = draw.randrange(len(content) + 1)
    piece = draw.choice((*PIECES, draw.randbytes(4))) * draw.choice((1, 1, 2, 1000))
    return content[:place] + piece + content[place:]


def _number(draw: random.Random, content: bytes) -> bytes:
    """A length or a size, of two, four or eight bytes."""
    width, order = draw.choice((2, 4, 8)), draw.choice(("little", "big"))
    place = draw.randrange(len(content))
    value = int(draw.choice(NUMBERS)) % (1 << 8 * width)
    return content[:place] + value.to_bytes(width, order) + content[place + width :]  # type: ignore


def _repeat(draw: random.Random, content: bytes) -> bytes:
    first, last = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:last] + content[first:last] * draw.choice((1, 3)) + content[last:]


_BYTES = (_flip, _flip, _cut, _insert, _number, _repeat)


def _json(draw: random.Random, content: bytes) -> bytes:
    """Another value, name or nesting; sealed again where it was."""
    try:
        lines = [json.loads(line) for line in content.split(b"\n") if line.strip()] or [{}]
        whole = None
    except (ValueError, RecursionError):
        try:
            whole = json.loads(content)
            lines = [whole]
        except (ValueError, RecursionError):
            return content
    document = lines[draw.randrange(len(lines))]
    if not isinstance(document, dict):
        return content
    sealed = document.pop("sha256", None) is not None
    inner: Any = document
    while isinstance(inner, dict | list) and inner and draw.random() < 0.6:
        key = draw.choice(list(inner)) if isinstance(inner, dict) else draw.randrange(len(inner))
        if not isinstance(inner[key], dict | list):
            break
        inner = inner[key]
    value: Any = draw.choice((*NUMBERS, *TEXTS, None, True, [], {}, [[]], {"a": {}}))
    if isinstance(inner, dict):
        key = draw.choice([*inner, "video"])
        inner[draw.choice((key, draw.choice(TEXTS)))] = value
    elif isinstance(inner, list):
        inner.append(value)
    if sealed:
        document["sha256"] = digest_json({k: v for k, v in document.items() if k != "sha256"})
    return "\n".join(json.dumps(line) for line in ([whole] if whole else lines)).encode()


def _packed(draw: random.Random, content: bytes) -> bytes:
    """Other labels, packed again."""
    try:
        inside = zlib.decompressobj().decompress(content[1:], 1 << 20)
    except zlib.error:
        return content
    return content[:1] + zlib.compress(draw.choice(_BYTES)(draw, inside or b"0"))


def _safetensors(draw: random.Random, content: bytes) -> bytes:
    """Another header: shapes, types and places of the tensors."""
    length = int.from_bytes(content[:8], "little")
    header = _json(draw, content[8 : 8 + length])
    size = draw.choice((len(header), len(header), len(header), *NUMBERS[:8]))
    return (int(size) % 2**64).to_bytes(8, "little") + header + content[8 + length :]


def _npy_header(draw: random.Random, content: bytes) -> bytes:
    """Another shape, order or type."""
    shape = tuple(draw.choice((0, 1, 3, 4, 2**31, 2**62, -1)) for _ in range(draw.randint(0, 4)))
    kind = draw.choice(("|u1", "<f8", ">i4", "|O", "<U9999", "|V0", "<c16", [("a", "<i4")]))
    fields = {"descr": kind, "fortran_order": draw.random() < 0.5, "shape": shape}
    text = (draw.choice((repr(fields), repr(fields) * 3, "__import__('os')")) + "\n").encode()
    version = draw.choice((1, 2, 3, 9))
    long = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + long + text + content[-48:]


def _zip(draw: random.Random, content: bytes) -> bytes:
    """Other members under other names."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # two of one name
        for _ in range(draw.randint(0, 3)):
            name = draw.choice(("target_masks.npy", "../x.npy", "a", "a" * 300, ".npy"))
            archive.writestr(
                name, _npy_header(draw, npy()[0]), draw.choice((zipfile.ZIP_STORED, 8, 12, 14))
            )
    return file.getvalue()


def _png_chunks(draw: random.Random, content: bytes) -> bytes:
    """Pieces left out, doubled, or of other content, with right checksums."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return content
    at = draw.randrange(len(chunks))
    kind, inside = chunks[at]
    new = draw.choice((inside[::-1], inside[: len(inside) // 2], inside * 2, draw.randbytes(13)))
    if kind == b"IHDR" and draw.random() < 0.5:
        sizes = (draw.choice((0, 1, 8, 9, 2**16, 2**31 - 1)) for _ in range(2))
        new = struct.pack(">II", *sizes) + bytes(draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
                                                 for _ in range(5))  # fmt: skip
    chunks[at : at + 1] = draw.choice(([], [(kind, inside)] * 2, [(kind, new)], [(kind, new)]))
    return content[:8] + b"".join(
        struct.pack(">I", len(inside))
        + kind
        + inside
        + struct.pack(">I", zlib.crc32(kind + inside))
        for kind, inside in chunks
    )


_STRUCTURED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "bin": _packed,
    "json": _json,
    "jsonl": _json,
    "safetensors": _safetensors,
    "npy": _npy_header,
    "npz": _zip,
    "png": _png_chunks,
}


def _alarm(*_: object) -> None:
    raise TimeoutError(f"nothing after {SECONDS} s")


def outcome_of(reader: Reader, path: Path) -> tuple[str, str]:
    """Read a file; return what came of it, and the words where that is wrong."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except InputError as error:
        text = str(error)
        return ("sentence", "") if text and "\n" not in text else ("no sentence", text)
    except MemoryError:
        return "memory", ""
    except TimeoutError as error:
        return "hang", str(error)
    except BaseException:
        return "no sentence", traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
    return "value", ""


def fuzz(reader: Reader, seed: int, seconds: float, most: int = sys.maxsize) -> Tally:
    """Feed a reader for some seconds, or with so many inputs."""
    tally, examples, end = Tally(), reader.examples(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{reader.suffix}"
        for number in _numbers(most, end):
            draw = random.Random(f"{reader.name} {seed} {number}")
            path.write_bytes(changed(draw, draw.choice(examples), reader.suffix))
            since = time.process_time()
            outcome, words = outcome_of(reader, path)
            tally.slowest = max(tally.slowest, time.process_time() - since)
            tally.outcomes[outcome] += 1
            if outcome not in ("value", "sentence"):
                tally.bad.append(f"{reader.name} {seed} {number}: {outcome} {words}")
    return tally


def _numbers(most: int, end: float) -> Iterator[int]:
    number = 0
    while number < most and time.monotonic() < end:
        yield number
        number += 1


def fuzz_apart(
    reader: Reader, seed: int, seconds: float, most: int = sys.maxsize
) -> dict[str, Any]:
    """Do so in a process of its own, whose memory is bounded; a row of the table."""
    with tempfile.NamedTemporaryFile("r") as results:
        child = os.fork()
        if not child:
            _work(reader, seed, seconds, most, results.name)
        _, status, used = os.wait4(child, 0)
        text = results.read()
    found = json.loads(text) if text else {"bad": [f"{reader.name}: status {status}"], "inputs": 0}
    return {"reader": reader.name, "crashes": int(status != 0), "peak": used.ru_maxrss >> 10,
            "value": 0, "sentence": 0, "slowest": 0.0, **found}  # fmt: skip


def _work(reader: Reader, seed: int, seconds: float, most: int, results: str) -> None:
    status = 1
    try:
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        tally = fuzz(reader, seed, seconds, most)
        row = {"inputs": tally.outcomes.total(), **tally.outcomes, "bad": tally.bad[:20],
               "slowest": round(tally.slowest, 3)}  # fmt: skip
        Path(results).write_text(json.dumps(row))
        status = 0
    finally:
        os._exit(status)


def main() -> int:
    """Fuzz every reader, print what is wrong and the counts; the status says if nothing was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", help="names; all by default")
    parser.add_argument("--out", type=Path, help="JSON file of the counts")
    arguments = parser.parse_args()
    chosen = [one for one in READERS if not arguments.readers or one.name in arguments.readers]
    rows = []
    for reader in chosen:
        row = fuzz_apart(reader, arguments.seed, arguments.seconds / len(chosen))
        for line in row["bad"]:
            print(line, flush=True)
        rows.append({**row, "bad": len(row["bad"])})
        print(rows[-1], flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["crashes"] or row["bad"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
