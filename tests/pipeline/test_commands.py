"""Commands: their options are the parameters of the verbs, and reach them as from Python."""

from __future__ import annotations

import importlib.metadata
import inspect
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from pipeline.report_page import write_controlled_run
from typer.testing import CliRunner

import vtcd_ops
from vtcd_ops import vos_metrics
from vtcd_ops.commands import output
from vtcd_ops.commands.app import app
from vtcd_ops.commands.from_signature import argument_help, command_of
from vtcd_ops.commands.segment import parse_part_heads
from vtcd_ops.commands.segment_videos import segment_videos
from vtcd_ops.common.errors import InputError

VERBS: dict[str, Callable[..., Any]] = {
    "discover": vtcd_ops.discover,
    "rank": vtcd_ops.rank,
    "curves": vtcd_ops.curves,
    "evidence": vtcd_ops.evidence,
    "rosetta": vtcd_ops.rosetta,
    "compare": vtcd_ops.compare,
    "report": vtcd_ops.report,
    "segment": vtcd_ops.segment,
    "evaluate": vos_metrics.evaluate,
}
OF_THE_COMMAND = {
    "compare": {"out"},
    "curves": {"out"},
    "segment": {"out", "overwrite", "overlay", "sam", "rule", "split", "sequences", "train_split"}
    | {"num_heads"},
    "evaluate": {"out", "frames"},
}
OF_PYTHON = {"segment": {"refine"}}  #: what no text can give


