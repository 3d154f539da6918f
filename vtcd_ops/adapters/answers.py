"""What a model answers, and what is known of the window of a video that it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.clips import VideoClip, Window
from vtcd_ops.video.samples import Sample

#: What `Adapter.predict` returns: tensors whose first axis is the batch.
Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Scored:
    """One window of a video whose answers are to be scored.

    Args:
        adapter: the model.
        sample: the video and what is known of it.
        clip: the frames of the video that the model looks at.
        window: which of them.
        outputs: the untouched model's answer, batch 1.
    """

    adapter: Adapter
    sample: Sample
    clip: VideoClip[Adapter]
    window: Window
    outputs: Outputs

    @property
    def frames(self) -> list[int]:
        """The window's frames, as indices into the video; the last is repeated at the end."""
        last = len(self.clip.indices) - 1
        steps = range(self.window.start, self.window.start + self.adapter.num_frames)
        return [self.clip.indices[min(step, last)] for step in steps]


def read_output(metric: str, outputs: Outputs, name: str, dim: int) -> Tensor:
    """What a metric reads of a model's answer."""
    if name not in outputs:
        raise InputError(
            f"metric {metric}: the model's answer expected to hold {name}, it holds "
            f"{', '.join(outputs) or 'nothing'}"
        )
    if outputs[name].dim() != dim:
        raise InputError(
            f"metric {metric}: {name} expected {dim} axes, got {list(outputs[name].shape)}"
        )
    return outputs[name]
