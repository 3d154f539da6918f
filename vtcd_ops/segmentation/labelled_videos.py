"""Videos with masks on disk: DAVIS 2016 and 2017, YouTube-VOS, or plain folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.video.media_files import image_files, visible_entries
from vtcd_ops.vos_metrics.label_maps import read_split

__all__ = ["LabelledVideo", "find_labelled_videos"]

_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
_YEARS = ("2017", "2016", "480p")
_WHERE = (
    "expected JPEGImages and Annotations, as DAVIS has them (https://davischallenge.org), or "
    "VIDEO/frames and VIDEO/masks"
)


@dataclass(frozen=True)
class LabelledVideo:
    """A video as a folder of frames, and its masks.

    Args:
        name: of the sequence.
        frames: the folder of its frames.
        masks: the folder of its masks, of which the first frame's must be there.
    """

    name: str
    frames: Path
    masks: Path

    @property
    def frame_names(self) -> list[str]:
        """The names of its frames without their suffix, in order."""
        return [path.stem for path in image_files(self.frames)]

    @property
    def has_all_masks(self) -> bool:
        """Whether every frame has a mask."""
        return set(self.frame_names) <= {path.stem for path in image_files(self.masks)}

    def first_mask(self) -> Path:
        """Return the mask of the first frame.

        Raises:
            InputError: it is not there.
        """
        name = self.frame_names[0]
        for path in image_files(self.masks):
            if path.stem == name:
                return path
        raise InputError(f"{self.masks}: a mask of the first frame expected, {name}.png, got none")


def find_labelled_videos(
    folder: Path, split: str | None = None, names: Sequence[str] | None = None
) -> list[LabelledVideo]:
    """Return the videos of a folder, in the order of their names or of the split.

    Args:
        folder: of DAVIS or YouTube-VOS (`JPEGImages` and `Annotations`, with `480p` between or
            not), or of folders with `frames` and `masks` each.
        split: a list of DAVIS, such as "val"; `ImageSets/2017`, `2016` or `480p`, the first that
            has it.
        names: only these.

    Raises:
        InputError: there are none, or some that were asked for are missing.
    """
    found = {one.name: one for one in _every(folder)}
    if not found:
        raise InputError(f"the folder {folder} holds no videos with masks: {_WHERE}")
    wanted = list(found) if split is None else read_split(folder, split, _YEARS)
    if names is not None:
        wanted = list(names)
    if missing := [name for name in wanted if name not in found]:
        raise InputError(
            f"{folder} lacks {len(missing)} of {counted(len(wanted), 'sequence')}, such as "
            f"{missing[0]}, or their masks"
        )
    if not wanted:
        raise InputError(f"{folder}: sequences expected, got none")
    return [found[name] for name in wanted]


def holds_labelled_videos(folder: Path) -> bool:
    """Whether a folder is one of several videos with masks, not of one video's frames."""
    return (
        folder.is_dir() and not image_files(folder) and next(iter(_every(folder)), None) is not None
    )


def _every(folder: Path) -> list[LabelledVideo]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: {_WHERE}")
    frames, masks = folder / "JPEGImages", folder / "Annotations"
    if not frames.is_dir():
        pairs = [(one.name, one / "frames", one / "masks") for one in visible_entries(folder)]
    else:
        size = next((one for one in _RESOLUTIONS if (frames / one).is_dir()), "")
        pairs = [(one.name, one, masks / size / one.name) for one in visible_entries(frames / size)]
    return [
        LabelledVideo(name, its_frames, its_masks)
        for name, its_frames, its_masks in pairs
        if its_frames.is_dir() and its_masks.is_dir()
        and image_files(its_frames) and image_files(its_masks)
    ]  # fmt: skip
