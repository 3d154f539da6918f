"""One self-contained HTML file that shows the concepts of a run, playing.

    run -> contents (numbers, best clips, previews, supports) -> page -> report.html

`quantities` and `clips` say what is measured and which clips are shown, `previews` and `supports`
make them small, `contents` gathers everything as plain data, `page` writes it into `templates/`
with the styles and scripts of `static/`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vtcd_ops._files import write_atomic
from vtcd_ops.errors import InputError
from vtcd_ops.report.contents import Limits

if TYPE_CHECKING:
    from vtcd_ops.store import Run

__all__ = ["report"]


def report(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    max_clips: int = 3,
    max_videos: int = 40,
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
        run: A run of `discover`, or the directory it was written to. If it has a sanity control
            (``discover(..., sanity=True)``), the report shows it beside the model.
        out: File to write; by default ``report.html`` in the run's directory.
        max_clips: Clips shown of every concept, its best ones, each from another video.
        max_videos: Videos in the page. With ``max_clips`` it bounds the size of the file.
        progress: Show progress bars.

    Returns:
        The file written. The same run and arguments give the same bytes.

    Raises:
        InputError: If ``run`` is no finished run, or a limit is less than one.
        ImportError: If Jinja2 or Pillow is missing.
    """
    for name, value in (("max_clips", max_clips), ("max_videos", max_videos)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"report: {name} expected a whole number above 0, got {value!r}")
    _require_extra()
    from vtcd_ops.report.page import render_page

    opened = _open(run) if isinstance(run, (str, os.PathLike)) else run
    target = Path(out) if out is not None else Path(opened.path) / "report.html"
    page = render_page(opened, Limits(clips=max_clips, videos=max_videos), progress)
    write_atomic(target, page.encode("utf-8", errors="replace"))
    return target


def _open(path: str | os.PathLike[str]) -> Run:
    from vtcd_ops.store import load

    return load(Path(path))


def _require_extra() -> None:
    try:
        import jinja2  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"report: needs {error.name}, which is not installed: pip install 'vtcd-ops[report]'"
        ) from error
