"""Run the cells of a tutorial, write below each what it printed: `run_tutorial.py PAGE ...`.

The cells run in a folder of their own. Pictures that they save there, and that the page shows as
`![...](images/NAME)`, go to `images/` beside the page.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

CELL = re.compile(r"^```python\n(.*?)^```\n(?:```text\n.*?^```\n)?", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"^!\[[^\]]*\]\(images/([^)]+)\)", re.MULTILINE)


def with_outputs(text: str) -> str:
    """Return a page whose cells are followed by what they print.

    >>> page = with_outputs("```python\\nx = 6\\n```\\n\\n```python\\nprint(7 * x)\\n```\\n")
    >>> page.endswith("```text\\n42\\n```\\n"), with_outputs(page) == page
    (True, True)
    """
    namespace: dict[str, object] = {"__name__": "__main__"}

    def run(cell: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(cell[1], "cell", "exec"), namespace)
        output = printed.getvalue()
        return f"```python\n{cell[1]}```\n" + (f"```text\n{output}```\n" if output else "")

    return CELL.sub(run, text)


def renew(page: Path) -> None:
    """Run a page, and write its outputs into it and its pictures beside it."""
    images = page.parent / "images"
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            text = with_outputs(page.read_text(encoding="utf-8")).replace(f"{folder}/", "")
        finally:
            os.chdir(before)
        for name in PICTURE.findall(text):
            images.mkdir(exist_ok=True)
            shutil.copyfile(Path(folder) / name, images / name)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        renew(Path(name).resolve())
