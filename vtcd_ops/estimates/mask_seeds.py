"""The seed of a video's masks: every video is scored under masks of its own.

What masks of a ranking have in common by chance does not average out over videos that share them;
with masks of its own for every video it does. The seed of a video follows from the seed of the
ranking and the content of the video alone, so mask i of a video is the same whichever other videos
are ranked, in whatever order, and by whichever process.
"""

from __future__ import annotations

__all__ = ["mask_seed"]

_WORD = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mask_seed(seed: int, sha256: str) -> int:
    """Return the seed of a video's masks, 0 to 2**63 - 1, as `cris_sample` takes it.

    The first 64 bits of the video's hash, plus the seed times an odd constant, go through the
    finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64-bit words in which every
    bit moves every other; the last bit is dropped.

    >>> first_of_splitmix64_from_0 = 0xE220A8397B1DCDAF
    >>> mask_seed(0, "00" * 32), mask_seed(1, "00" * 32) == first_of_splitmix64_from_0 >> 1
    (0, True)

    Args:
        seed: of the ranking.
        sha256: of the video's content, hexadecimal.
    """
    word = (int(sha256[:16], 16) + seed * _GOLDEN) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return (word ^ (word >> 31)) >> 1
