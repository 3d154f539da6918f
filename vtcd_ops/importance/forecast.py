"""What a ranking will cost, said while it begins."""

from __future__ import annotations

__all__ = ["duration", "of_gradients", "of_masks"]

_SHORT_MASKS = 250  # whose time is said beside that of all


def of_gradients(name: str, videos: int, seconds: float) -> str:
    """Say what the gradients before the masks take, by the seconds of those of the first video.

    >>> of_gradients("cris", 12, 10.0)
    'cris: gradients of 12 videos, 10 s each, 2 min; then masks'
    """
    return (
        f"{name}: gradients of {videos} videos, {duration(seconds)} each, "
        f"{duration(videos * seconds)}; then masks"
    )


def of_masks(name: str, videos: int, total: int, seconds: float, stop_at: float | None) -> str:
    """Say what the masks of all videos take, by the seconds of one, and how to shorten that.

    >>> of_masks("cris", 12, 1000, 0.02, None)
    'cris: 12 x 1,000 masks = 12,000 forwards of 20 ms, 4 min; --num-masks 250 takes 60 s, fewer \
videos less in proportion'
    """
    fewest = min(total, _SHORT_MASKS)
    words = (
        f"{name}: {videos} x {total:,} masks = {videos * total:,} forwards of "
        f"{duration(seconds)}, {duration(seconds * videos * total)}"
    )
    if stop_at is not None:
        words += f" at most: it stops at a reliability of {stop_at:g}"
    if fewest < total:
        short = duration(seconds * videos * fewest)
        words += f"; --num-masks {fewest} takes {short}, fewer videos less in proportion"
    return words


def duration(seconds: float) -> str:
    """Return a time as it is said.

    >>> duration(0.0274), duration(41.2), duration(120), duration(5400)
    ('27 ms', '41 s', '2 min', '1 h 30 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
