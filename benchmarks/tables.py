"""Write the tables of README.md (and docs/*.md) from the JSON in ``results/``.

A table stands between ``<!-- benchmark:NAME -->`` and ``<!-- /benchmark -->``; whatever is between
the two is replaced. One between ``<!-- reproduced:NAME -->`` and ``<!-- /reproduced -->`` is that
of ``reproduce/results/NAME.json``. ``python benchmarks/tables.py --check`` writes nothing and fails
where a file does not say what the JSON says.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
REPRODUCED = ROOT / "reproduce/results"
MARKED_REPRODUCED = re.compile(
    r"(<!-- reproduced:([\w-]+) -->\n).*?(<!-- /reproduced -->)", re.DOTALL
)
MARKED = re.compile(r"(<!-- benchmark:([\w-]+) -->\n).*?(<!-- /benchmark -->)", re.DOTALL)


def render(result: dict[str, Any]) -> str:
    """Return a result as a Markdown table with a line on how it was measured."""
    columns = result["columns"]
    lines = ["| " + " | ".join(heading for _, heading, _ in columns) + " |"]
    lines.append("|" + "|".join(" --- " for _ in columns) + "|")
    for row in result["rows"]:
        cells = [_cell(row[key], form) for key, _, form in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{result['note']} {_measured_on(result['machine'])}", ""])


def render_reproduced(result: dict[str, Any]) -> str:
    """Return a result of `reproduce` as a Markdown table, its claims, and its notes."""
    columns, digits = result["columns"], result["digits"]
    lines = ["| | " + " | ".join(columns.values()) + " |", "|" + " --- |" * (len(columns) + 1)]
    for row in result["rows"]:
        cells = [_measured(row["cells"].get(name), digits) for name in columns]
        lines.append(f"| {row['label']} | " + " | ".join(cells) + " |")
    verdicts = {True: "Yes", False: "No", None: "Undecided"}
    claims = [
        f"- **{verdicts[claim['holds']]}:** {claim['text']} ({claim['evidence']})"
        for claim in result["claims"]
    ]
    return "\n".join([*lines, "", *claims, "", " ".join(result["notes"]), ""])


def _measured(cell: dict[str, Any] | None, digits: int) -> str:
    """A number and its interval."""
    if cell is None:
        return "–"
    value = f"{cell['value']:.{digits}f}"
    if cell["low"] is None:
        return value
    return f"{value} [{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"


def _cell(value: object, form: str) -> str:
    return "–" if value is None else form.format(value)


def _measured_on(machine: dict[str, Any]) -> str:
    versions = machine["versions"]
    rivals = [name for name in ("scikit-image", "scikit-learn") if name in versions]
    software = ", ".join(f"{name} {versions[name]}" for name in ["torch", *rivals])
    instruction_set = {"avx512": "AVX-512", "avx2": "AVX2"}.get(
        machine["instruction_set"], "baseline"
    )
    if "gpu" in machine:
        return f"Measured on one {machine['gpu']}, {software}; {machine['date']}."
    return (
        f"Measured on {machine['cpu']} ({machine['cores']} cores, {instruction_set}), {software}; "
        f"{machine['date']}."
    )


def with_tables(text: str) -> str:
    """Return a document with the tables between its markers renewed."""

    def table(match: re.Match[str]) -> str:
        result = json.loads((RESULTS / f"{match[2]}.json").read_text())
        return f"{match[1]}{render(result)}{match[3]}"

    def reproduced(match: re.Match[str]) -> str:
        result = json.loads((REPRODUCED / f"{match[2]}.json").read_text())
        return f"{match[1]}{render_reproduced(result)}{match[3]}"

    return MARKED_REPRODUCED.sub(reproduced, MARKED.sub(table, text))


def main(arguments: list[str]) -> int:
    """Renew the documents, or only compare them; return the exit status."""
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        if with_tables(text) != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in arguments:
                path.write_text(with_tables(text))
    if stale:
        print("does not match" if "--check" in arguments else "renewed", *stale)
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
