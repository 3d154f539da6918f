"""`vtcd evidence` and `vtcd compare` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline.videos import moving_square
from typer.testing import CliRunner

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.commands.app import app


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vtcd_ops.Run:
    videos = [moving_square(seed=seed) for seed in range(4)]
    return vtcd_ops.discover(
        example_adapter(), videos, out=tmp_path_factory.mktemp("run"), sanity=True, progress=False
    )


def vtcd(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_evidence_is_printed_and_stored(run: vtcd_ops.Run) -> None:
    said = vtcd("evidence", run.path, "--copies", "none", "--starts", "1", "--no-progress")
    found = vtcd_ops.load(run.path).evidence()
    assert found is not None
    assert (found.num_copies, found.settings["starts"]) == (1, 1)
    for line in found.lines():
        assert line in said
    value = found.summary()[0].value
    assert f"{value:.2f}" in next(line for line in said.splitlines() if "copy's best" in line)


def test_a_comparison_is_printed_and_written(run: vtcd_ops.Run, tmp_path: Path) -> None:
    out = tmp_path / "compared.json"
    said = vtcd("compare", run.path, run.sanity.path, "--no-progress", "--out", out)
    found = vtcd_ops.compare(run, run.sanity, progress=False)
    for line in found.lines():
        assert line in said
    written = json.loads(out.read_text())
    assert written["concepts"] == [len(run.units()), len(run.sanity.units())]
    assert len(written["kept"]) + len(written["lost"]) == len(run.units())
