"""Run the cells of a tutorial and write below each what it printed: `run_tutorial.py PAGE ...`."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

CELL = re.compile(r"^```python\n(.*?)^```\n(?:```text\n.*?^```\n)?", re.DOTALL | re.MULTILINE)


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


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(with_outputs(page.read_text(encoding="utf-8")), encoding="utf-8")