def _command(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.commands[name]


@pytest.mark.parametrize("name", VERBS)
def test_every_parameter_is_an_option_with_help(name: str) -> None:
    options = {option.name: option for option in _command(name).params}
    parameters = inspect.signature(VERBS[name]).parameters
    of_the_verb = set(parameters) - OF_PYTHON.get(name, set())
    assert set(options) - OF_THE_COMMAND.get(name, set()) == of_the_verb
    for option in options.values():
        text = getattr(option, "help", None)
        assert text, f"{name} says nothing of {option.name}"
        assert not re.search(r":\w+:`|``|None: |[Aa]s of ", text), text


def _called_with(verb: Callable[..., Any], given: list[str], **settings: Any) -> dict[str, Any]:
    """What a verb of the same signature and docstring gets from a command line."""
    calls: list[dict[str, Any]] = []

    def stand_in(**values: Any) -> None:
        calls.append(values)

    stand_in.__signature__ = inspect.signature(verb)  # type: ignore[attr-defined]
    stand_in.__doc__ = verb.__doc__
    stand = typer.Typer(add_completion=False)
    stand.command()(command_of(stand_in, lambda _: None, **settings))
    result = CliRunner().invoke(stand, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return calls[0]


@pytest.mark.parametrize(
    ("name", "arguments", "settings"),
    [
        ("discover", ["m", "v.mp4", "--out", "r"], {"model": str, "samples": list[str]}),
        ("rank", ["r"], {"run": Path, "samples": list[str] | None}),
        ("curves", ["r"], {"run": Path, "samples": list[str] | None}),
        ("rosetta", ["a", "b"], {"runs": list[Path]}),
        ("report", ["r"], {"run": Path}),
        ("segment", ["m", "v", "--first-mask", "f.png"], {"model": str, "video": Path}),
    ],
)
def test_defaults_are_those_of_the_verb(
    name: str, arguments: list[str], settings: dict[str, Any]
) -> None:
    plain = {"model": str, "metric": str, "rankings": str, "importances": str, "first_mask": Path}
    plain |= {"heads": parse_part_heads} if name == "segment" else {}
    parsers = {key: kind for key, kind in plain.items() if key not in settings}
    without = OF_PYTHON.get(name, set())
    got = _called_with(
        VERBS[name], arguments, arguments=settings, parsers=parsers, without=sorted(without)
    )
    assert not without & set(got)  # the verb's own defaults
    for parameter in inspect.signature(VERBS[name]).parameters.values():
        if parameter.default is not inspect.Parameter.empty and parameter.name not in without:
            value, default = got[parameter.name], parameter.default
            same = list(default) if isinstance(default, tuple) else default
            assert value == same, parameter.name
            assert type(value) is type(same), parameter.name


def test_the_command_of_videos_has_the_defaults_of_one() -> None:
    one, every = (inspect.signature(verb).parameters for verb in (vtcd_ops.segment, segment_videos))
    for name in set(one) & set(every) - {"first_mask"}:  # which a data set brings
        assert every[name].default == one[name].default, name


def test_texts_become_values() -> None:
    given = ["m", "a.mp4", "b.mp4", "--out", "run", "--parts", "keys, values", "--layers", "0,8-10"]
    given += ["--heads", "all", "--num-frames", "16", "--compactness", "auto", "--no-resume"]
    got = _called_with(vtcd_ops.discover, given, arguments={"model": str, "samples": list[str]})
    assert got["samples"] == ["a.mp4", "b.mp4"]
    assert got["out"] == Path("run")
    assert got["parts"] == ["keys", "values"]
    assert got["layers"] == [0, 8, 9, 10]
    assert got["heads"] is None
    assert (got["num_frames"], got["compactness"], got["resume"]) == (16, "auto", False)


def test_none_where_it_is_not_the_default() -> None:
    parsers = {"importances": str}
    given = ["a", "b", "--delta", "none", "--top", "5", "--epsilon", ".1,.2", "--parts", "values"]
    got = _called_with(vtcd_ops.rosetta, given, arguments={"runs": list[Path]}, parsers=parsers)
    assert (got["delta"], got["top"], got["epsilon"]) == (None, 5, [0.1, 0.2])
    assert got["parts"] == "values"


def test_a_text_that_is_no_number_is_refused_by_the_option() -> None:
    given = ["discover", "m", "v", "--out", "r", "--layers", "first"]
    with pytest.raises(InputError, match="--layers: expected numbers such as 0,3,8-11, got"):
        CliRunner().invoke(app, given, catch_exceptions=False)


def test_a_parameter_that_no_text_can_give_is_refused_by_name() -> None:
    def verb(*, thing: dict[str, int]) -> None:
        """Do it."""

    with pytest.raises(TypeError, match="thing: no parser"):
        command_of(verb, print)


def test_help_follows_to_where_it_is_said() -> None:
    said = argument_help(vtcd_ops.curves)
    assert said["model"] == argument_help(vtcd_ops.rank)["model"]
    assert said["num_points"].startswith("Equal steps")


def test_the_version_is_the_package_s() -> None:
    found = CliRunner().invoke(app, ["--version"], catch_exceptions=False)
    assert found.output == f"vtcd {importlib.metadata.version('vtcd-ops')}\n"


def test_help_has_an_example_of_every_command() -> None:
    for command in app.registered_commands:
        if command.name not in ("demo", "doctor", "adapters"):
            assert f"Example: vtcd {command.name} " in str(command.epilog)
        assert command.rich_help_panel in ("Begin", "Find", "Compare", "Use", "See")


def test_show_says_what_is_there_and_what_is_next(tmp_path: Path) -> None:
    run = write_controlled_run(tmp_path)
    plain = CliRunner().invoke(app, ["show", str(run.path)], catch_exceptions=False).output
    assert "concepts:   10" in plain
    assert "control:    a copy with random weights" in plain
    assert f"next: vtcd rank {run.path}" in plain
    quiet = CliRunner().invoke(app, ["-q", "show", str(run.path)], catch_exceptions=False).output
    assert quiet == plain.partition("  next:")[0]
    answer = CliRunner().invoke(app, ["--json", "show", str(run.path)], catch_exceptions=False)
    found = json.loads(answer.output)
    assert found["concepts"] == {"keys": len(run.units())} == {"keys": 10}
    assert (found["control"], found["rankings"], found["report"]) == (True, [], None)
    assert (found["layers"], found["num_frames"]) == ([0, 1], [4])
    assert f"vtcd rank {run.path}" in found["next"]


def test_pipes_get_lines(tmp_path: Path) -> None:
    run = write_controlled_run(tmp_path)
    command = [sys.executable, "-m", "vtcd_ops.cli", "report", str(run.path)]
    found = subprocess.run(command, capture_output=True, check=True)
    assert b"\r" not in found.stderr
    assert found.stderr.count(b"supports: 100%") == 1
    assert found.stdout.decode() == f"{run.path}/report.html\n"


def test_a_standing_bar_says_in_a_pipe_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    stream, now = output.PlainLines(drawn), [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    for second in range(0, 200, 5):
        now[0] = second
        stream.write(f"\rconcepts:   0%|   | 0/12 [{second}s]")
    stream.write("\rconcepts: 100%|###| 12/12 [200s]")
    stream.write("\rconcepts: 100%|###| 12/12 [200s]")
    stream.write("\n")
    clocks = [line.partition("[")[2] for line in drawn.getvalue().splitlines()]
    assert clocks == ["0s]", "60s]", "120s]", "180s]", "200s]"]
