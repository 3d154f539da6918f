# SPDX-License-Identifier: MIT
"""Something-Something V2, for whoever has it: a manifest of some of its classes.

    python -m reproduce.something_something LABELS VIDEOS spill.csv --split train --per-class 30

LABELS is the published folder of `something-something-v2-labels.json`, `-train.json` and
`-validation.json`, VIDEOS that of the clips, `<id>.webm` each. The manifest is what every command
takes; its labels are the classes' names as models fine-tuned on the data set write them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError

#: The six classes of Table 2, in which something spills (the paper's appendix).
SPILL_CLASSES = (
    "Pouring something into something until it overflows",
    "Spilling something behind something",
    "Spilling something next to something",
    "Spilling something onto something",
    "Tipping something with something in it over, so something in it falls out",
    "Trying to pour something into something, but missing so it spills next to it",
)
SPLITS = ("train", "validation")


def write_manifest(
    labels: str | Path,
    videos: str | Path,
    out: str | Path,
    *,
    split: str = "validation",
    classes: Sequence[str] = SPILL_CLASSES,
    per_class: int = 0,
) -> int:
    """Write the manifest of the clips of some classes, and return how many they are.

    Args:
        labels: folder of the published JSON files.
        videos: folder of the clips.
        out: the manifest, CSV: video (absolute), label (the class), text (what was asked for).
        split: "train" or "validation"; the test set has no published classes.
        classes: names as in `something-something-v2-labels.json`.
        per_class: at most so many clips of each class, in the order of the file; 0: all.

    Raises:
        InputError: a file or a clip is missing, or a name is no class of the data set.
    """
    if split not in SPLITS:
        raise InputError(f"write_manifest: split expected one of {SPLITS}, got {split!r}")
    known = _read(Path(labels), "labels")
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise InputError(f"write_manifest: classes expected names of the data set, got {unknown}")
    chosen: dict[str, list[dict[str, Any]]] = {name: [] for name in classes}
    for clip in _read(Path(labels), split):
        name = clip["template"].replace("[", "").replace("]", "")
        if name in chosen and not 0 < per_class <= len(chosen[name]):
            chosen[name].append(clip)
    rows = [
        (_clip(Path(videos), clip["id"]), name, clip["label"])
        for name, clips in chosen.items()
        for clip in clips
    ]
    with Path(out).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "label", "text"), *rows])
    return len(rows)


def _read(folder: Path, what: str) -> Any:
    path = folder / f"something-something-v2-{what}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: LABELS is the published folder") from None


def _clip(folder: Path, number: str) -> Path:
    path = (folder / f"{number}.webm").resolve()
    if not path.is_file():
        raise InputError(f"{path} does not exist: VIDEOS is the folder of all clips")
    return path


def main() -> None:
    """Write a manifest of the six classes in which something spills."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("labels", "videos", "out"):
        parser.add_argument(name)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--per-class", type=int, default=0)
    given = parser.parse_args()
    count = write_manifest(
        given.labels, given.videos, given.out, split=given.split, per_class=given.per_class
    )
    print(f"{given.out}: {count} clips")


if __name__ == "__main__":
    main()
