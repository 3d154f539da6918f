"""Colours of concepts and of maps, and which ink can be read on them."""

from __future__ import annotations

#: Colours of concepts, found by annealing for the largest smallest difference (CIEDE2000) between
#: any two, to the normal eye and under each of the three dichromacies (Machado, Oliveira and
#: Fernandes 2009): 23.9, 19.2 (protanopia), 19.2 (deuteranopia) and 19.3 (tritanopia); Okabe and
#: Ito's eight have 21.7, 12.2, 11.6 and 10.8 with white for their black, which cannot be seen on
#: dimmed video. Concepts beyond the eighth take the colours again with a dashed outline; the
#: number is always written as well.
CONCEPTS = (
    "#99a2ff", "#defd33", "#f16d74", "#99ffcc", "#b102dd", "#f5e0fd", "#1d8013", "#766a7c",
)  # fmt: skip

#: Ramps of maps, the same in light and dark, so that digits on them can be computed.
RAMP = ("#eef2f8", "#b9cbe6", "#7b9fd0", "#3f6fb4", "#123f86")
DIVERGING = ("#8a3d04", "#d98a4a", "#f2f0ec", "#7b9fd0", "#123f86")

_DARK, _LIGHT = "#000000", "#ffffff"  # of any colour one of them has a contrast of 4.58


def luminance(colour: str) -> float:
    """Relative luminance of a colour, 0 to 1 (WCAG 2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21 (WCAG 2).

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def ink_on(colour: str) -> str:
    """Return the ink, black or white, that is read better on a colour.

    >>> ink_on("#123f86"), ink_on("#defd33")
    ('#ffffff', '#000000')
    """
    return max(_DARK, _LIGHT, key=lambda ink: contrast(ink, colour))
