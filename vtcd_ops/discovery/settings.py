"""The settings of a discovery, checked and as they are stored in the run."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, SupportsFloat

from vtcd_ops.adapters.adapter import PARTS
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect, expect_count, expect_one_of, is_real, is_whole

PROPOSALS = ("slic", "random_crops")
CRITERIA = ("elbow", "elbow_released", "silhouette", "elbow_silhouette")
ASSIGNMENTS = ("encoding", "weights")
_PLAIN = (
    "num_frames", "sampling_rate", "n_segments", "compactness", "voxels_per_token", "min_tubelet",
    "threshold", "batch_size", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Everything that a discovery's result depends on, beside the model and the videos.

    >>> Settings(compactness=0.15).n_segments
    12

    Args:
        parts: of "queries", "keys", "values", "outputs".
        layers: layers to look at, from 0, or from the last, -1; None: all.
        heads: heads to look at, from 0, or from the last, -1; None: all.
        num_frames: frames of each video, or "all"; None: one clip of the model.
        sampling_rate: step in frames; None: the model's own, else evenly spaced over the video.
        proposals: "slic", or "random_crops", the paper's baseline.
        n_segments: tubelets asked of SLIC in one video (or crops drawn).
        compactness: weight of space and time against features in SLIC; "auto": for each layer
            chosen from the first videos, see :func:`vtcd_ops.choose_compactness`.
        voxels_per_token: edge of a token in voxels of the SLIC grid, in space; in time a voxel is
            a frame.
        min_tubelet: tubelets below this fraction of the volume are dropped.
        criterion: how the number of concepts is chosen, see :func:`vtcd_ops.choose_num_concepts`.
        threshold: of the elbow criteria.
        assign: a tubelet belongs to the concept of its largest "encoding" (equation 3), or, as in
            the code released with the paper, largest entry of the "weights".
        batch_size: windows in one forward of the model.
        seed: of everything drawn at random.
    """

    parts: Sequence[str] = ("keys",)
    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    num_frames: int | str | None = None
    sampling_rate: int | None = None
    proposals: str = "slic"
    n_segments: int = 12
    compactness: float | str = 0.1
    voxels_per_token: int = 8
    min_tubelet: float = 0.001
    criterion: str = "elbow"
    threshold: float = 0.9
    assign: str = "encoding"
    batch_size: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        parts = (self.parts,) if isinstance(self.parts, str) else tuple(self.parts)
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "layers", _numbers("layers", self.layers))
        object.__setattr__(self, "heads", _numbers("heads", self.heads))
        for name in _PLAIN:
            object.__setattr__(self, name, _plain(getattr(self, name)))
        for part in self.parts:
            expect_one_of("discover", "parts", part, PARTS)
        some = "at least one of " + ", ".join(PARTS)
        expect(len(parts) > 0, "discover", "parts", some, self.parts)
        expect(len(set(parts)) == len(parts), "discover", "parts", "each part once", list(parts))
        expect_one_of("discover", "proposals", self.proposals, PROPOSALS)
        expect_one_of("discover", "criterion", self.criterion, CRITERIA)
        expect_one_of("discover", "assign", self.assign, ASSIGNMENTS)
        for name in ("n_segments", "voxels_per_token", "batch_size"):
            expect_count("discover", name, getattr(self, name))
        if self.num_frames is not None and self.num_frames != "all":
            expect_count("discover", "num_frames", self.num_frames, or_else=' or "all"')
        if self.sampling_rate is not None:
            expect_count("discover", "sampling_rate", self.sampling_rate)
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Raise at the first number that is out of range."""
        valid = self.compactness == "auto" or is_real(self.compactness, 0)
        expect(valid, "discover", "compactness", 'a positive number or "auto"', self.compactness)
        inside = is_real(self.threshold, 0) and self.threshold <= 1
        expect(inside, "discover", "threshold", "a number in (0, 1]", self.threshold)
        inside = is_real(self.min_tubelet, -1) and 0 <= self.min_tubelet < 1
        expect(inside, "discover", "min_tubelet", "a fraction in [0, 1)", self.min_tubelet)
        inside = is_whole(self.seed) and 0 <= self.seed < 2**63
        expect(inside, "discover", "seed", "a whole number from 0 to 2**63 - 1", self.seed)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """Return the settings that :meth:`as_json` gave."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)


def _numbers(name: str, values: Sequence[int] | None) -> tuple[int, ...] | None:
    try:
        return None if values is None else tuple(operator.index(value) for value in values)
    except TypeError:
        raise InputError(f"discover: {name} expected whole numbers, got {values!r}") from None


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as JSON can hold it; everything else as it is."""
    if isinstance(value, bool | int | float | str) or value is None:
        return float(value) if type(value) is not float and isinstance(value, float) else value
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, SupportsFloat) else value
