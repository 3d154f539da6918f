"""What a folder given as a sample holds: the frames of one video, videos, or folders of either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtcd_ops.common.errors import InputError, warn
from vtcd_ops.video.media_files import has_number, image_files, is_image, is_video, visible_entries
from vtcd_ops.video.sample import Sample

_DAVIS_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")


def samples_of_folder(folder: Path) -> Iterator[Sample]:
    """Yield the samples of a folder.

    - Images alone are the frames of one video.
    - Videos are one sample each; images beside them (covers) are left out, with a warning.
    - Folders of frames are one video each, those of DAVIS and YouTube-VOS (`JPEGImages`) with their
      masks; of folders of videos the folder's name is the label.

    Raises:
        InputError: it holds none of these, or videos and what looks like frames.
    """
    entries = visible_entries(folder)
    videos = [entry for entry in entries if is_video(entry) and entry.is_file()]
    images = [entry for entry in entries if is_image(entry) and entry.is_file()]
    if videos:
        _leave_out(folder, images, {video.stem for video in videos})
        yield from (Sample(str(video)) for video in videos)
    elif images:
        yield Sample(str(folder))
    elif (folder / "JPEGImages").is_dir():
        yield from _sequences(folder)
    else:
        yield from _of_subfolders(folder, [entry for entry in entries if entry.is_dir()])


def _leave_out(folder: Path, images: list[Path], videos: set[str]) -> None:
    """Say which images beside videos are left out, unless they may be what was meant."""
    frames = [image for image in images if has_number(image) and image.stem not in videos]
    if len(frames) > 1:
        raise InputError(
            f"the folder {folder} holds videos and numbered images ({frames[0].name}, ...), which "
            "may be frames: name the files that are meant, or keep frames in a folder of their own"
        )
    if images:
        names = ", ".join(image.name for image in images[:3]) + (", ..." if images[3:] else "")
        warn(f"{folder}: left out the images beside the videos ({names})")


def _frames_of(folder: Path) -> Path | None:
    """Where a folder keeps the frames of one video: itself, or `frames` in it."""
    for place in (folder, folder / "frames", folder / "images"):
        if place.is_dir() and image_files(place):
            return place
    return None


def _of_subfolders(folder: Path, subfolders: list[Path]) -> Iterator[Sample]:
    labels, neither, num_found = [], [], 0
    for subfolder in subfolders:
        videos = [entry for entry in visible_entries(subfolder) if is_video(entry)]
        if videos:
            labels.append(subfolder.name)
            yield from (Sample(str(video), label=subfolder.name) for video in videos)
        elif frames := _frames_of(subfolder):
            yield Sample(str(frames))
        else:
            neither.append(subfolder.name)
            continue
        num_found += 1
    if not num_found:
        where = ", nor do its folders: name those to look into" if subfolders else ""
        raise InputError(f"the folder {folder} holds neither frames nor videos{where}")
    if labels:
        warn(f"{folder}: took the names of its folders as labels: {', '.join(labels)}")
    if neither:
        warn(f"{folder}: left out {', '.join(neither)}, without frames or videos")


def _sequences(folder: Path) -> Iterator[Sample]:
    """The sequences of DAVIS or YouTube-VOS, each with the masks of the same name."""
    frames, masks = folder / "JPEGImages", folder / "Annotations"
    for resolution in _DAVIS_RESOLUTIONS:
        if (frames / resolution).is_dir():
            frames, masks = frames / resolution, masks / resolution
            break
    sequences = [entry for entry in visible_entries(frames) if entry.is_dir()]
    sequences = [entry for entry in sequences if image_files(entry)]
    if not sequences:
        raise InputError(f"the folder {folder} holds no sequence of frames in {frames}")
    for sequence in sequences:
        annotation = masks / sequence.name
        has_masks = annotation.is_dir() and bool(image_files(annotation))
        yield Sample(str(sequence), target_masks=str(annotation) if has_masks else None)
