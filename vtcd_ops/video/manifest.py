"""Manifests: lists of samples as CSV or JSON lines."""

from __future__ import annotations

import csv
import difflib
import io
import json
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError, warn
from vtcd_ops.common.untrusted import expect_regular_file
from vtcd_ops.video.sample import FIELDS, Sample

MANIFEST_SUFFIXES = (".csv", ".jsonl")

_PATHS = ("video", "query_mask", "target_masks")


def read_manifest(path: str | Path) -> list[Sample]:
    """Return the samples of a manifest: CSV with a header line, or one JSON object a line.

    >>> import pathlib, tempfile
    >>> manifest = pathlib.Path(tempfile.mkdtemp()) / "videos.csv"
    >>> _ = manifest.write_text("video,label\\na.mp4,running\\n")
    >>> [sample] = read_manifest(manifest)
    >>> sample.label, pathlib.Path(sample.video).name
    ('running', 'a.mp4')

    Args:
        path: the manifest. Its columns are the fields of :class:`Sample`, ``video`` is required;
            others are left out with a warning. Relative paths start at the manifest's folder.

    Raises:
        InputError: it cannot be read, is empty, or lacks the column ``video``.
    """
    path = Path(path)
    try:
        expect_regular_file(path)
        text = path.read_text(encoding="utf-8-sig")  # Excel begins a file with a byte order mark
        rows = _json_rows(text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text)
    except FileNotFoundError:
        raise InputError(f"manifest {path} does not exist") from None
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise InputError(f"manifest {path} cannot be read: {error}") from error
    if not rows:
        raise InputError(f"manifest {path} lists no video")
    _check_columns(path, rows)
    return [_sample_of_row(path, number, row) for number, row in enumerate(rows, start=1)]


def _json_rows(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _csv_rows(path: Path, text: str) -> list[dict[str, Any]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of some languages write semicolons
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    rows = []
    for number, row in enumerate(reader, start=1):
        if None in row:
            raise InputError(
                f"manifest {path}, row {number}: more cells than the {len(names)} columns; "
                f"put text that holds {delimiter!r} in quotes"
            )
        rows.append(row)
    return rows


def _check_columns(path: Path, rows: list[Any]) -> None:
    """Refuse what looks like a slip of the pen, say of other columns that they are left out."""
    given = {str(key): None for row in rows if isinstance(row, dict) for key in row}
    unknown = [key for key in given if key not in FIELDS]
    for key in unknown:
        meant = difflib.get_close_matches(key.lower(), set(FIELDS) - set(given), n=1, cutoff=0.75)
        if meant:
            raise InputError(
                f"manifest {path}: expected the columns {', '.join(FIELDS)}, got {key}; rename it "
                f"{meant[0]}, or otherwise if it is something else"
            )
    if unknown and "video" in given:
        warn(f"manifest {path}: left out the columns {', '.join(unknown)}, which have no meaning")
    if given and "video" not in given:
        raise InputError(
            f"manifest {path}, row 1: the column video is missing or empty (its columns: "
            f"{', '.join(given)})"
        )


def _sample_of_row(path: Path, number: int, row: Any) -> Sample:
    if not isinstance(row, dict):
        raise InputError(f"manifest {path}, row {number}: expected a JSON object, got {row!r:.80}")
    values = {key: row[key] for key in FIELDS if row.get(key) not in (None, "")}
    # The manifest of a run over arrays knows their names: null, where a forgotten cell is empty
    was_array = "video" in row and row["video"] is None and "name" in values
    if "video" not in values and not was_array:
        raise InputError(f"manifest {path}, row {number}: the column video is missing or empty")
    for key in _PATHS:
        if key in values:
            if not isinstance(values[key], str):
                raise InputError(
                    f"manifest {path}, row {number}: {key} expected a path, got {values[key]!r:.80}"
                )
            values[key] = str(path.parent / values[key])
    try:
        return Sample(**{"video": None, **values})
    except InputError as error:
        raise InputError(f"manifest {path}, row {number}: {error}") from None
