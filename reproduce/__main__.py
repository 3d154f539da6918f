# SPDX-License-Identifier: MIT
"""``python -m reproduce WORK``: make every result that is not there yet, then the page."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from dataclasses import replace
from pathlib import Path

from reproduce import page, results
from reproduce.models import ROLES
from reproduce.registry import EXPERIMENTS, Experiment
from reproduce.results import Result
from reproduce.study import FULL, QUICK, Study
from vtcd_ops.errors import InputError

MODULES = ("table4", "table1", "figure8", "figure9", "parts", "control", "rosetta")
MINIATURE = (
    "Every number here is of a miniature model on rendered clips of 64 x 64 pixels, beside what "
    "the paper reports of the full-size models on Kubric and Something-Something: compare "
    "directions, not values. "
)
INTERVALS = (
    "Brackets are 95 % intervals over {seeds} seeds of discovery and masks, on one set of weights."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the experiments asked for; return the exit status."""
    for module in MODULES:
        importlib.import_module(f"reproduce.{module}")
    args = _parser().parse_args(arguments)
    scale = QUICK if args.quick else FULL
    for name in ("seeds", "videos", "masks"):
        if getattr(args, name) is not None:
            scale = replace(scale, **{name: getattr(args, name)})
    try:
        study = Study(args.work, scale, _pairs(args.model), _pairs(args.data))
        args.work.mkdir(parents=True, exist_ok=True)
        made = [_make(study, EXPERIMENTS[name]) for name in args.only or EXPERIMENTS]
    except (InputError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    _write_page(study, made)
    return 0


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
        ("videos", "videos, at most"),
        ("masks", "masks of a ranking, at most"),
    ):
        parser.add_argument(f"--{name}", type=int, help=text)
    return parser


def _pairs(texts: list[str]) -> dict[str, str]:
    """`["tcow=a", "b"]` as `{"tcow": "a", "": "b"}`."""
    pairs = {}
    for text in texts:
        role, _, value = text.rpartition("=")
        if role and role not in ROLES:
            raise InputError(f"role expected one of {', '.join(ROLES)}, got {role!r}")
        pairs[role] = value
    return pairs


def _make(study: Study, experiment: Experiment) -> Result:
    """Make one result, unless it is there already."""
    setting = study.fingerprint(experiment.roles or study.roles())
    known = results.read(study.folder, experiment.name)
    if known is not None and known.setting.get("study") == setting:
        print(f"{experiment.name}: there already")
        return known
    print(f"{experiment.name}:", flush=True)
    begin = time.monotonic()
    made = experiment.run(study)
    setting_of_file = {**made.setting, "study": setting}
    made = replace(made, seconds=round(time.monotonic() - begin, 1), setting=setting_of_file)
    results.write(made, study.folder)
    print(f"{experiment.name}: {made.seconds:.0f} s", flush=True)
    return made


def _write_page(study: Study, made: list[Result]) -> None:
    introduction = "" if study.models else MINIATURE
    introduction += INTERVALS.format(seeds=study.scale.seeds)
    markdown = page.markdown(made, f"# The paper's results\n\n{introduction}")
    (study.folder / "results.md").write_text(markdown, encoding="utf-8")
    file = study.folder / "results.html"
    file.write_text(page.html(made, introduction, study.folder), encoding="utf-8")
    print(f"Look at {file.resolve().as_uri()}")


if __name__ == "__main__":
    sys.exit(main())
