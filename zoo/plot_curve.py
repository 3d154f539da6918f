# SPDX-License-Identifier: MIT
"""Draw a training curve: ``python -m zoo.plot_curve LOG.jsonl OUT.svg`` (needs matplotlib).

python -m zoo.plot_curve LOG.jsonl OUT.svg --fields target stays --label "held-out IoU"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fields", nargs="+", help="of the log; by default those of mini-ssl")
    parser.add_argument("--label", default="held-out error / mean-patch error")
    args = parser.parse_args()
    entries = [json.loads(line) for line in args.log.read_text().splitlines()]
    steps = [entry["step"] for entry in entries]
    figure, axes = plt.subplots(figsize=(5, 3))
    for field in args.fields or ("random", "tube"):
        name = field.replace("_", " ") if args.fields else f"{field} masks"
        axes.plot(steps, [entry[field] for entry in entries], label=name)
    if not args.fields:
        axes.axhline(1, color="grey", linewidth=0.8, label="mean patch")
    axes.set(xlabel="step", ylabel=args.label)
    axes.legend(frameon=False)
    figure.tight_layout()
    matplotlib.rcParams["svg.hashsalt"] = "mini-ssl"  # the same log gives the same bytes
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
