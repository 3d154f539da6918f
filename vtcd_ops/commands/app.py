"""The command line: each command calls the public verb of the same name with the same defaults."""

from __future__ import annotations

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
from vtcd_ops.commands.prune import parse_heads, prune_run
from vtcd_ops.commands.segment import parse_part_heads
from vtcd_ops.commands.segment_videos import SegmentedVideos, segment_videos
from vtcd_ops.common.errors import InputWarning, counted, printable
from vtcd_ops.concept_evidence.evidence import evidence
from vtcd_ops.concept_evidence.result import Evidence
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run import Run, load
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


def _say(sentence: object) -> None:
    """Print a line in which no name can steer the terminal."""
    print(printable(str(sentence)))


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
    num_units = sum(len(run.units(part)) for part in run.parts)
    _say(f"{run.path}: {num_units} concepts of {counted(len(run.videos), 'video')}")


def show_importance(importance: Importance | None) -> None:
    """Print the ranking in short."""
    for line in importance.summary() if importance else ():
        _say(line)


def show_evidence(found: Evidence) -> None:
    """Print the evidence in short."""
    for line in found.lines():
        _say(line)


def show_curves(found: Curves, out: Path | None) -> None:
    """Print the curves in short, and write their points."""
    for line in found.summary():
        _say(line)
    if out is not None:
        _say(found.write(out))


def show_rosetta(found: Rosetta) -> None:
    """Print what is shared, and write its report."""
    for row in found.summary():
        _say(found.line(row))
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
    print(table)


def show_segmentation(found: SegmentedVideos) -> None:
    """Say what was written, and how good it is where that is known."""
    for line in found.lines:
        _say(line)
    if found.scores is not None:
        print(found.scores)


_MEASURED = {"run": Path, "samples": list[str] | None}

discover_command = app.command("discover")(
    command_of(discover, show_run, arguments={"model": str, "samples": list[str]})
)
rank_command = app.command("rank")(
    command_of(rank, show_importance, arguments=_MEASURED, parsers={"model": str, "metric": str})
)
curves_command = app.command("curves")(
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
evidence_command = app.command("evidence")(
    command_of(
        evidence,
        show_evidence,
        arguments=_MEASURED,
        parsers={"model": str, "controls": lambda text: [Path(word) for word in parse_words(text)]},
    )
)
rosetta_command = app.command("rosetta")(
    command_of(
        rosetta,
        show_rosetta,
        arguments={"runs": list[Path]},
        parsers={"importances": lambda text: None if text in ("all", "none") else text},
        required=["out"],
    )
)
compare_command = app.command("compare")(
    command_of(
        compare,
        show_comparison,
        arguments={"run_a": Path, "run_b": Path},
        more=[extra_option("out", Path | None, "Also write everything to a .json file.", None)],
    )
)
prune_command = app.command("prune")(
    command_of(
        prune_run,
        _say,
        arguments={"run": Path},
        parsers={"heads": parse_heads},
        required=["out"],
    )
)
segment_command = app.command("segment")(
    command_of(
        segment_videos,
        show_segmentation,
        arguments={"model": str, "video": Path},
        parsers={"heads": parse_part_heads},
        required=["out"],
    )
)
report_command = app.command("report")(
    command_of(report, _say, arguments={"run": Path}, parsers={"names": Path})
)
card_command = app.command("card")(
    command_of(card, _say, arguments={"run": Path, "concept": str}, required=["out"])
)
evaluate_command = app.command("evaluate")(
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


@app.command("demo")
def demo_command(
    out: Annotated[
        Path, typer.Option(help="Directory of the run; a run begun there goes on.")
    ] = Path("vtcd-run"),
    sanity: Annotated[bool, typer.Option(help="Also a weight-randomised copy.")] = True,
) -> None:
    """Discover the concepts of a bundled miniature model on bundled clips, and report them."""
    _say(f"Look at {demonstration.demo(out, sanity=sanity).resolve().as_uri()}")


@app.command("show")
def show_command(
    run: Annotated[Path, typer.Argument(help="A run; rankings that are being made show too.")],
) -> None:
    """Print what a run found and its rankings, those by the masks so far included."""
    opened = load(run)
    show_run(opened)
    for name in opened.importances():
        show_importance(opened.importance(name))


@app.command("doctor")
def doctor_command() -> None:
    """Tell what is installed, what works, and what mends the rest."""
    raise typer.Exit(diagnosis.doctor())


@app.command("adapters")
def adapters_command() -> None:
    """List the installed families of models."""
    raise typer.Exit(diagnosis.adapters())
