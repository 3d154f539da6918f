"""The command line: each command calls the public verb of the same name with the same defaults."""

from __future__ import annotations

import importlib.metadata
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import torch
import typer
from tqdm import tqdm

from vtcd_ops.commands import demo as demonstration
from vtcd_ops.commands import doctor as diagnosis
from vtcd_ops.commands.from_signature import command_of, extra_option, parse_words
from vtcd_ops.commands.output import output, write_lines_in_pipes
from vtcd_ops.commands.prune import parse_heads, prune_run
from vtcd_ops.commands.segment import parse_part_heads
from vtcd_ops.commands.segment_videos import SegmentedVideos, segment_videos
from vtcd_ops.commands.show import describe, next_commands, show, summary_of
from vtcd_ops.common.errors import InputWarning, printable
from vtcd_ops.concept_evidence.evidence import evidence
from vtcd_ops.concept_evidence.result import Evidence
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.curves import Curves, curves
from vtcd_ops.importance.importance import Importance
from vtcd_ops.importance.ranking import rank
from vtcd_ops.reporting import card, report
from vtcd_ops.rosetta_concepts.comparison import RunComparison, compare
from vtcd_ops.rosetta_concepts.rosetta import rosetta
from vtcd_ops.rosetta_concepts.store import Rosetta
from vtcd_ops.vos_metrics import evaluate

