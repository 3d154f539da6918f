"""Names, labels and texts that want to be more than texts, wherever they are shown."""

from __future__ import annotations

import csv
import http.server
import io
import json
import logging
import shutil
import sys
import threading
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from markdown_it import MarkdownIt
from pipeline.browser import CHROMIUM, Browser
from pipeline.report_page import Page
from pipeline.seen_objects import Eye, write_seen
from pipeline.test_vos_evaluate import several, write_maps
from pipeline.untrusted import TEXTS, is_plain, strings
from pipeline.videos import moving_square

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.bridges import export_coco
from vtcd_ops.bridges.hub import concept_card
from vtcd_ops.commands import app
from vtcd_ops.common.errors import InputError, InputWarning, warn
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.reporting import report
from vtcd_ops.reporting.page import asset
from vtcd_ops.storage.claims import PATIENCE_SECONDS
from vtcd_ops.storage.file_claims import FileClaims
from vtcd_ops.vos_metrics import evaluate

needs_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: the scripts of the report were NOT tested (apt install chromium)",
)


def discovered(path: Path, texts: list[str], name: str) -> Run:
    """A run whose videos, labels, texts and model are called so."""
    adapter = example_adapter()
    adapter.name = name
    samples = [
        vtcd_ops.Sample(moving_square(seed=seed), label=text, text=text, name=text)
        for seed, text in enumerate(texts)
    ]
    return vtcd_ops.discover(adapter, samples, out=path, layers=[2], progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return discovered(
        tmp_path_factory.mktemp("run"), [*TEXTS.values()], "".join(TEXTS.values())[:9000]
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> vtcd_ops.Rosetta:
    folder = tmp_path_factory.mktemp("shared")
    kinds = ("a formula", "a script", "right to left", "lines")
    runs = [
        write_seen(folder / str(number), Eye(frames=tuple(range(number, 48, 8)),
                   tokens=(6, 6, 8), voxels_per_token=2), name=TEXTS[kind])
        for number, kind in enumerate(kinds)
    ]  # fmt: skip
    return vtcd_ops.rosetta(runs, importances=None, delta=0.02, out=folder / "out", progress=False)


def test_errors_and_warnings_are_one_plain_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in TEXTS.values():
        with pytest.raises(InputError) as error:
            vtcd_ops.load(tmp_path / text)
        with pytest.warns(InputWarning) as warned:
            warn(f"left out {text}")
        for said in (str(error.value), str(warned[0].message)):
            assert is_plain(said)
            assert len(said.splitlines()) == 1
    folder = tmp_path / "\x1b[2J"
    folder.mkdir()
    claims = FileClaims(folder / ".lock")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    claims._waiting_since = -PATIENCE_SECONDS
    with caplog.at_level(logging.WARNING, "vtcd_ops"):
        claims.wait(1)
    assert "waiting for" in caplog.messages[0]
    assert is_plain(caplog.messages[0])


def said_by(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Run the command line; return its status and all that it printed."""
    monkeypatch.setattr(sys, "argv", ["vtcd", *arguments])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # that main() replaces
    with pytest.raises(SystemExit) as ended:
        app.main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


@pytest.mark.parametrize(
    "words",
    ["show {run}", "--json show {run}", "report {run}", "compare {run} {run}", "show {shared}",
     "report {shared}", "rosetta {run} {run} --out {new} --importances none"],
)  # fmt: skip
def test_the_terminal_obeys_no_name(
    run: Run, shared: vtcd_ops.Rosetta, tmp_path: Path, words: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"run": str(run.path), "shared": str(shared.path), "new": str(tmp_path / "new")}
    status, told = said_by([word.format(**places) for word in words.split()], monkeypatch, capsys)
    assert status in (0, 2)
    assert "Traceback" not in told
    lines = told.split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("vtcd: two") for line in lines)


def pages(run: Run, shared: vtcd_ops.Rosetta, folder: Path) -> Iterator[Path]:
    names = {"keys-L2-H0-C0": TEXTS["a script"], "keys-L2-H1-C0": TEXTS["right to left"]}
    yield report(run, folder / "run.html", names=names, progress=False)
    yield report(shared, folder / "shared.html", progress=False)


def test_pages_hold_texts_alone(run: Run, shared: vtcd_ops.Rosetta, tmp_path: Path) -> None:
    clean = discovered(tmp_path / "clean", [f"v{n}" for n in range(len(TEXTS))], "clean")
    names = {"keys-L2-H0-C0": "one", "keys-L2-H1-C0": "two"}
    plain = Page(report(clean, tmp_path / "clean.html", names=names, progress=False))
    first, second = (Page(path) for path in pages(run, shared, tmp_path))
    assert [tag for tag, _ in first.elements] == [tag for tag, _ in plain.elements]
    for page in (first, second):
        assert is_plain(page.html)
        assert all(map(is_plain, strings(page.document)))
        handlers = {key for _, attributes in page.elements for key in attributes if key[:2] == "on"}
        assert handlers == set()
    named = {video["name"] for video in first.document["videos"]}
    assert TEXTS["HTML"] in named  # as it is, where nothing in it steers
    assert r"\u202egpj.live\u2066\u200f\u061c" in named


class Counted(http.server.BaseHTTPRequestHandler):
    """Answers, and counts what is asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *given: object) -> None:
        pass


REACH_OUT = """
(() => {
  document.body.append(Object.assign(new Image(), { src: "ADDRESS/image" }));
  document.body.append(Object.assign(document.createElement("iframe"), { src: "ADDRESS/frame" }));
  document.head.append(Object.assign(document.createElement("script"), { src: "ADDRESS/code" }));
  document.head.append(Object.assign(document.createElement("link"),
    { rel: "stylesheet", href: "ADDRESS/style" }));
  navigator.sendBeacon("ADDRESS/beacon", "what the page knows");
  return fetch("ADDRESS/fetch").then(() => "reached", () => "refused");
})()
"""


@needs_browser
def test_pages_load_and_run_nothing_in_a_browser(
    run: Run, shared: vtcd_ops.Rosetta, tmp_path: Path
) -> None:
    """Every view is opened; then code in the page asks a server, whom the policy keeps it from."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    browser = Browser()
    try:
        for path in pages(run, shared, tmp_path):
            browser.problems.clear()
            browser.open(path.as_uri(), 1200, 800)
            for view in ("findings", "concepts", "videos", "keys-L2-H0-C0", "method", "export"):
                browser.evaluate(f"location.hash = {view!r}")
                browser.page.wait_for_timeout(60)
            assert browser.problems == []
            loaded = [url for url in browser.requests if not url.startswith(("data:", "blob:"))]
            assert loaded == [path.as_uri()]
            assert browser.evaluate("window.hacked === undefined")
            assert browser.evaluate(REACH_OUT.replace("ADDRESS", address)) == "refused"
            browser.page.wait_for_timeout(200)
            assert "Content Security Policy" in "".join(browser.problems)
            assert Counted.asked == []
        asked = "return csvOf([['=1+1', '@a', '-2', -3, '+x', 'a\"b\\rc']])"
        table = browser.evaluate(f"(() => {{ {asset('exports.js')}; {asked} }})()")
        browser.open(f"{address}/to-be-sure", 400, 300)
        assert "/to-be-sure" in Counted.asked  # the browser could have reached it
    finally:
        browser.close()
        server.shutdown()
        server.server_close()
    [cells] = csv.reader(io.StringIO(table, newline=""))
    assert cells == ["'=1+1", "'@a", "-2", "-3", "'+x", 'a"b\rc']


def test_tables_as_csv(tmp_path: Path) -> None:
    """Folders of sequences with every name that a file system takes."""
    names = [text for text in TEXTS.values() if "/" not in text and "\0" not in text]
    names = ["plain", *(name[:200].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                        for name in names if name != TEXTS["half a letter"]), "\udcff"]  # fmt: skip
    for folder in ("ours", "theirs"):
        maps = write_maps(tmp_path / folder / "plain", several(1, 4))
        for name in names[1:]:
            shutil.copytree(maps, tmp_path / folder / name)
    scores = evaluate(tmp_path / "ours", tmp_path / "theirs", progress=False)
    scores.write_csv(tmp_path / "scores.csv")
    scores.write_csv(tmp_path / "frames.csv", per_frame=True)
    for file in ("scores.csv", "frames.csv"):
        with (tmp_path / file).open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        cells = [row["sequence"] for row in rows]
        assert {"plain", r"\x1b[2J\x1b]0;title\x07\x9b31mred"} <= set(cells)
        assert all(is_plain(cell) and not cell.startswith(("=", "+", "-", "@")) for cell in cells)
        assert len(set(cells) - {"mean"}) == len(names)


def test_drawings(run: Run, tmp_path: Path) -> None:
    """SVG that is XML and holds no element of a name's making."""
    axes = run.plot()
    axes.figure.savefig(tmp_path / "run.svg")
    axes.figure.clear()
    tags = {element.tag.rpartition("}")[2] for element in ET.parse(tmp_path / "run.svg").iter()}
    assert not tags & {"script", "img", "foreignObject"}
    page = report(run, tmp_path / "run.html", progress=False).read_text(encoding="utf-8")
    drawn = page.split("<svg")[1:]
    assert drawn
    for piece in drawn:
        ET.fromstring("<svg" + piece.partition("</svg>")[0] + "</svg>")
    table = run._repr_html_()
    assert is_plain(table)
    assert "<img" not in table


def test_cards(run: Run, tmp_path: Path) -> None:
    for text in TEXTS.values():
        vtcd_ops.card(run, "keys-L2-H0-C0", tmp_path / "card.png", clips=1, width=160, name=text)
    markdown = concept_card(run)
    assert is_plain(markdown)
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown.split("---\n", 2)[2])
    headings = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert len(headings) == 1
    inside = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in (*tokens, *inside)}
    assert not kinds & {"html_inline", "html_block", "image"}
    links = [child.attrs["href"] for child in inside if child.type == "link_open"]
    assert links == ["https://arxiv.org/abs/2401.10831"]


def test_what_is_stored_stays_as_it_was(run: Run, tmp_path: Path) -> None:
    """Only what shows a text changes it."""
    again = load(run.path)
    given: list[Any] = [*TEXTS.values()]
    for field in ("name", "label", "text"):
        assert [getattr(video, field) for video in again.videos] == given
    export_coco(run, tmp_path / "coco.json", videos=list(range(len(given))))
    videos = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))["videos"]
    assert [video["name"] for video in videos] == given
    assert np.all([again.support(i, 2, 0).max() >= 0 for i in range(2)])
