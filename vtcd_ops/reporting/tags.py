# SPDX-License-Identifier: MIT
"""Tags of a concept: what the simplest measures suggest, each with its number and that of chance.

A tag is a hint, not a name: a concept has it where its measure is above a threshold.
"""

from __future__ import annotations

from vtcd_ops.reporting.profiles import Profile

PLACE = 0.5  #: overlap of where it is in a video with where it is in the others
_ABOVE_CHANCE = 0.1  # a place is also so much above what it would be anywhere
EVENT = 2.0  #: its largest moment covers so many times as much as its average moment
BACKGROUND = 0.75  #: of the frame
EXPLAINED = 0.5  #: R² of place alone or colour alone, in videos held out
OBJECT = 0.5  #: intersection over union with the true object


def profile_tags(profile: Profile, size: float | None) -> dict[str, str]:
    """Return the tags that follow from where and when a concept is, with their reasons.

    >>> profile_tags(Profile([], [], [], 0.7, 0.2, 1.1, 1.1), 0.1)
    {'place': 'same place in all videos 0.70 (tag above 0.5, anywhere by chance 0.20)'}
    >>> list(profile_tags(Profile([], [], [], 0.1, 0.1, 2.5, 1.4), 0.8))
    ['event', 'background']
    """
    found = {}
    place, by_chance = profile.place or 0.0, profile.place_by_chance or 0.0
    if place > max(PLACE, by_chance + _ABOVE_CHANCE):
        found["place"] = _reason("same place in all videos", place, PLACE) + (
            f", anywhere by chance {by_chance:.2f})"
        )
    if profile.moment > EVENT:
        found["event"] = _reason("its largest moment, times the average", profile.moment, EVENT) + (
            f", with moments drawn by lot {profile.moment_by_chance:.2f})"
        )
    if size is not None and size > BACKGROUND:
        found["background"] = _reason("share of the video", size, BACKGROUND) + ")"
    return found


def measured_tag(key: str, value: float, chance: float) -> dict[str, str]:
    """Return the tag that follows from a measure of evidence, if any, with its reason.

    >>> measured_tag("colour", 0.61, 0.0)
    {'colour': 'colour alone explains 0.61 of it (tag above 0.5, by chance 0.00)'}
    >>> measured_tag("object", 0.3, 0.05)
    {}
    """
    said = {
        "place": ("place alone explains {:.2f} of it", EXPLAINED),
        "colour": ("colour alone explains {:.2f} of it", EXPLAINED),
        "object": ("overlap with the true object {:.2f}", OBJECT),
    }
    if key not in said or not value > said[key][1]:
        return {}
    words, threshold = said[key]
    return {key: f"{words.format(value)} (tag above {threshold:g}, by chance {chance:.2f})"}


def _reason(words: str, value: float, threshold: float) -> str:
    return f"{words} {value:.2f} (tag above {threshold:g}"
