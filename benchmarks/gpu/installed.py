"""Let packages of a checkout be found by name without installing them.

`importlib.metadata` finds a version and entry points in a folder ``<name>-<version>.dist-info`` on
the path. These are made from the pyproject.toml files.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings


def write_metadata(project: Path, folder: Path) -> None:
    """Write the metadata of a project, a folder that has a pyproject.toml, into a folder."""
    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    name, number = settings["name"].replace("-", "_"), settings["version"]
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {settings['name']}\nVersion: {number}\n"
    )
    lines = []
    for group, points in settings.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))


def missing_dependencies(project: Path) -> list[str]:
    """Return what a project needs at run time, as pip would be asked for it, and is not there."""
    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    return [need for need in settings["dependencies"] if not _is_there(need)]


def _is_there(need: str) -> bool:
    name = need.split(">")[0].split("=")[0].strip()
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
