# SPDX-License-Identifier: MIT
"""``python -m reproduce WORK``: make every result that is not there yet, then the page."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from reproduce import page, processes, results, spill_clips
from reproduce.models import ROLES
from reproduce.registry import EXPERIMENTS, Experiment
from reproduce.results import Result
from reproduce.study import FULL, QUICK, Study
from vtcd_ops.common.errors import InputError

MODULES = (
    "table4", "table1", "table1_replaced", "table2", "table3", "table3_parts", "figure8", "figure9",
    "parts", "control", "rosetta", "evidence", "evidence_real",
)  # fmt: skip
MINIATURE = (
    "Every number here, but where DINOv2-S stands beside it, is of a miniature model on rendered "
    "clips of 64 x 64 pixels, beside what the paper reports of the full-size models on Kubric and "
    "Something-Something: compare directions, not values. "
)
INTERVALS = (
    "At most {videos} videos and {masks} masks a ranking. Brackets are 95 % intervals over {seeds} "
    "seeds of discovery and masks, on one set of weights and one set of videos. A claim is "
    "undecided where the interval of the difference, seed by seed, holds 0. What stands without "
    "a bracket follows from the weights and the clips, so that no seed moves it: the tracker "
    "itself, the whole model, an order by magnitude, what a model costs, a single sequence; and "
    "copies with random weights, which are there for what stands beside them. The paper gives no "
    "intervals."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the experiments asked for; return the exit status."""
    for module in MODULES:
        importlib.import_module(f"reproduce.{module}")
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser().parse_args(arguments)
    scale = QUICK if args.quick else FULL
    for name in ("seeds", "videos", "masks", "scored"):
        if getattr(args, name) is not None:
            scale = replace(scale, **{name: getattr(args, name)})
    processes.share_processors(args.processes)
    if args.helper:
        processes.end_with_parent()
    try:
        study = Study(args.work, scale, _pairs(args.model), _pairs(args.data))
        args.work.mkdir(parents=True, exist_ok=True)
        names = args.only or _possible(args.work)
        if args.helper:
            _help(replace(study, talks=False), names, args.helper / args.processes)
            return 0
        with processes.helpers(arguments, args.processes, args.work):
            made = [_make(study, EXPERIMENTS[name], args.processes) for name in names]
    except (InputError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    _write_page(study, made)
    return 0


def _possible(folder: Path) -> list[str]:
    """The experiments that can be made here: one has clips that must be rendered."""
    names = list(EXPERIMENTS)
    reason = spill_clips.why_not(folder / "clips")
    if reason is not None:
        print(f"table2 is left out: {reason}")
        names.remove("table2")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reproduce", description=__doc__)
    parser.add_argument("work", type=Path, help="folder; what is finished there is used again")
    parser.add_argument("--quick", action="store_true", help="fewer videos and masks")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), metavar="RESULT")
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="ROLE=MODEL",
        help=f"other models than the miniatures, for {', '.join(ROLES)}",
    )
    parser.add_argument(
        "--data", nargs="+", default=[], metavar="[ROLE=]MANIFEST", help="other videos"
    )
    for name, text in (
        ("seeds", "seeds of discovery and masks"),
        ("videos", "videos of a discovery, at most"),
        ("masks", "masks of a ranking, at most"),
        ("scored", "videos that concepts are ranked on, at most"),
    ):
        parser.add_argument(f"--{name}", type=_positive, help=text)
    parser.add_argument(
        "--processes",
        type=_positive,
        default=processes.usable_cpus(),
        help="that share the work, each with a copy of the models; one a processor by default",
    )
    parser.add_argument("--helper", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _pairs(texts: list[str]) -> dict[str, str]:
    """`["tcow=a", "b"]` as `{"tcow": "a", "": "b"}`."""
    pairs = {}
    for text in texts:
        role, _, value = text.rpartition("=")
        if role and role not in ROLES:
            raise InputError(f"role expected one of {', '.join(ROLES)}, got {role!r}")
        pairs[role] = value
    return pairs


def _known(study: Study, experiment: Experiment, setting: dict[str, Any]) -> Result | None:
    """A result that is there already, and of the same setting."""
    known = results.read(study.folder, experiment.name)
    return known if known is not None and known.setting.get("study") == setting else None


def _help(study: Study, names: Iterable[str], place: float) -> None:
    """Make every result that is not there, beginning with another seed than others, for nothing."""
    study.first_seed = round(place * study.scale.seeds)
    for name in names:
        experiment = EXPERIMENTS[name]
        setting = study.fingerprint(experiment.roles or study.roles())
        if _known(study, experiment, setting) is None:
            experiment.run(study)


def _make(study: Study, experiment: Experiment, num_processes: int) -> Result:
    """Make one result, unless it is there already."""
    setting = study.fingerprint(experiment.roles or study.roles())
    known = _known(study, experiment, setting)
    if known is not None:
        print(f"{experiment.name}: there already")
        return known
    print(f"{experiment.name}:", flush=True)
    begin = time.monotonic()
    made = experiment.run(study)
    seconds = round(time.monotonic() - begin, 1)
    made = replace(
        made,
        seconds=seconds,
        setting={**made.setting, "study": setting, "processes": num_processes},
    )
    results.write(made, study.folder)
    print(f"{experiment.name}: {made.seconds:.0f} s", flush=True)
    return made


def _write_page(study: Study, made: list[Result]) -> None:
    introduction = "" if study.models else MINIATURE
    introduction += INTERVALS.format(**asdict(study.scale))
    markdown = page.markdown(made, f"# The paper's results\n\n{introduction}")
    (study.folder / "results.md").write_text(markdown, encoding="utf-8")
    file = study.folder / "results.html"
    file.write_text(page.html(made, introduction, study.folder), encoding="utf-8")
    print(f"Look at {file.resolve().as_uri()}")


if __name__ == "__main__":
    sys.exit(main())
