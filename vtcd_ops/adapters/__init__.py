"""All that an adapter needs: its parts, its errors, samples and masks, the families installed.

What needs transformers is in `vtcd_ops.adapters.huggingface`; integrations import these two alone.
"""

from vtcd_ops.adapters.adapter import model_device
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.bundled import BundledModels
from vtcd_ops.adapters.check import check_adapter, output_difference, traces
from vtcd_ops.adapters.checkpoints import (
    check_shapes,
    load_strictly,
    read_checkpoint,
    read_saved,
)
from vtcd_ops.adapters.colours import CLIP_MEAN, CLIP_STD
from vtcd_ops.adapters.configs import check_sizes, read_config, shortened
from vtcd_ops.adapters.example import example_adapter
from vtcd_ops.adapters.heads import HeadModules, linear_heads
from vtcd_ops.adapters.layout import TokenLayout, TokenOrder
from vtcd_ops.adapters.multihead import open_attention
from vtcd_ops.adapters.neurons import NeuronModules
from vtcd_ops.adapters.options import check_attention, frame_transform
from vtcd_ops.adapters.projections import ProjectionAdapter, Projections
from vtcd_ops.adapters.registry import (
    AdapterInfo,
    families,
    list_adapters,
    load_model,
    register,
)
from vtcd_ops.adapters.weights import (
    floating_type,
    like_trained,
    placed,
    randomize_weights,
    weights_sha256,
)
from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.frames import IMAGENET_MEAN, IMAGENET_STD, FrameTransform
from vtcd_ops.video.masks import read_mask, read_masks
from vtcd_ops.video.samples import Sample

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AdapterInfo",
    "AttentionAdapter",
    "BundledModels",
    "FrameTransform",
    "HeadModules",
    "InputError",
    "InputWarning",
    "NeuronModules",
    "ProjectionAdapter",
    "Projections",
    "Sample",
    "TokenLayout",
    "TokenOrder",
    "VideoClip",
    "check_adapter",
    "check_attention",
    "check_shapes",
    "check_sizes",
    "example_adapter",
    "families",
    "floating_type",
    "frame_transform",
    "like_trained",
    "linear_heads",
    "list_adapters",
    "load_model",
    "load_strictly",
    "model_device",
    "open_attention",
    "output_difference",
    "placed",
    "randomize_weights",
    "read_checkpoint",
    "read_config",
    "read_mask",
    "read_masks",
    "read_saved",
    "register",
    "shortened",
    "traces",
    "weights_sha256",
]
