"""A run as a table of its concepts, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vtcd_ops.common.tabular import Row
from vtcd_ops.discovery.degenerate_heads import is_degenerate, num_videos_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vtcd_ops.discovery.run import Run


def concept_rows(run: Run) -> list[Row]:
    """Return a row for every concept of every part of a run, in the order of its units.

    In how many videos it is, its tubelets, their voxels, their mean silhouette (NaN where it is
    undefined), and whether its head is degenerate.
    """
    rows = []
    for part in run.parts:
        for layer in run.layers:
            for head in run.heads:
                found = run.concepts(layer, head, part)
                videos, degenerate = num_videos_of(found), is_degenerate(found, len(run.videos))
                for concept in range(found.k):
                    mine = found.concept == concept
                    silhouette = found.silhouette[mine]
                    rows.append(
                        {
                            "part": part,
                            "layer": layer,
                            "head": head,
                            "concept": concept,
                            "videos": int(videos[concept]),
                            "tubelets": int(mine.sum()),
                            "voxels": int(found.size[mine].sum()),
                            "silhouette": float(silhouette.mean()) if mine.any() else float("nan"),
                            "degenerate": degenerate,
                        }
                    )
    return rows


def draw_heads(run: Run, ax: Axes) -> None:
    """Draw how many concepts every head of a run's first part has; a cross: a degenerate head."""
    tables = [[run.concepts(layer, head) for head in run.heads] for layer in run.layers]
    counts = np.array([[one.k for one in row] for row in tables])
    image = ax.imshow(counts, cmap="viridis", vmin=0)
    for row, of_layer in enumerate(tables):
        for column, one in enumerate(of_layer):
            if is_degenerate(one, len(run.videos)):
                ax.plot(column, row, "x", color="white")
    ax.set_xticks(range(len(run.heads)), [str(head) for head in run.heads])
    ax.set_yticks(range(len(run.layers)), [str(layer) for layer in run.layers])
    ax.set(xlabel="head", ylabel="layer", title=f"{run.model['name']}, {run.parts[0]}")
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("concepts (×: degenerate head)")
