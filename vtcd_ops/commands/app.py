"""The command line: each command calls the public verb of the same name with the same defaults."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

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
    except (ValueError, OSError, ImportError, MemoryError) as error:
        if os.environ.get("VTCD_TRACEBACK"):
            raise
        _fail(_sentence(error))


def _interrupted() -> NoReturn:
    _fail("interrupted; the same command goes on from here", status=_INTERRUPTED)


def _fail(sentence: str, status: int = _USER_ERROR) -> NoReturn:
    from vtcd_ops.common.errors import printable

    print(f"vtcd: {printable(sentence)}", file=sys.stderr)
    sys.exit(status)


def _say(sentence: object) -> None:
    """Print a line in which no name can steer the terminal."""
    from vtcd_ops.common.errors import printable

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
    from tqdm import tqdm

    from vtcd_ops.common.errors import InputWarning, printable

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


def parse_numbers(text: str | None) -> list[int] | None:
    """Return numbers given as "0,3,8-11", or -1 for the last; None or "all": None.

    >>> parse_numbers("0,3,8-11"), parse_numbers("0,-1")
    ([0, 3, 8, 9, 10, 11], [0, -1])
    """
    from vtcd_ops.common.errors import InputError

    if text is None or text == "all":
        return None
    numbers: list[int] = []
    try:
        for piece in text.split(","):
            first, _, last = piece.strip().partition("-")
            if first:
                numbers += range(int(first), int(last or first) + 1)
            else:
                numbers.append(int(piece))
    except ValueError:
        raise InputError(f"expected numbers such as 0,3,8-11, got {text!r}") from None
    return numbers


def parse_shares(text: str) -> list[float]:
    """Return numbers given as ".15,.3".

    >>> parse_shares(".15,.3")
    [0.15, 0.3]
    """
    from vtcd_ops.common.errors import InputError

    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError:
        raise InputError(f"expected numbers such as .15, or .15,.3, got {text!r}") from None


def _frames(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _labels(text: str | None) -> list[str] | str | None:
    """Words with commas between; "all" stays a word."""
    return text if text in (None, "all") else [word.strip() for word in str(text).split(",")]


Out = Annotated[Path, typer.Option(help="Directory of the run; a run begun there goes on.")]


@app.command("discover")
def discover_command(
    model: Annotated[str, typer.Argument(help="family:model, a directory, or a Hub id.")],
    samples: Annotated[
        list[str],
        typer.Argument(help="Video files, folders of frames or of videos, manifests (CSV, JSONL)."),
    ],
    out: Out,
    parts: Annotated[str, typer.Option(help="Of queries,keys,values,outputs.")] = "keys",
    layers: Annotated[str | None, typer.Option(help="Such as 0,3,8-11; all by default.")] = None,
    heads: Annotated[str | None, typer.Option(help="Such as 0,3,8-11; all by default.")] = None,
    num_frames: Annotated[
        str | None, typer.Option(help="Frames of each video, or all; one clip by default.")
    ] = None,
    sampling_rate: Annotated[
        int | None, typer.Option(help="Step in frames; the model's own by default.")
    ] = None,
    proposals: Annotated[str, typer.Option(help="slic or random_crops.")] = "slic",
    n_segments: Annotated[int, typer.Option(help="Tubelets asked of SLIC in a video.")] = 12,
    compactness: Annotated[
        str, typer.Option(help="Weight of place against features, or auto.")
    ] = "0.1",
    voxels_per_token: Annotated[int, typer.Option(help="Voxels along a token's edge.")] = 8,
    min_tubelet: Annotated[float, typer.Option(help="Drop tubelets below this fraction.")] = 0.001,
    criterion: Annotated[
        str, typer.Option(help="elbow, elbow_released, silhouette or elbow_silhouette.")
    ] = "elbow",
    threshold: Annotated[float, typer.Option(help="Of the elbow criteria.")] = 0.9,
    assign: Annotated[str, typer.Option(help="encoding or weights.")] = "encoding",
    batch_size: Annotated[int, typer.Option(help="Windows in one forward.")] = 1,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    sanity: Annotated[bool, typer.Option(help="Also a weight-randomised copy.")] = False,
    max_memory: Annotated[str, typer.Option(help="For features and label volumes.")] = "1GB",
    resume: Annotated[bool, typer.Option(help="Go on with a run that was begun.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Remove the run that is there first.")] = False,
    reuse: Annotated[
        Path | None, typer.Option(help="A run whose tubelets to take, with other concepts.")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
    skip_bad: Annotated[
        bool, typer.Option(help="Leave out samples that cannot be used, and list them.")
    ] = False,
) -> None:
    """Discover the concepts of every attention head and store them in a run directory."""
    arguments = dict(locals())  # before anything else is defined
    from vtcd_ops.common.errors import counted
    from vtcd_ops.discovery.discover import discover

    run = discover(
        **arguments
        | {
            "parts": [part.strip() for part in parts.split(",")],
            "layers": parse_numbers(layers),
            "heads": parse_numbers(heads),
            "num_frames": _frames(num_frames),
            "compactness": _number(compactness),
        }
    )
    num_units = sum(len(run.units(part)) for part in run.parts)
    _say(f"{run.path}: {num_units} concepts of {counted(len(run.videos), 'video')}")


Samples = Annotated[
    list[str] | None,
    typer.Argument(help="Videos to measure on, as of discover; those of the run by default."),
]
RunFolder = Annotated[Path, typer.Argument(help="The directory of a run.")]
Model = Annotated[str | None, typer.Option(help="The run's model, where it moved.")]
MetricName = Annotated[
    str | None, typer.Option(help="Of vtcd_ops.metrics; the model's own by default.")
]
MasksPerForward = Annotated[str, typer.Option(help="A number, or auto: what fits.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or auto.")]
Compiled = Annotated[bool, typer.Option(help="Run the model through torch.compile.")]
Overwrite = Annotated[bool, typer.Option(help="Replace one of that name with other settings.")]
AssignVideos = Annotated[bool, typer.Option(help="Also videos that are not in the run.")]


@app.command("rank")
def rank_command(
    run: RunFolder,
    samples: Samples = None,
    model: Model = None,
    metric: MetricName = None,
    method: Annotated[
        str, typer.Option(help="cris, occlusion, gradient, integrated_gradients or random.")
    ] = "cris",
    units: Annotated[str, typer.Option(help="concepts or heads.")] = "concepts",
    part: Annotated[str | None, typer.Option(help="Where units are removed.")] = None,
    num_masks: Annotated[int, typer.Option(help="Of cris.")] = 4000,
    ratio: Annotated[
        float | None, typer.Option(help="Share of units that a mask removes; .5 for most models.")
    ] = None,
    design: Annotated[str, typer.Option(help="simple, antithetic or balanced.")] = "simple",
    estimator: Annotated[str, typer.Option(help="auto, removed, kept, regression, ...")] = "auto",
    stop_at: Annotated[
        float | None, typer.Option(help="Reliability of the order at which to stop.")
    ] = None,
    num_steps: Annotated[int, typer.Option(help="Of integrated gradients.")] = 32,
    classes: Annotated[
        str | None, typer.Option(help="Labels such as roll,lift, or all: averaged over classes.")
    ] = None,
    assign: AssignVideos = False,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the ranking in the run.")] = None,
    overwrite: Overwrite = False,
    masks_per_forward: MasksPerForward = "auto",
    dtype: Dtype = "auto",
    compiled: Compiled = False,
    max_memory: Annotated[str, typer.Option(help="For one forward.")] = "1GB",
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Rank the concepts, or heads, of a run by how much they matter to the model's answer."""
    arguments = dict(locals())  # before anything else is defined
    from vtcd_ops.importance.ranking import rank

    importance = rank(
        **arguments
        | {
            "samples": samples or None,
            "classes": _labels(classes),
            "masks_per_forward": _frames(masks_per_forward),
        }
    )
    for line in importance.summary():
        _say(line)


