"""What is put in place of a concept that is removed: zeros, the mean, or another video's features.

Zeros are what the paper puts there (equations 4 and 5). A model may never have seen features of
zero, so that what it answers to them tells of the zeros as well; the mean feature of the head is
among what it knows, and features of another video are such as it has seen. With another video as
donor, removing a unit asks what of the answer the features at its tokens carried beyond what any
video has there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_one_of
from vtcd_ops.importance.ranked_videos import RankedVideo
from vtcd_ops.importance.units import Units

if TYPE_CHECKING:
    from vtcd_ops.adapters.adapter import Adapter
    from vtcd_ops.video.clips import VideoClip

__all__ = ["REPLACEMENTS", "StandIns", "check_replace", "placed_stand_ins", "replace_setting"]

#: The first is the paper's, and the default.
REPLACEMENTS = ("zero", "mean", "video")


def check_replace(replace: str, units: Units, videos: Sequence[RankedVideo]) -> None:
    """Raise where what is asked for cannot be put in place of the units.

    Raises:
        InputError: an unknown word, units of neurons, or no other video to take features from.
    """
    expect_one_of("rank", "replace", replace, REPLACEMENTS)
    if replace != "zero" and (units.table[:, 1] < 0).any():
        raise InputError(
            "rank: replace expected zero for units of neurons, which are removed at every "
            f"token, got {replace!r}"
        )
    if replace == "video" and len({video.sha256 for video in videos}) < 2:
        raise InputError(
            'rank: replace="video" takes features of another video: at least two different '
            f"videos expected, got {len(videos)}; rank more, or choose mean"
        )


def replace_setting(replace: str) -> dict[str, str]:
    """Return what scores depend on; nothing for zeros, which scores had before there was more."""
    return {} if replace == "zero" else {"replace": replace}


def donor_of(videos: Sequence[RankedVideo], index: int) -> int:
    """Return which video's features take the place of those of a video.

    The next in the list of another label, where there is one; else the next of other content.
    """
    own = videos[index]
    others = [(index + step) % len(videos) for step in range(1, len(videos))]
    others = [other for other in others if videos[other].sha256 != own.sha256]
    label = own.sample.label
    for other in others:
        if label is not None and videos[other].sample.label not in (None, label):
            return other
    return others[0]


#: Features of one window of a clip with nothing removed, [1, A, P + N, C] a layer.
Look = Callable[["VideoClip[Adapter]", int], Mapping[int, Tensor]]


class StandIns:
    """Features that are put in place of those that are removed.

    Args:
        kind: "mean" or "video".
        look: gives the features of a window.
        videos: those that are scored; the mean is over all of their tokens, head by head.
        num_prefix_tokens: P, which the mean leaves out.
    """

    def __init__(
        self, kind: str, look: Look, videos: Sequence[RankedVideo], num_prefix_tokens: int
    ) -> None:
        self._kind = kind
        self._look = look
        self._videos = videos
        self._prefix = num_prefix_tokens
        self._mean: dict[int, Tensor] | None = None

    def of(self, clip: VideoClip[Adapter], window: int) -> Mapping[int, Tensor]:
        """Return what takes the place of the features of a window: [1, A, P + N or 1, C] a layer.

        Args:
            clip: of one of the videos.
            window: number of the window in it; the donor's windows are taken in turn.
        """
        if self._kind == "mean":
            self._mean = self._mean or self._means()
            return self._mean
        [index] = [i for i, video in enumerate(self._videos) if video.clip is clip]
        donor = self._videos[donor_of(self._videos, index)].clip
        return self._look(donor, window % len(donor.windows))

    def _means(self) -> dict[int, Tensor]:
        """The mean feature of each head over all tokens that are no prefix tokens."""
        sums: dict[int, Tensor] = {}
        count: dict[int, int] = {}
        for video in self._videos:
            for window in range(len(video.clip.windows)):
                for layer, features in self._look(video.clip, window).items():
                    own = features[:, :, self._prefix :].double()
                    sums[layer] = sums.get(layer, 0) + own.sum(dim=2, keepdim=True)
                    count[layer] = count.get(layer, 0) + own.shape[2]
        return {layer: (total / count[layer]).float() for layer, total in sums.items()}


def placed_stand_ins(
    stand_ins: Mapping[int, Tensor], units: Mapping[int, Tensor], prefix: int
) -> dict[int, Tensor]:
    """Spread stand-ins over the tokens of a window: 0 where no unit is, and at prefix tokens.

    Args:
        stand_ins: [1, A, P + N or 1, C] a layer.
        units: of the tokens of each layer, int32 [1, A, N].
        prefix: P.

    Raises:
        InputError: the donor has another number of tokens.
    """
    found = {}
    for layer, of_tokens in units.items():
        own = stand_ins[layer]
        tokens = prefix + of_tokens.shape[2]
        if own.shape[2] not in (1, tokens):
            raise InputError(
                'replace="video" takes the features of another video at the same token: it has '
                f"{own.shape[2] - prefix} tokens where {tokens - prefix} are expected; choose mean"
            )
        held = torch.nn.functional.pad(of_tokens >= 0, (prefix, 0)).unsqueeze(-1)
        found[layer] = torch.where(held, own, torch.zeros((), device=own.device))
    return found
