"""The commands of `vtcd` that the documentation shows work, in the order that a page has them.

A comment before a block, which is not seen in the rendered page, says what the test is to know:
`<!-- run before: ... -->` is a command that the page takes for done, and
`<!-- not run: REASON: WORDS | WORDS -->` names the commands that hold these words; without words,
all of the block. Folders of clips that a page names lie there; where a page leaves the number of
masks to the default, fewer are drawn.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vtcd_ops.commands.app import app

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "integrations/hf_videomae/vtcd_hf_videomae/clips"
NAMES = ["push_left", "topple"]
FOLDERS = ["clips", "videos", "my_videos"]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "integrations").glob("*/README.md")),
]
BLOCK = re.compile(r"^((?:<!-- [^\n]* -->\n)*)```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!-- (run before|not run): (.*) -->")
SHORTER = {
    "rank": ["--num-masks", "8"],
    "curves": ["--num-points", "2", "--num-random", "1"],
}


@dataclass
class Page:
    """What a page has to run, in its order, and what it does not."""

    commands: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # words of comments that no command holds


def read(text: str) -> Page:
    page = Page()
    for comments, block in BLOCK.findall(text):
        shown = [line for line in block.splitlines() if line.startswith("vtcd ")]
        left_out: list[str] = []
        for kind, what in COMMENT.findall(comments):
            if kind == "run before":
                page.commands.append(what)
                continue
            words = what.partition(": ")[2]
            for word in words.split(" | "):  # "", which all commands hold, where there are none
                found = [line for line in shown if word in line]
                left_out += found
                if not found:
                    page.unused.append(word)
        page.left_out += left_out
        page.commands += [line for line in shown if line not in left_out]
    return page


def arguments(command: str) -> list[str]:
    """The words of a command after `vtcd`, as a shell would give them."""
    given = []
    for word in shlex.split(command, comments=True)[1:]:
        given += sorted(map(str, Path().glob(word))) if "*" in word else [word]
    more = SHORTER.get(given[0], [])
    return given + (more if not set(more) & set(given) else [])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader stands: folders of clips, and a manifest with their masks."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        for clip in NAMES:
            shutil.copy(CLIPS / f"{clip}.mp4", tmp_path / name)
    with (CLIPS / "manifest.csv").open() as manifest:
        rows = [row for row in csv.DictReader(manifest) if Path(row["video"]).stem in NAMES]
    with (tmp_path / "clips.csv").open("w", newline="") as manifest:
        writer = csv.DictWriter(manifest, ["video", "query_mask"])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: CLIPS / row[name] for name in writer.fieldnames})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_work(page: Path, folder: Path) -> None:
    found = read(page.read_text())
    assert found.unused == []
    for command in found.commands:
        result = CliRunner().invoke(app, arguments(command))
        assert result.exit_code == 0, f"{command}\n{result.output[-2000:]}\n{result.exception!r}"


def test_what_is_read() -> None:
    page = read(
        "<!-- run before: vtcd a -->\n<!-- not run: a network: x/ | y -->\n"
        "```bash\npip install .\nvtcd b x/c\nvtcd d  # e\nvtcd y\n```\n"
        "<!-- not run: a GPU -->\n```bash\nvtcd f\n```\n"
        "<!-- not run: g: h -->\n```bash\nvtcd i\n```\n"
    )
    assert page == Page(
        ["vtcd a", "vtcd d  # e", "vtcd i"], ["vtcd b x/c", "vtcd y", "vtcd f"], ["h"]
    )


def test_arguments_are_the_shells(folder: Path) -> None:
    assert arguments("vtcd discover 'a b?c' clips/*.mp4 --out run  # twice") == [
        "discover", "a b?c", "clips/push_left.mp4", "clips/topple.mp4", "--out", "run",
    ]  # fmt: skip
    assert arguments("vtcd rank RUN") == ["rank", "RUN", "--num-masks", "8"]
    assert arguments("vtcd rank RUN --num-masks 4") == ["rank", "RUN", "--num-masks", "4"]


def test_most_commands_are_run() -> None:
    """A comment that leaves out what could run would be an easy way to a test that passes."""
    pages = [read(page.read_text()) for page in PAGES]
    assert sum(len(page.commands) for page in pages) > sum(len(page.left_out) for page in pages)
