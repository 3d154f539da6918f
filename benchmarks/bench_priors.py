"""How well gradients foretell what masks do, on the four miniatures, and how few masks then do.

    python benchmarks/bench_priors.py --work WORK

WORK keeps runs and scores; a killed benchmark goes on from there. Each prior, and each estimate
from few masks, foretells the drops of masks that it was not made from: the share of their variance
that it explains needs no reference, and is larger the nearer the effects are to the true ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Column, threads, write
from _miniature import METRICS, Miniature

import vtcd_ops
from reproduce.models import ROLES
from vtcd_ops.estimates.mask_fits import AdditiveModel
from vtcd_ops.estimates.mask_scores import MaskScores
from vtcd_ops.importance.importance import Importance, draw_masks, video_seeds

NUM_MASKS, HELD_OUT = 256, 128
COUNTS = (8, 32, 128)
METHODS = ("gradient", "integrated_gradients")


def measure(role: str, work: Path, num_videos: int) -> tuple[Importance, dict[str, np.ndarray]]:
    """Scores under masks of some videos, and what each prior says, [V, U]."""
    miniature = Miniature(role, work)
    run, adapter, some = miniature.run, miniature.adapter, miniature.samples[:num_videos]
    ask: dict[str, Any] = {"metric": miniature.metric, "masks_per_forward": 16, "progress": False}
    masks = vtcd_ops.rank(
        run, adapter, some, num_masks=NUM_MASKS, stop_at=None, name=f"mean-mask-{num_videos}", **ask
    )
    found = {"mean_mask": masks.tensors["prior"]}
    for method in METHODS:
        one = vtcd_ops.rank(
            run, adapter, some, method=method, num_steps=8, name=f"{method}-{num_videos}", **ask
        )
        found[method] = one.tensors["effects"]
    return masks, found


def explained(foretold: np.ndarray, drops: np.ndarray) -> float:
    """Share of the drops' variance that is explained, by the best scale and level, [V, M]."""
    wrong = total = 0.0
    for said, drop in zip(foretold, drops, strict=True):
        x, y = said - said.mean(), drop - drop.mean()
        scale = max(float(x @ y) / max(float(x @ x), 1e-300), 0.0)
        wrong += float(((y - scale * x) ** 2).sum()) / float((y**2).sum())
        total += 1
    return 1 - wrong / total


def row(role: str, masks: Importance, priors: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the table shows of one model."""
    settings, tensors = masks.settings, masks.tensors
    drops = tensors["baseline"][:, None] - tensors["scores"]
    removed = np.stack(
        [
            (~draw_masks(settings, video, 0, NUM_MASKS)).double().numpy()
            for video in range(len(drops))
        ]
    )
    held_out = slice(NUM_MASKS - HELD_OUT, NUM_MASKS)

    def foretold(effects: np.ndarray) -> float:
        said = np.einsum("vmu,vu->vm", removed[:, held_out], np.nan_to_num(effects))
        return explained(said, drops[:, held_out])

    found: dict[str, Any] = {
        "model": f"`{ROLES[role].miniature}`",
        "units": int(tensors["present"].sum(1).mean()),
        **{name: foretold(effects) for name, effects in priors.items()},
    }
    for count in COUNTS:
        data = MaskScores(
            drops[:, :count], tensors["baseline"], tensors["present"], settings["ratio"],
            video_seeds(settings), settings["design"],
        )  # fmt: skip
        every = np.ones(count, dtype=bool)
        for name, prior in (("none", None), *priors.items()):
            model = AdditiveModel(data, prior)
            found[f"{name}_{count}"] = foretold(model.by_video("regression", every))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/priors"))
    parser.add_argument("--videos", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    with threads(1):
        for role in METRICS:
            rows.append(row(role, *measure(role, arguments.work, arguments.videos)))
            print(rows[-1], flush=True)
    write(
        "priors",
        rows,
        [
            Column("model", "model"),
            Column("units", "U"),
            Column("gradient", "gradient (1)", "{:.2f}"),
            Column("integrated_gradients", "integrated gradients (8)", "{:.2f}"),
            Column("mean_mask", "at the mean mask (1)", "{:.2f}"),
            *(
                Column(f"{name}_{count}", f"{words}, {count} masks", "{:.2f}")
                for count in COUNTS
                for name, words in (
                    ("none", "no prior"),
                    ("integrated_gradients", "integrated"),
                    ("mean_mask", "mean mask"),
                )
            ),
        ],
        note=f"Share of the variance of the drops under {HELD_OUT} held-out masks that is "
        "foretold: by each prior alone (in brackets how many gradients), and by the regression of "
        f"few masks around each. {arguments.videos} videos a miniature, mean; metrics "
        f"{', '.join(METRICS.values())}. A gradient costs 1.6 to 2.9 forwards here.",
    )


if __name__ == "__main__":
    main()