app = typer.Typer(
    help="Find out what a video transformer has learnt: the concepts of every attention head.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_USER_ERROR = 2  # exit status for what the user can mend
_INTERRUPTED = 130  # that of a process that was interrupted


def main() -> None:
    """Run the command line; what the user can mend is one sentence, never a traceback."""
    warnings.showwarning = _show_warning
    write_lines_in_pipes()
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as error:  # what typer makes of Ctrl-C, without a word
        if error.code != _INTERRUPTED:
            raise
        _interrupted()
    except (ValueError, OSError, ImportError, MemoryError, torch.OutOfMemoryError) as error:
        if os.environ.get("VTCD_TRACEBACK"):
            raise
        _fail(_sentence(error))


def _interrupted() -> NoReturn:
    _fail("interrupted; the same command goes on from here", status=_INTERRUPTED)


def _fail(sentence: str, status: int = _USER_ERROR) -> NoReturn:
    print(f"vtcd: {printable(sentence)}", file=sys.stderr)
    sys.exit(status)


_say = output.say


def _print_version(asked: bool) -> None:
    if asked:
        print(f"vtcd {importlib.metadata.version('vtcd-ops')}")
        raise typer.Exit


def finish(_: object, **options: object) -> None:
    """End the answer of a command."""
    output.finish()


@app.callback(result_callback=finish)
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and end.", is_eager=True, callback=_print_version
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Answer with one JSON object: vtcd --json COMMAND.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars and no hints.")
    ] = False,
) -> None:
    """Find out what a video transformer has learnt: the concepts of every attention head."""
    output.reset(as_json=as_json, quiet=quiet)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print what the user should know as one sentence, above the progress bars."""
    text = str(message)
    if not issubclass(category, InputWarning):
        text = warnings.formatwarning(message, category, filename, lineno, line)
    tqdm.write(f"vtcd: {printable(' '.join(text.split()))}", file=file or sys.stderr)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "the memory is used up: give a smaller --max-memory"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def show_run(run: Run) -> None:
    """Say how many concepts were found, and where they are."""
    _say(summary_of(run))
    output.tell(path=run.path, **dict(describe(run)))
    output.hint(*next_commands(run))


def show_importance(importance: Importance | None) -> None:
    """Print the ranking in short."""
    if importance is None:
        return
    for line in importance.summary():
        _say(line)
    columns = importance.units.tolist(), importance.value.tolist(), importance.stderr.tolist()
    rows = [[*unit, _known(value), _known(error)] for unit, value, error in zip(*columns)]
    output.tell(name=importance.name, metric=importance.settings["metric"], units=rows)
    output.hint("vtcd curves RUN   # what is left of the answer without them", "vtcd report RUN")


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def show_evidence(found: Evidence) -> None:
    """Print the evidence in short."""
    for line in found.lines():
        _say(line)
    output.tell(**found.to_json())
    output.hint("vtcd report RUN   # shows it")


def show_curves(found: Curves, out: Path | None) -> None:
    """Print the curves in short, and write their points."""
    for line in found.summary():
        _say(line)
    if out is not None:
        _say(found.write(out))
    output.hint("vtcd report RUN   # draws them")


def show_rosetta(found: Rosetta) -> None:
    """Print what is shared, and write its report."""
    for row in found.summary():
        _say(found.line(row))
    output.tell(summary=found.summary())
    _say(report(found))


def show_comparison(found: RunComparison, out: Path | None) -> None:
    """Print what is kept, new and lost, and write all of it."""
    for line in found.lines():
        _say(line)
    if out is not None:
        _say(found.write(out))


def show_scores(table: Any, out: Path | None, frames: Path | None) -> None:
    """Print the scores of masks, and write them."""
    if out is not None:
        table.write_csv(out)
    if frames is not None:
        table.write_csv(frames, per_frame=True)
    output.say_block(str(table))


def show_segmentation(found: SegmentedVideos) -> None:
    """Say what was written, and how good it is where that is known."""
    for line in found.lines:
        _say(line)
    if found.scores is not None:
        output.say_block(str(found.scores))


#: Group, example and typical time of each command.
_SHOWN = {
    "discover": (
        "Find",
        "vtcd discover facebook/dinov2-small videos/ --sanity --out RUN",
        "10 s a video of 16 frames and 12 layers on two CPU cores; --sanity doubles it",
    ),
    "evidence": (
        "Find",
        "vtcd evidence RUN",
        "as long as discover for each copy that is not there yet; minutes for the rest",
    ),
    "rank": (
        "Find",
        "vtcd rank RUN --num-masks 400",
        "a forward of the model for each mask and video",
    ),
    "curves": (
        "Find",
        "vtcd curves RUN",
        "about as many forwards as 120 masks, for each ranking",
    ),
    "rosetta": (
        "Compare",
        "vtcd rosetta RUN_A RUN_B --importances all --out SHARED",
        "seconds, beside reading the runs",
    ),
    "compare": (
        "Compare",
        "vtcd compare RUN_A RUN_B",
        "seconds, beside reading the runs",
    ),
    "prune": (
        "Use",
        "vtcd prune RUN --out SMALLER --fraction .33",
        "that of loading and writing the model",
    ),
    "segment": (
        "Use",
        "vtcd segment facebook/dinov2-small VIDEO --first-mask MASK.png --out MASKS",
        "a forward of the model for each window; DINOv2-S 1 s a frame on one CPU core",
    ),
    "evaluate": (
        "Use",
        "vtcd evaluate MASKS TRUTH",
        "3 ms a frame, beside reading it",
    ),
    "report": (
        "See",
        "vtcd report RUN",
        "15 s for 100 concepts of 6 videos and as many of a copy",
    ),
    "card": (
        "See",
        "vtcd card RUN keys-L11-H2-C0 --out card.gif",
        "10 s",
    ),
}


def _shown(name: str) -> dict[str, Any]:
    """How a command is shown in help: its group, and what stands at its end."""
    group, example, time = _SHOWN[name]
    return {"rich_help_panel": group, "epilog": f"Example: {example} — time: {time}."}


_MEASURED = {"run": Path, "samples": list[str] | None}

discover_command = app.command("discover", **_shown("discover"))(
    command_of(discover, show_run, arguments={"model": str, "samples": list[str]})
)
rank_command = app.command("rank", **_shown("rank"))(
    command_of(rank, show_importance, arguments=_MEASURED, parsers={"model": str, "metric": str})
)
curves_command = app.command("curves", **_shown("curves"))(
    command_of(
        curves,
        show_curves,
        arguments=_MEASURED,
        parsers={"model": str, "metric": str, "rankings": parse_words},
        more=[
            extra_option("out", Path | None, "Also write the points to a .json or .csv file.", None)
        ],
    )
)
evidence_command = app.command("evidence", **_shown("evidence"))(
    command_of(
        evidence,
        show_evidence,
        arguments=_MEASURED,
        parsers={"model": str, "controls": lambda text: [Path(word) for word in parse_words(text)]},
    )
)
rosetta_command = app.command("rosetta", **_shown("rosetta"))(
    command_of(
        rosetta,
        show_rosetta,
        arguments={"runs": list[Path]},
        parsers={"importances": lambda text: None if text in ("all", "none") else text},
        required=["out"],
    )
)
compare_command = app.command("compare", **_shown("compare"))(
    command_of(
        compare,
        show_comparison,
        arguments={"run_a": Path, "run_b": Path},
        more=[extra_option("out", Path | None, "Also write everything to a .json file.", None)],
    )
)
prune_command = app.command("prune", **_shown("prune"))(
    command_of(
        prune_run,
        _say,
        arguments={"run": Path},
        parsers={"heads": parse_heads},
        required=["out"],
    )
)
segment_command = app.command("segment", **_shown("segment"))(
    command_of(
        segment_videos,
        show_segmentation,
        arguments={"model": str, "video": Path},
        parsers={"heads": parse_part_heads},
        required=["out"],
    )
)
report_command = app.command("report", **_shown("report"))(
    command_of(
        report, _say, arguments={"run": Path}, parsers={"names": Path, "namer": str, "words": Path}
    )
)
card_command = app.command("card", **_shown("card"))(
    command_of(card, _say, arguments={"run": Path, "concept": str}, required=["out"])
)
evaluate_command = app.command("evaluate", **_shown("evaluate"))(
    command_of(
        evaluate,
        show_scores,
        arguments={"prediction_dir": Path, "truth_dir": Path},
        more=[
            extra_option("out", Path | None, "The table as CSV.", None),
            extra_option("frames", Path | None, "The scores of every frame as CSV.", None),
        ],
    )
)


@app.command("demo", rich_help_panel="Begin")
def demo_command(
    out: Annotated[
        Path, typer.Option(help="Directory of the run; a run begun there goes on.")
    ] = Path("vtcd-run"),
    sanity: Annotated[bool, typer.Option(help="Also a weight-randomised copy.")] = True,
) -> None:
    """Discover the concepts of a bundled miniature model on bundled clips, and report them."""
    _say(f"Look at {demonstration.demo(out, sanity=sanity).resolve().as_uri()}")


@app.command("doctor", rich_help_panel="Begin")
def doctor_command() -> None:
    """Tell what is installed, what works, and what mends the rest."""
    raise typer.Exit(diagnosis.doctor())


@app.command("adapters", rich_help_panel="Begin")
def adapters_command() -> None:
    """List the installed families of models."""
    raise typer.Exit(diagnosis.adapters())


@app.command("show", rich_help_panel="See", epilog="Example: vtcd show RUN — time: seconds.")
def show_command(
    run: Annotated[
        Path,
        typer.Argument(help="A run, or a result; rankings that are being made show too."),
    ],
) -> None:
    """Say what is in a run, its rankings by the masks so far, and what can be done with it next."""
    for importance in show(run):
        for line in importance.summary():
            _say(line)
