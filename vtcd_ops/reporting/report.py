"""Writing the report of a run, or of what several share, to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_count
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.reporting.concept_names import read_names
from vtcd_ops.reporting.contents import Limits
from vtcd_ops.reporting.naming import Namer, suggest_names
from vtcd_ops.reporting.page import render_page
from vtcd_ops.reporting.shared_page import render_shared
from vtcd_ops.rosetta_concepts.store import SUMMARY_FILE, Rosetta, load_rosetta
from vtcd_ops.storage.files import write_atomic

__all__ = ["report"]


def report(
    run: Run | Rosetta | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    max_clips: int = 3,
    max_videos: int = 40,
    max_cards: int = 40,
    names: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    namer: Namer | str | os.PathLike[str] | None = None,
    words: Sequence[str] | str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Path:
    """Write the concepts of a run as one HTML file that plays offline.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = vtcd_ops.discover(example_adapter(), videos, out=folder, progress=False)
    ...     vtcd_ops.report(run, progress=False).name
    'report.html'

    Args:
        run: A run of `discover`, the result of `rosetta`, or the directory of either. If a run has
            a sanity control (``discover(..., sanity=True)``), the report shows it beside the model.
        out: File to write; by default ``report.html`` in the directory of the run or result.
        max_clips: Clips shown of every concept or tuple, its best ones, each from another video.
        max_videos: Videos in the page. With ``max_clips`` it bounds the size of the file.
        max_cards: Of a result of `rosetta`, the tuples shown of every number of models.
        names: Names of concepts by address, such as {"keys-L11-H2-C0": "the subject"}, or the JSON
            file that the page's export gives; the page's readers can change them.
        namer: A model that suggests a name for every concept without one, see
            :func:`vtcd_ops.suggest_names`: a video-text model such as internvideo:mini, or a folder
            with a CLIP of transformers.
        words: The texts that it chooses from, or a file with one a line.
        progress: Show progress bars.

    Returns:
        The file written. The same run and arguments give the same bytes.

    Raises:
        InputError: If ``run`` is no finished run, or a limit is less than one.
        ImportError: If Jinja2 or Pillow is missing.
    """
    for name, value in (
        ("max_clips", max_clips), ("max_videos", max_videos), ("max_cards", max_cards),
    ):  # fmt: skip
        expect_count("report", name, value)
    if (namer is None) != (words is None):
        raise InputError("report: namer and words expected together, got one of them")
    _require_extra()
    opened = _open(Path(run)) if isinstance(run, (str, os.PathLike)) else run
    if isinstance(opened, Run):
        opened.expect_kept("report")
    if out is None and opened.path is None:
        raise InputError("report: out expected a file, as the result was not saved, got None")
    target = Path(out) if out is not None else Path(str(opened.path)) / "report.html"
    if isinstance(opened, Rosetta):
        page = render_shared(
            opened, max_cards=max_cards, max_clips=max_clips, max_videos=max_videos,
            progress=progress,
        )  # fmt: skip
    else:
        limits = Limits(clips=max_clips, videos=max_videos)
        known = read_names(names)
        if namer is not None:
            known = suggest_names(opened, namer, words, progress=progress) | known
        page = render_page(opened, limits, known, progress)
    write_atomic(target, page.encode("utf-8", errors="replace"))
    return target


def _open(path: Path) -> Run | Rosetta:
    return load_rosetta(path) if (path / SUMMARY_FILE).is_file() else load(path)


def _require_extra() -> None:
    try:
        import jinja2  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"report: needs {error.name}, which is not installed: pip install 'vtcd-ops[report]'"
        ) from error
