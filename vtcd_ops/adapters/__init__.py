"""All that an adapter needs: its parts, its errors, samples and masks, the families installed.

`huggingface` and `attention_interface` need transformers; the integrations alone import them.
"""

from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.check import check_adapter, output_difference, traces
from vtcd_ops.adapters.example import example_adapter
from vtcd_ops.adapters.heads import HeadModules, linear_heads
from vtcd_ops.adapters.layout import TokenLayout
from vtcd_ops.adapters.multihead import open_attention
from vtcd_ops.adapters.projections import ProjectionAdapter, Projections
from vtcd_ops.adapters.registry import AdapterInfo, families, list_adapters, load_model
from vtcd_ops.adapters.weights import randomize_weights, weights_sha256
from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.frames import IMAGENET_MEAN, IMAGENET_STD, FrameTransform
from vtcd_ops.video.masks import read_mask, read_masks
from vtcd_ops.video.samples import Sample

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AdapterInfo",
    "AttentionAdapter",
    "FrameTransform",
    "HeadModules",
    "InputError",
    "InputWarning",
    "ProjectionAdapter",
    "Projections",
    "Sample",
    "TokenLayout",
    "VideoClip",
    "check_adapter",
    "example_adapter",
    "families",
    "linear_heads",
    "list_adapters",
    "load_model",
    "open_attention",
    "output_difference",
    "randomize_weights",
    "read_mask",
    "read_masks",
    "traces",
    "weights_sha256",
]
