"""The samples of a run, read again from where they were."""

from __future__ import annotations

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.video.samples import Sample


def own_samples(caller: str, run: Run) -> list[Sample]:
    """Return the samples of a run, from where they were.

    Args:
        caller: of whom an error speaks.
        run: the run.

    Raises:
        InputError: a video was an array.
    """
    for record in run.videos:
        if record.source is None:
            raise InputError(
                f"{caller}: video {record.name} of {run.path} was an array: give the samples again"
            )
    return [
        Sample(
            str(record.source),
            record.label,
            record.text,
            record.query_mask,
            record.target_masks,
            record.name,
        )
        for record in run.videos
    ]
