"""Every file of every kind damaged in many ways: refused in a sentence, or harmless, or not."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from inject import attempt
from tasks import TASKS, Places, other_places, rank_again, segment_again

import vtcd_ops
from vtcd_ops.importance.curves import read_curves
from vtcd_ops.rosetta_concepts.store import load_rosetta
from vtcd_ops.storage.documents import digest_json

_SECONDS = 30  # after which a reader hangs

_LEAVING = ("../../outside", "/etc/hostname", "a/../../../outside")
_ABSURD = (2**60, -1, 1e300, None, "x" * 4000, [], {})


@dataclass(frozen=True)
class Area:
    """A folder of results, and what its readers make of it.

    Attributes:
        name: of the folder.
        read: reads everything that is in it, and returns a hash of that.
    """

    name: str
    read: Callable[[Path], str]


def _hash(*values: Any) -> str:
    digest = hashlib.sha256()
    for value in values:
        plain = isinstance(value, np.ndarray)
        digest.update(np.ascontiguousarray(value).tobytes() if plain else repr(value).encode())
    return digest.hexdigest()


def read_run(folder: Path) -> str:
    """Read all of a run, its control, rankings and curves."""
    return _read_run(folder / "run0")


def _read_run(path: Path) -> str:
    run = vtcd_ops.load(path)
    found: list[Any] = [run.settings, run.model, run.videos]
    for layer in run.layers:
        for head in run.heads:
            concepts = run.concepts(layer, head)
            found += [concepts.centers, concepts.concept, concepts.encodings, concepts.silhouette]
            found += [run.support(record.index, layer, head) for record in run.videos]
    for record in run.videos:
        found += [run.preview(record.index), *(run.labels(record.index, n) for n in run.layers)]
    for name in run.importances():
        ranking = run.importance(name)
        found += [ranking.units, ranking.value, ranking.stderr, ranking.settings]
    curves = read_curves(run) if (path / "curves").is_dir() else None
    if curves is not None:
        found += [sorted((*at, values.tobytes()) for at, values in curves.scores.items())]
    if (path / "sanity").is_dir():
        found.append(_read_run(path / "sanity"))
    return _hash(*found)


def read_shared(folder: Path) -> str:
    """Read a result of `rosetta`, and the runs that it compared."""
    found = load_rosetta(folder / "shared")
    found.open_runs()
    return _hash(found.tuples, found.scores, found.per_video, *found.units, found.summary())


def read_pruned(folder: Path) -> str:
    """Read a pruned model."""
    adapter = vtcd_ops.load_model(folder / "pruned")
    state = adapter.model.state_dict()
    return _hash(repr(adapter), *(value.numpy() for value in state.values()))


def read_masks(folder: Path) -> str:
    """Score the masks of a data set, whose files are looked at again."""
    segment_again(folder)
    return _hash(*(path.read_bytes() for path in sorted((folder / "masks").rglob("*.png"))))


AREAS = [
    Area("run0", read_run),
    Area("shared", read_shared),
    Area("pruned", read_pruned),
    Area("masks", read_masks),
]

Damage = tuple[str, bytes]  # what was done, and what the file holds then


def damages(content: bytes, suffix: str, flips: int, draw: random.Random) -> Iterator[Damage]:
    """Yield a file's content cut, flipped and with headers of other lengths."""
    yield "emptied", b""
    for length in {1, 7, 8, 9, len(content) // 2, len(content) - 1} - {0, len(content)}:
        yield "cut", content[:length]
    for _ in range(10):
        yield "cut", content[: draw.randrange(len(content))]
    for _ in range(flips):
        place = draw.randrange(len(content))
        flipped = content[place] ^ 1 << draw.randrange(8)
        yield "flipped", content[:place] + bytes([flipped]) + content[place + 1 :]
    yield "longer", content + b"\0"
    if suffix == ".safetensors":
        for length in (2**60, 2**63, 2**64 - 1, 0, len(content)):
            yield "header", length.to_bytes(8, "little") + content[8:]
    if suffix == ".json":
        for text in (b"[" * 100_000, b'{"a":' * 100_000, b"null", b"9" * 5000, b"\xff\xfe", b"{}"):
            yield "other JSON", text
        yield from (("forged", text) for text in forged(content, draw))


def forged(content: bytes, draw: random.Random, most: int = 40) -> Iterator[bytes]:
    """Yield a sealed document with one value replaced, and sealed again."""
    document = json.loads(content)
    if not isinstance(document, dict):
        return
    document.pop("sha256", None)
    places = list(_places(document))
    draw.shuffle(places)
    for place in places[:most]:
        for value in (draw.choice(_LEAVING), draw.choice(_ABSURD)):
            other = json.loads(json.dumps(document))
            inner = other
            for key in place[:-1]:
                inner = inner[key]
            if isinstance(value, str) and isinstance(inner, dict) and draw.random() < 0.3:
                inner[value] = inner.pop(place[-1])  # the name of an entry
            else:
                inner[place[-1]] = value
            yield json.dumps({**other, "sha256": digest_json(other)}).encode()


def _places(document: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value, as keys from the outermost on."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *place) for place in _places(value))


def _alarm(*_: object) -> None:
    raise TimeoutError(f"nothing after {_SECONDS} s")


def _outcome(area: Area, work: Path, expected: str) -> tuple[str, str]:
    """Read an area; return what came of it, and the words of its error."""
    result: list[str] = []
    signal.alarm(_SECONDS)
    outcome, words = attempt(lambda: result.append(area.read(work)), work)
    signal.alarm(0)
    if outcome == "overcome":
        outcome = "harmless" if result == [expected] else "silent"
    return outcome, words


def try_damages(
    places: Places, area: Area, flips: int, share: float, draw: random.Random
) -> Iterator[tuple[str, str, str, str]]:
    """Yield file, damage, what came of it, and the words, for every file of an area."""
    names = tuple(dict.fromkeys(name for task in TASKS for name in (*task.needs, *task.makes)))
    places.put(names)
    work = places.work
    rank_again(work)
    expected = area.read(work)
    files = [path for path in sorted((work / area.name).rglob("*")) if path.is_file()]
    files = [path for path in files if path.name not in ("log.jsonl", "report.html")]
    others = other_places(places)
    signal.signal(signal.SIGALRM, _alarm)
    contents = {path: path.read_bytes() for path in files}
    for path, content in contents.items():
        swaps = [("swapped", other) for one, other in contents.items()
                 if one.suffix == path.suffix and other != content]  # fmt: skip
        twin = others / path.relative_to(work)
        if twin.is_file() and twin.read_bytes() != content:
            swaps.append(("of another run", twin.read_bytes()))
        for what, damaged in (*damages(content, path.suffix, flips, draw), *swaps):
            if damaged == content or draw.random() >= share:
                continue
            path.write_bytes(damaged)
            outcome, words = _outcome(area, work, expected)
            if what == "forged" and outcome == "silent":
                outcome = "believed"  # its seal is right: nothing tells it from a true one
            yield str(path.relative_to(work)), what, outcome, words
            path.write_bytes(content)
    if (outside := list(work.parent.glob("outside*"))) or area.read(work) != expected:
        raise RuntimeError(f"something was written or changed that must not be: {outside}")
    shutil.rmtree(others)


def counted(results: list[tuple[str, str, str, str]]) -> Counter[tuple[str, str]]:
    """Return how often each damage had each outcome."""
    return Counter((what, outcome) for _, what, outcome, _ in results)
