"""Which clips of a concept are in the page: its best ones, one from the middle, one at random."""

from __future__ import annotations

import hashlib

from vtcd_ops.reporting.shown import Head, ShownRun

_MATCHED = 2  # clips in which the copy's concept is shown beside that of the model


def choose_clips(shown: list[ShownRun], position: dict[int, int], num_clips: int) -> None:
    """Choose the clips of every concept, and with them the supports that the page holds.

    Args:
        shown: the run and its control; what matches what is known.
        position: place in the page of each video of the run that is in it.
        num_clips: best clips of a concept of the model.
    """
    packed: dict[tuple[str, str], set[int]] = {}
    for view in shown:
        for head in view.heads:
            head.clips = [
                [position[video] for video in ranking if video in position][:num_clips]
                for ranking in head.rankings
            ]
            packed[view.id, head.key] = {video for clips in head.clips for video in clips}
    for head in shown[0].heads:
        for index, details in enumerate(head.details):
            details.more = _more(head, index, position)
            packed["model", head.key] |= {v for videos in details.more.values() for v in videos}
            for match in (details.match, *details.near):
                if match is not None:
                    packed[match.run, match.key] |= set(head.clips[index][:_MATCHED])
    for view in shown:
        for head in view.heads:
            head.packed = sorted(packed[view.id, head.key])


def _more(head: Head, index: int, position: dict[int, int]) -> dict[str, list[int]]:
    """Of the other videos that from the middle of the order, and one drawn by a hash."""
    ranking = [position[video] for video in head.rankings[index] if video in position]
    rest = [video for video in ranking if video not in head.clips[index]]
    if not rest:
        return {}
    digest = hashlib.sha256(f"{head.key}-C{index}".encode()).digest()
    drawn = rest[int.from_bytes(digest[:4], "big") % len(rest)]
    middle = rest[(len(rest) - 1) // 2]
    return {"middle": [middle]} if middle == drawn else {"middle": [middle], "random": [drawn]}
