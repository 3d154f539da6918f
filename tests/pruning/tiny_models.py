"""A tiny random model of every family whose heads can be taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import internvideo_models
import tcow_models
import torch
import transformers
from torch import Tensor, nn
from vtcd_hf_dinov2 import Dinov2Adapter
from vtcd_hf_video import TimesformerAdapter, VivitAdapter, VJEPA2Adapter
from vtcd_hf_videomae import VideoMAEAdapter
from vtcd_internvideo import InternVideo, InternVideoAdapter
from vtcd_tcow import TCOW, TCOWAdapter

from vtcd_ops.adapters import (
    AttentionAdapter,
    FrameTransform,
    ProjectionAdapter,
    Projections,
    open_attention,
)

SIZES: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_labels": 5,
}
COLOURS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def drawn(model: Any) -> Any:
    """Give every parameter a value of its own; some start at zero, which hides errors."""
    for name, parameter in sorted(model.named_parameters()):
        nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.15)
    return model.eval()


def videomae() -> AttentionAdapter:
    config = transformers.VideoMAEConfig(**SIZES)
    return VideoMAEAdapter(drawn(transformers.VideoMAEForVideoClassification(config)))


def videomae_pretraining() -> AttentionAdapter:
    config = transformers.VideoMAEConfig(
        **SIZES, decoder_num_hidden_layers=1, decoder_hidden_size=24, decoder_num_attention_heads=2
    )
    return VideoMAEAdapter(drawn(transformers.VideoMAEForPreTraining(config)))


def vivit() -> AttentionAdapter:
    sizes = {key: value for key, value in SIZES.items() if key != "patch_size"}
    config = transformers.VivitConfig(**sizes, tubelet_size=[2, 8, 8])
    return VivitAdapter(drawn(transformers.VivitForVideoClassification(config)))


def dinov2() -> AttentionAdapter:
    config = transformers.Dinov2Config(**SIZES)
    return Dinov2Adapter(drawn(transformers.Dinov2Model(config)), image_size=32)


def dinov2_registers() -> AttentionAdapter:
    config = transformers.Dinov2WithRegistersConfig(**SIZES, num_register_tokens=2)
    model = drawn(transformers.Dinov2WithRegistersForImageClassification(config))
    return Dinov2Adapter(model, image_size=32)


def dinov2_gated() -> AttentionAdapter:
    """With gated neurons, as the giant one has."""
    config = transformers.Dinov2Config(**SIZES, use_swiglu_ffn=True)
    return Dinov2Adapter(drawn(transformers.Dinov2Model(config)), image_size=32)


def vjepa2() -> AttentionAdapter:
    config = transformers.VJEPA2Config(
        crop_size=32, patch_size=8, frames_per_clip=4, hidden_size=96, num_hidden_layers=3,
        num_attention_heads=4, pred_hidden_size=48, pred_num_attention_heads=2,
        pred_num_hidden_layers=1, num_pooler_layers=1, num_labels=5,
    )  # fmt: skip
    return VJEPA2Adapter(drawn(transformers.VJEPA2ForVideoClassification(config)))


def timesformer(attention: str = "spatial", kind: str = "divided_space_time") -> AttentionAdapter:
    config = transformers.TimesformerConfig(**SIZES, attention_type=kind)
    model = drawn(transformers.TimesformerForVideoClassification(config))
    return TimesformerAdapter(model, attention=attention, preprocessor_config=COLOURS)


def tcow(attention: str = "spatial") -> AttentionAdapter:
    return TCOWAdapter(drawn(TCOW.from_config(tcow_models.SMALL)), attention=attention)


def internvideo() -> AttentionAdapter:
    model = InternVideo.from_config(internvideo_models.CASES["eight_frames"])
    return InternVideoAdapter(drawn(model))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv3d(3, 48, kernel_size=(2, 8, 8), stride=(2, 8, 8))
        layer = nn.TransformerEncoderLayer(48, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2)
        return self.encoder(tokens)


def opened() -> AttentionAdapter:
    """A model of nn.TransformerEncoder, opened."""
    model: Any = open_attention(drawn(_Encoder()))
    projections = [
        Projections(
            queries=block.self_attn.queries,
            keys=block.self_attn.keys,
            values=block.self_attn.values,
            outputs=block.self_attn.out_proj,
        )
        for block in model.encoder.layers
    ]
    return ProjectionAdapter(
        model,
        name="opened",
        projections=projections,
        num_heads=4,
        num_frames=4,
        tubelet_size=2,
        token_grid=(2, 4, 4),
        frames=FrameTransform(size=(32, 32)),
    )


FAMILIES: dict[str, Callable[[], AttentionAdapter]] = {
    "videomae": videomae,
    "videomae, pre-training": videomae_pretraining,
    "vivit": vivit,
    "dinov2": dinov2,
    "dinov2 with registers": dinov2_registers,
    "dinov2 with gated neurons": dinov2_gated,
    "vjepa2": vjepa2,
    "timesformer, spatial": timesformer,
    "timesformer, temporal": lambda: timesformer("temporal"),
    "timesformer, joint": lambda: timesformer(kind="joint_space_time"),
    "tcow, spatial": tcow,
    "tcow, temporal": lambda: tcow("temporal"),
    "internvideo": internvideo,
    "opened": opened,
}


def make(family: str) -> AttentionAdapter:
    """The same model for the same name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return FAMILIES[family]()


def clips_of(adapter: AttentionAdapter, batch: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """Random clips, and what the model needs beside them."""
    random = torch.Generator().manual_seed(3)
    frames = 2 if adapter.num_frames == 1 else adapter.num_frames
    clips = torch.randn(batch, frames, 3, *adapter.frames.size, generator=random)
    if "query_mask" not in adapter.sample_fields:
        return clips, {}
    query = torch.zeros(batch, 1, *clips.shape[1:2], *clips.shape[3:])
    query[:, :, 0, 8:20, 8:20] = 1
    return clips, {"query": query}
