"""What this project needs of others, one requirement a line: `requirements.py EXTRA ...`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parents[1]


def requirements(root: Path, extras: list[str]) -> list[str]:
    """Return what the package with these extras and its integrations need, but for one another."""
    files = [root / "pyproject.toml", *sorted(root.glob("integrations/*/pyproject.toml"))]
    projects: list[dict[str, Any]] = [
        tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in files
    ]
    own = {project["name"] for project in projects}
    wanted = [line for project in projects for line in project.get("dependencies", [])]
    for extra in extras:
        wanted += projects[0]["optional-dependencies"][extra]
    return sorted({line for line in wanted if _name(line) not in own})


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


if __name__ == "__main__":
    print("\n".join(requirements(ROOT, sys.argv[1:])))
