# SPDX-License-Identifier: MIT
"""Results as one Markdown page (for the repository) and one HTML file (to look at)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import jinja2

from reproduce.results import Result

_TEMPLATE = Path(__file__).parent / "page.html.j2"


def table_lines(result: Result) -> list[list[str]]:
    """Return the cells of a table as text, header first; a column of published numbers beside
    each measured column that has any.
    """
    published = {
        name
        for name in result.columns
        for row in result.rows
        if name in row.cells and row.cells[name].published is not None
    }
    header = [""]
    for name, heading in result.columns.items():
        header += [heading, f"{heading}, paper"] if name in published else [heading]
    lines = [header]
    for row in result.rows:
        line = [row.label]
        for name in result.columns:
            cell = row.cells.get(name)
            line.append("–" if cell is None else cell.text(result.digits))
            if name in published:
                known = None if cell is None else cell.published
                line.append("–" if known is None else f"{known:.{result.digits}f}")
        lines.append(line)
    return lines


def markdown(results: Sequence[Result], introduction: str) -> str:
    """Return all results as one Markdown document."""
    blocks = [introduction]
    for result in results:
        header, *rows = table_lines(result)
        lines = [f"## {result.title}", "", f"{result.paper}; {result.unit}.", ""]
        lines += [_markdown_row(header), "|" + " --- |" * len(header)]
        lines += [_markdown_row(row) for row in rows]
        if result.figure:
            lines += ["", f"![{result.title}]({result.figure})"]
        if result.claims:
            lines.append("")
            lines += [
                f"- **{claim.verdict}:** {claim.text} ({claim.evidence})" for claim in result.claims
            ]
        for note in result.notes:
            lines += ["", note]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def html(results: Sequence[Result], introduction: str, folder: Path) -> str:
    """Return all results as one self-contained HTML file; figures are read from `folder`."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    figures = {
        result.name: _data_uri(folder / result.figure) for result in results if result.figure
    }
    return template.render(introduction=introduction, results=results, figures=figures)


def _data_uri(path: Path) -> str:
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