@app.command("curves")
def curves_command(
    run: RunFolder,
    samples: Samples = None,
    model: Model = None,
    metric: MetricName = None,
    rankings: Annotated[
        str | None, typer.Option(help="Names of rankings of the run, with commas between.")
    ] = None,
    num_points: Annotated[int, typer.Option(help="Equal steps from nothing to everything.")] = 20,
    num_random: Annotated[int, typer.Option(help="Random orders to average.")] = 5,
    assign: AssignVideos = False,
    seed: Annotated[int, typer.Option(help="Of the random orders.")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the curves in the run.")] = None,
    overwrite: Overwrite = False,
    masks_per_forward: MasksPerForward = "auto",
    dtype: Dtype = "auto",
    compiled: Compiled = False,
    max_memory: Annotated[str, typer.Option(help="For one forward.")] = "1GB",
    out: Annotated[
        Path | None, typer.Option(help="Also write the points to a .json or .csv file.")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Score what is left of the model's answer as the units of a run are removed by importance."""
    arguments = dict(locals())  # before anything else is defined
    from vtcd_ops.importance.curves import curves

    del arguments["out"]
    found = curves(
        **arguments
        | {
            "samples": samples or None,
            "rankings": _labels(rankings),
            "masks_per_forward": _frames(masks_per_forward),
        }
    )
    for line in found.summary():
        _say(line)
    if out is not None:
        _say(found.write(out))


@app.command("rosetta")
def rosetta_command(
    runs: Annotated[list[Path], typer.Argument(help="Two to eight runs over the same videos.")],
    out: Annotated[Path, typer.Option(help="Directory for the result and its report.")],
    importances: Annotated[
        str, typer.Option(help="stored: the most important concepts of each run; or all.")
    ] = "stored",
    epsilon: Annotated[
        str, typer.Option(help="Share of a run's concepts; one, or one a run: .15,.15,.3")
    ] = "0.15",
    delta: Annotated[str, typer.Option(help="Lowest score, or none (with --top).")] = "0.15",
    top: Annotated[
        int | None, typer.Option(help="Of each number of models only so many, the best.")
    ] = None,
    min_models: Annotated[int, typer.Option(help="Models in a tuple, at least.")] = 2,
    max_models: Annotated[
        int | None, typer.Option(help="Models in a tuple, at most; all by default.")
    ] = None,
    parts: Annotated[str, typer.Option(help="Such as keys, or one a run: keys,values")] = "keys",
    max_tuples: Annotated[int, typer.Option(help="Tuples held at a time.")] = 1_000_000,
    max_memory: Annotated[str, typer.Option(help="For supports in memory.")] = "1GB",
    seed: Annotated[int, typer.Option(help="Of the tuples drawn for the mean of all.")] = 0,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Find the concepts that several models share, and report them."""
    arguments = dict(locals())  # before anything else is defined
    from vtcd_ops.reporting import report
    from vtcd_ops.rosetta_concepts.rosetta import rosetta

    shares, names = parse_shares(epsilon), [part.strip() for part in parts.split(",")]
    found = rosetta(
        **arguments
        | {
            "importances": None if importances == "all" else importances,
            "epsilon": shares[0] if len(shares) == 1 else shares,
            "delta": None if delta == "none" else parse_shares(delta)[0],
            "parts": names[0] if len(names) == 1 else names,
        }
    )
    for row in found.summary():
        _say(found.line(row))
    _say(report(found, progress=progress))


@app.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(help="The directory of a run, or of Rosetta concepts.")],
    out: Annotated[Path | None, typer.Option(help="File; RUN/report.html by default.")] = None,
    max_clips: Annotated[int, typer.Option(help="Clips shown of every concept.")] = 3,
    max_videos: Annotated[int, typer.Option(help="Videos in the page.")] = 40,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Write the concepts of a run as one HTML file that plays offline."""
    from vtcd_ops.reporting import report

    _say(report(run, out, max_clips=max_clips, max_videos=max_videos, progress=progress))


@app.command("evaluate")
def evaluate_command(
    prediction_dir: Annotated[Path, typer.Argument(help="Masks: <sequence>/00000.png and so on.")],
    truth_dir: Annotated[Path, typer.Argument(help="The same of the truth, or DAVIS.")],
    rule: Annotated[
        str | None, typer.Option(help="davis16, davis17 or paper; by default told by the labels.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of DAVIS: train or val.")] = None,
    out: Annotated[Path | None, typer.Option(help="The table as CSV.")] = None,
    frames: Annotated[Path | None, typer.Option(help="The scores of every frame as CSV.")] = None,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Score masks of video objects by J and F, as DAVIS does."""
    from vtcd_ops.vos_metrics import evaluate

    table = evaluate(prediction_dir, truth_dir, rule, split=split, progress=progress)
    if out is not None:
        table.write_csv(out)
    if frames is not None:
        table.write_csv(frames, per_frame=True)
    print(table)


@app.command("demo")
def demo_command(
    out: Out = Path("vtcd-run"),
    sanity: Annotated[bool, typer.Option(help="Also a weight-randomised copy.")] = True,
) -> None:
    """Discover the concepts of a bundled miniature model on bundled clips, and report them."""
    from vtcd_ops.commands.demo import demo

    _say(f"Look at {demo(out, sanity=sanity).resolve().as_uri()}")


@app.command("doctor")
def doctor_command() -> None:
    """Tell what is installed, what works, and what mends the rest."""
    from vtcd_ops.commands.doctor import doctor

    raise typer.Exit(doctor())


@app.command("adapters")
def adapters_command() -> None:
    """List the installed families of models."""
    from vtcd_ops.commands.doctor import adapters

    raise typer.Exit(adapters())


if __name__ == "__main__":
    main()
