"""Run the cells of a tutorial, write below each what it printed: `run_tutorial.py PAGE ...`.

The cells run in a folder of their own. Pictures that they save there, and that the page shows as
`![...](images/NAME)`, go to `images/` beside the page. `run_tutorial.py --notebook PAGE ...` runs
nothing and writes each page as a notebook of Jupyter beside it, with the outputs that it has.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

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


def as_notebook(text: str) -> dict[str, Any]:
    """Return a page as a notebook (nbformat 4.5): words, cells and what these printed.

    >>> page = "# Title\\n```python\\nprint(6 * 7)\\n```\\n```text\\n42\\n```\\nEnd.\\n"
    >>> [(cell["cell_type"], cell["source"]) for cell in as_notebook(page)["cells"]]
    [('markdown', '# Title'), ('code', 'print(6 * 7)'), ('markdown', 'End.')]
    """
    cells: list[dict[str, Any]] = []

    def words(source: str) -> None:
        if source.strip():
            cells.append({"cell_type": "markdown", "source": source.strip()})

    end = 0
    for found in CELL.finditer(text):
        words(text[end : found.start()])
        printed = re.search(r"^```text\n(.*?)^```\n\Z", found[0], re.DOTALL | re.MULTILINE)
        outputs = (
            [{"output_type": "stream", "name": "stdout", "text": printed[1]}] if printed else []
        )
        cells.append(
            {"cell_type": "code", "source": found[1].strip("\n"), "outputs": outputs,
             "execution_count": None}
        )  # fmt: skip
        end = found.end()
    words(text[end:])
    numbered = [{"id": f"cell-{n}", "metadata": {}, **cell} for n, cell in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": numbered}


def main(arguments: list[str]) -> None:
    """Renew pages, or write them as notebooks."""
    pages = [Path(name).resolve() for name in arguments if name != "--notebook"]
    for page in pages:
        if "--notebook" not in arguments:
            renew(page)
            continue
        notebook = as_notebook(page.read_text(encoding="utf-8"))
        content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        page.with_suffix(".ipynb").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
