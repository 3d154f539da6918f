"""The concepts of a run in a new video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops.adapters.adapter import Adapter, heads_without_weights, model_device
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.common.accelerator import current
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.common.token_grid import token_voxels, volume_size
from vtcd_ops.discovery.concepts import encode, paint
from vtcd_ops.discovery.identity import expect_model
from vtcd_ops.discovery.sample_checks import ClipChoice
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.tubelets import Tubelets, find_tubelets, tubelet_device
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import as_samples

if TYPE_CHECKING:
    from vtcd_ops.discovery.run import Run


class Assignment:
    """The tubelets of one new video and the concepts of a run that they belong to.

    Has the methods of :class:`vtcd_ops.Run` that concern one video, without the video.
    """

    def __init__(
        self,
        run: Run,
        frame_indices: list[int],
        grid: tuple[int, int, int],
        tubelets: dict[tuple[str, int], Tubelets],
    ) -> None:
        self.run = run
        self.frame_indices = frame_indices  #: frames that the model looked at
        self.grid = grid  #: token grid (t, h, w)
        self._tubelets = tubelets
        self._concepts = {site: self._assign(*site) for site in tubelets}

    def labels(self, layer: int, part: str | None = None) -> np.ndarray:
        """Return the tubelet of every voxel, int32 [A, T, H, W]; -1: none."""
        return self._of(part, layer).labels.numpy()

    def support(self, layer: int, head: int, part: str | None = None) -> np.ndarray:
        """Return the concept of every voxel, int16 [T, H, W]; -1: none."""
        tubelets, row = self._of(part, layer), self._row(head)
        return paint(tubelets.labels[row].numpy(), self._concepts[self._part(part), layer][row])

    def tokens(self, layer: int, part: str | None = None) -> np.ndarray:
        """Return the concept of every token, int32 [A, t*h*w]; -1: none."""
        settings = self.run.settings
        size = volume_size(self.grid, self.run.model["tubelet_size"], settings["voxels_per_token"])
        voxels = np.ix_(*token_voxels(self.grid, size, len(self.frame_indices)))
        rows = [self.support(layer, head, part)[voxels].reshape(-1) for head in self.run.heads]
        return np.stack(rows).astype(np.int32)

    def _assign(self, part: str, layer: int) -> list[np.ndarray]:
        """For each head the concept of each tubelet label [S], -1 where there is no tubelet."""
        tubelets = self._tubelets[part, layer]
        concepts = []
        for row, head in enumerate(self.run.heads):
            centers = self.run.concepts(layer, head, part).centers
            if not len(centers):  # a head that was pruned
                concepts.append(np.full(tubelets.sizes.shape[1], -1))
                continue
            concept = encode(tubelets.means[row].numpy(), centers).argmax(axis=1)
            concepts.append(np.where(tubelets.sizes[row].numpy() > 0, concept, -1))
        return concepts

    def _part(self, part: str | None) -> str:
        """The part asked for, by default the run's first."""
        return self.run.parts[0] if part is None else part

    def _of(self, part: str | None, layer: int) -> Tubelets:
        part = self._part(part)
        if (part, layer) not in self._tubelets:
            raise InputError(f"assign: the run has no {part} of layer {layer}")
        return self._tubelets[part, layer]

    def _row(self, head: int) -> int:
        if head not in self.run.heads:
            raise InputError(f"assign: head expected one of {list(self.run.heads)}, got {head}")
        return self.run.heads.index(head)


def assign(
    run: Run,
    sample: Any,
    model: Adapter | str | None = None,
    *,
    device: str = "auto",
    max_memory: int | str = "1GB",
) -> Assignment:
    """Find the tubelets of a new video and give each the run's concept that composes it most.

    A tubelet is written as a non-negative combination of the head's concepts (equation 3 with the
    concepts fixed); the largest coefficient decides, also for runs with ``assign="weights"``, whose
    rule exists only for tubelets that the factorisation saw.

    Args:
        run: a finished run.
        sample: one video.
        model: the run's model; loaded by its name by default.
        device: as of :func:`vtcd_ops.discover`.
        max_memory: a video with frames so large that reading them takes more bytes is refused.

    Raises:
        InputError: the run's concepts were not discovered here, the model is not the run's, or the
            video cannot be used.
    """
    if run.kind != "discovery":
        raise InputError(
            f"{run.path}: its concepts were made elsewhere, so they cannot be assigned"
        )
    adapter = load_on("assign", run.model["name"] if model is None else model, device)
    expect_model("assign", adapter, run.model, run.path)
    [one] = as_samples(sample)
    settings = Settings.from_json(run.settings)
    clip = ClipChoice(adapter, settings, parse_bytes(max_memory))(one, open_video(one.video))
    with current(model_device(adapter.model)):
        grid, tubelets = _find(run, clip, settings)
    return Assignment(run, clip.indices, grid, tubelets)


def _find(
    run: Run, clip: VideoClip[Adapter], settings: Settings
) -> tuple[tuple[int, int, int], dict[tuple[str, int], Tubelets]]:
    """Find the tubelets of a video in every part and layer of a run."""
    adapter = clip.adapter
    where = tubelet_device(model_device(adapter.model), settings)
    tubelets: dict[tuple[str, int], Tubelets] = {}
    grid, gone = adapter.token_grid, heads_without_weights(adapter)
    for layer in run.layers:  # one at a time, to bound the memory
        features = capture_video(
            clip, [layer], run.parts, run.heads, batch_size=settings.batch_size, device=where
        )
        for part, joined in features.items():
            t, h, w = joined.shape[-3:]
            grid = (t, h, w)
            size = volume_size(grid, adapter.tubelet_size, settings.voxels_per_token)
            found = find_tubelets(
                joined[0],
                size,
                len(clip.indices),
                settings,
                compactness=run.compactness(layer, part),
                seeds=[
                    [settings.seed, 0, settings.parts.index(part), layer, head]
                    for head in run.heads
                ],
                present=[(layer, head) not in gone for head in run.heads],
            )
            tubelets[part, layer] = Tubelets(
                found.labels.cpu(), found.means.cpu(), found.sizes.cpu()
            )
    return grid, tubelets
