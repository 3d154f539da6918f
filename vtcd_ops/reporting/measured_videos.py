"""Which videos of a large run the page's measures of place, time and overlap look at."""

from __future__ import annotations

import numpy as np

from vtcd_ops.discovery.run import Run

_MOST_VOLUMES = 12_000  # label volumes of heads that are unpacked for a page
_LEAST_VIDEOS = 50
_MOST_VIDEOS = 300


def measured_videos(run: Run) -> list[int]:
    """Return all videos of a run, or, where that would be too many volumes, some evenly spread.

    At least 50, at most 300; of a run of 12 layers of 12 heads 83.
    """
    count = len(run.videos)
    volumes = len(run.parts) * len(run.layers) * len(run.heads)
    most = min(_MOST_VIDEOS, max(_LEAST_VIDEOS, _MOST_VOLUMES // volumes))
    if count <= most:
        return list(range(count))
    places: list[int] = np.linspace(0, count - 1, most).round().astype(int).tolist()
    return places
