"""What a run leaves on disk, and reading it file by file; `run` reads it as a whole.

    RUN/settings.json                   settings, model identity, versions, build
    RUN/videos/00003/clip.safetensors   what the model saw of video 3, and its record
    RUN/videos/00003/keys-05.safetensors  tubelets of all heads of layer 5: label volumes, means
    RUN/concepts/keys-05.safetensors    concepts of all heads of layer 5, and whose tubelets
    RUN/compactness.json                of every layer, where it was chosen from the features
    RUN/manifest.jsonl                  the samples
    RUN/run.json                        size and SHA-256 of every file; written last
    RUN/sanity, RUN/evidence/copy-1, .. runs of copies with random weights
    RUN/log.jsonl                       time stamps, the only thing that differs between equal runs

A run of keep="tokens", which settings.json says, has the labels of tokens in place of label volumes
and no frames; one of keep="concepts" has no tubelets once it is finished.

No file holds code; all are checked when they are read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtcd_ops.adapters.adapter import PARTS
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.keeping import CONCEPTS, EVERYTHING, KEEPS, kept_by
from vtcd_ops.discovery.records import LayerTubelets, VideoRecord, record_from_json
from vtcd_ops.discovery.same_run import CONCEPT_SETTINGS
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.storage.documents import (
    ANYTHING,
    TEXT,
    expect_fields,
    listing,
    making_of,
    number,
    one_of,
    read_json,
    table,
    whole,
)
from vtcd_ops.storage.files import Stored
from vtcd_ops.storage.folder import SEALED, SETTINGS_FILE, identity, read_own

FORMAT = 3  # of the files that are written
READABLE = (2, 3)  # files of format 2 do not say where they belong
RUN_FILE = "run.json"
MANIFEST_FILE = "manifest.jsonl"
COMPACTNESS_FILE = "compactness.json"
SANITY_FOLDER = "sanity"
EVIDENCE_FOLDER = "evidence"

_SETTINGS_FIELDS = {
    "kind": one_of("discovery", "stored"),
    "settings": table(ANYTHING),
    "versions": table(TEXT),
    "operators": table(TEXT),
    "parts": listing(one_of(*PARTS), distinct=True),
    "layers": listing(whole(0, 10**6), distinct=True),
}
_MODEL_FIELDS = {
    "name": TEXT,
    "sha256": TEXT,
    "token_grid": listing(whole(1, 10**6), 3),
    **dict.fromkeys(
        ("num_layers", "num_heads", "head_dim", "num_frames", "tubelet_size"), whole(1, 10**6)
    ),
}
_RUN_FIELDS = {
    "num_videos": whole(1),
    "heads": listing(whole(0, 10**6), distinct=True),
    "files": SEALED,
}


def tubelet_identity(document: Mapping[str, Any]) -> str:
    """Return what records and tubelets belong to: the settings of a run that they depend on."""
    settings = {
        name: value for name, value in document["settings"].items() if name not in CONCEPT_SETTINGS
    }
    return identity({**_of_settings(document), "settings": settings})


def run_settings_identity(document: Mapping[str, Any]) -> str:
    """Return what concepts belong to: all settings of a run."""
    return identity(_of_settings(document))


def _of_settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields that stand in `settings.json`."""
    return {
        name: document[name]
        for name in ("format", "model", "versions", "operators", *_SETTINGS_FIELDS)
    }


def read_record(path: Path, index: int, belongs: str | None) -> VideoRecord:
    """Return the record of a video in a run directory; see :func:`.folder.read_own`."""
    name = clip_file(index)
    record = record_from_json(path / name, read_own(path, name, belongs).info.get("record"))
    if record.index != index:
        raise InputError(f"{path / name} belongs elsewhere: it is of video {record.index}")
    return record


def read_tubelets(
    path: Path, record: VideoRecord, part: str, layer: int, belongs: str | None
) -> tuple[LayerTubelets, Stored]:
    """Return the tubelets of a layer of a video in a run directory, and all that the file holds."""
    name = tubelet_file(record.index, part, layer)
    stored = read_own(path, name, belongs)
    if belongs is not None and stored.info.get("content") != record.content:
        raise InputError(
            f"{path / name} belongs elsewhere: it is of another video than {record.name}"
        )
    return LayerTubelets(path / name, stored.arrays, stored.info), stored


