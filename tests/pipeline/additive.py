"""A model whose answer is a sum over tokens, so that what removing a unit does is known exactly."""

from __future__ import annotations

import numpy as np
import torch
from pipeline.videos import moving_square
from torch import Tensor, nn

from vtcd_ops import Sample
from vtcd_ops.adapters import FrameTransform, ProjectionAdapter, Projections
from vtcd_ops.adapters.capture import capture
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.importance import Importance


class AdditiveModel(nn.Module):
    """Two layers that both read the patches; every token attends to itself alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv3d(3, 16, kernel_size=(2, 8, 8), stride=(2, 8, 8))
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.proj = nn.ModuleList(nn.Linear(16, 3, bias=False) for _ in range(2))

    def forward(self, clips: Tensor) -> Tensor:  # [B, 4, 3, 32, 32] -> [B, 3]
        x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2)
        values = [qkv(x).chunk(3, dim=-1)[2] for qkv in self.qkv]
        return sum(  # type: ignore[return-value]
            proj(value).mean(dim=1) for proj, value in zip(self.proj, values, strict=True)
        )


def additive_adapter(kind: type[AdditiveModel] = AdditiveModel) -> ProjectionAdapter:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().eval()
    layers = zip(model.qkv, model.proj, strict=True)
    return ProjectionAdapter(
        model,
        name="additive",
        projections=[Projections(qkv=qkv, outputs=proj) for qkv, proj in layers],
        num_heads=2,
        num_frames=4,
        tubelet_size=2,
        token_grid=(2, 4, 4),
        frames=FrameTransform(size=(32, 32)),
        metrics=("logit", "probability", "accuracy"),
    )


def samples(num_videos: int = 4, num_frames: int = 4) -> list[Sample]:
    return [
        Sample(moving_square(num_frames, seed=seed), label=seed % 2) for seed in range(num_videos)
    ]


def true_effects(adapter: ProjectionAdapter, run: Run, importance: Importance) -> np.ndarray:
    """What each concept adds to the logit of each video's label, [V, U], NaN where it is not.

    From the captured values and the weights of the projections; the videos are one clip long.
    """
    effects = np.full((len(run.videos), len(importance.units)), np.nan)
    for record in run.videos:
        frames = moving_square(record.num_frames, seed=record.index)
        clip = adapter.preprocess(frames)[None]
        values = capture(adapter, clip, parts=("values",))["values"]  # [1, A, N, C] a layer
        for unit, (layer, head, concept) in enumerate(importance.units):
            tokens = run.tokens(record.index, layer, "values")[head] == concept
            if tokens.any():
                weight = adapter.model.proj[layer].weight[int(record.label or 0)].detach()
                of_token = values[int(layer)][0, head] @ weight[8 * head : 8 * head + 8]
                effects[record.index, unit] = float(of_token[tokens].sum()) / len(tokens)
    return effects
