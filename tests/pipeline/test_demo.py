"""`vtcd demo`, with the example in the place of the miniature."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.commands import app, demo


def test_demo_discovers_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def by_name(model: object) -> object:
        asked.append(model)
        return example_adapter()

    monkeypatch.setattr(vtcd_ops.adapters.placement, "load_model", by_name)
    monkeypatch.setattr(sys, "argv", ["vtcd", "demo", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    assert not exit_.value.code
    assert asked == [demo.DEMO_MODEL]
    report = tmp_path / "run/report.html"
    assert report.resolve().as_uri() in capsys.readouterr().out
    assert "<html" in report.read_text()
    run = vtcd_ops.load(tmp_path / "run")
    assert len(run.videos) == 12
    assert run.videos[0].label == "roll"
    assert run.sanity is not None