def read_compactness(
    path: Path, sites: list[tuple[str, int]], belongs: str | None
) -> dict[tuple[str, int], float]:
    """Return the compactness of every part and layer, where it was chosen from the features."""
    file = path / COMPACTNESS_FILE
    document = read_json(file)
    if belongs is not None:
        if document.get("belongs") != belongs:
            raise InputError(f"{file} belongs elsewhere: it was written with other settings")
        document = document.get("compactness", {})
    expect_fields(file, document, dict.fromkeys({part for part, _ in sites}, table(number(0))))
    layers = {str(layer): number(0) for _, layer in sites}
    for part, _ in sites:
        expect_fields(file, document[part], layers, part)
    return {(part, layer): float(document[part][str(layer)]) for part, layer in sites}


def clip_file(video: int) -> str:
    """Where a video's record and preview are, below the run."""
    return f"videos/{video:05d}/clip.safetensors"


def tubelet_file(video: int, part: str, layer: int) -> str:
    """Where the tubelets of a layer of a video are, below the run."""
    return f"videos/{video:05d}/{part}-{layer:02d}.safetensors"


def concept_file(part: str, layer: int) -> str:
    """Where the concepts of a layer are, below the run."""
    return f"concepts/{part}-{layer:02d}.safetensors"


def copy_folder(number: int) -> str:
    """Where the run of a further copy with random weights is, below the run; counted from 1."""
    return f"{EVIDENCE_FOLDER}/copy-{number}"


def read_contents(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the document that vouches for a run's files, which are those of its settings.

    Raises:
        InputError: it is damaged.
    """
    contents = read_json(path / RUN_FILE)
    expect_fields(path / RUN_FILE, contents, _RUN_FIELDS)
    _expect_files(path, {**settings, **contents})
    return contents


def _expect_files(path: Path, document: dict[str, Any]) -> None:
    """Raise where the list of files is not that of the run's videos, parts and layers."""
    listed = set(document["files"])
    outside = [name for name in listed if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise InputError(f"the run {path} lists a file outside of itself: {min(outside)}")
    num_layers = len(document["parts"]) * len(document["layers"])
    of_video = 1 if kept_by(document) == CONCEPTS else 1 + num_layers
    least = 2 + document["num_videos"] * of_video + num_layers
    if len(listed) in (least, least + 1):  # before a list as long as a wrong number says is made
        expected = file_names(
            document["num_videos"], document["parts"], document["layers"], kept_by(document)
        )
        chosen = document["settings"].get("compactness") == "auto"
        if listed == expected | ({COMPACTNESS_FILE} if chosen else set()):
            return
    raise InputError(
        f"{path / RUN_FILE} is damaged: files expected those of {document['num_videos']} videos "
        f"and {num_layers} layers, got {len(listed)} other ones"
    )


def file_names(
    num_videos: int, parts: list[str], layers: list[int], keep: str = EVERYTHING
) -> set[str]:
    """Return the names of the files of every run that keeps so much."""
    names = {SETTINGS_FILE, MANIFEST_FILE, *map(clip_file, range(num_videos))}
    for part, layer in itertools.product(parts, layers):
        names.add(concept_file(part, layer))
        if keep != CONCEPTS:
            names.update(tubelet_file(video, part, layer) for video in range(num_videos))
    return names


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings document of a run directory, if this version can read the run.

    Raises:
        InputError: it is damaged, or the run is of another version.
    """
    file = path / SETTINGS_FILE
    document = read_json(file)
    if document.get("format") not in READABLE:
        raise InputError(
            f"the run {path} has format {document.get('format')}, this version of vtcd_ops reads "
            f"formats {' and '.join(map(str, READABLE))}"
        )
    expect_fields(file, document, _SETTINGS_FIELDS)
    expect_fields(file, {"keep": EVERYTHING, **document}, {"keep": one_of(*KEEPS)})
    expect_fields(file, document.get("model"), {"name": TEXT}, "model")
    if document["kind"] == "discovery":
        expect_fields(file, document["model"], _MODEL_FIELDS, "model")
        with making_of(file):
            Settings.from_json(document["settings"])
    return document
