"""The reader of Something-Something V2, on a folder in the published layout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reproduce.something_something import SPILL_CLASSES, write_manifest
from vtcd_ops import InputError
from vtcd_ops.video.manifest import read_manifest

OTHER = "Closing something"


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Three clips of every spill class and of another, as the data set writes them."""
    names = [*SPILL_CLASSES, OTHER]
    (tmp_path / "videos").mkdir()
    clips = []
    for number, name in enumerate(3 * names):
        template = re.sub(r"(?i)\bsomething\b", lambda match: f"[{match[0]}]", name)
        asked = name.replace("something", "tea")
        (tmp_path / f"videos/{number}.webm").touch()
        clips.append({"id": str(number), "label": asked, "template": template,
                      "placeholders": ["tea"]})  # fmt: skip
    files = {"labels": {name: str(i) for i, name in enumerate(names)}, "validation": clips}
    for what, content in files.items():
        path = tmp_path / f"something-something-v2-{what}.json"
        path.write_text(json.dumps(content))
    return tmp_path


def test_the_spill_classes_are_found(data_set: Path) -> None:
    out = data_set / "spill.csv"
    assert write_manifest(data_set, data_set / "videos", out) == 18
    samples = read_manifest(out)
    assert [sample.label for sample in samples] == [n for n in SPILL_CLASSES for _ in range(3)]
    numbers = [int(Path(str(sample.video)).stem) for sample in samples]
    assert numbers == [i + 7 * turn for i in range(6) for turn in range(3)]
    assert samples[3].text == "Spilling tea behind tea"


def test_so_many_of_each_class(data_set: Path) -> None:
    out = data_set / "few.csv"
    arguments = {"classes": (OTHER, SPILL_CLASSES[0]), "per_class": 2}
    assert write_manifest(data_set, data_set / "videos", out, **arguments) == 4
    assert [sample.label for sample in read_manifest(out)] == [OTHER] * 2 + [SPILL_CLASSES[0]] * 2


def test_what_is_missing_is_named(data_set: Path) -> None:
    out = data_set / "out.csv"
    with pytest.raises(InputError, match=r"-train\.json does not exist"):
        write_manifest(data_set, data_set / "videos", out, split="train")
    with pytest.raises(InputError, match="split expected one of"):
        write_manifest(data_set, data_set / "videos", out, split="test")
    with pytest.raises(InputError, match=r"classes expected names .* got \['Spilling'\]"):
        write_manifest(data_set, data_set / "videos", out, classes=["Spilling"])
    (data_set / "videos/8.webm").unlink()
    with pytest.raises(InputError, match=r"8\.webm does not exist"):
        write_manifest(data_set, data_set / "videos", out)
    assert not out.exists()
