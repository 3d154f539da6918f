"""The parts that adapters are made of, and the families that installed packages offer.

`huggingface` and `attention_interface` need transformers; the integrations alone import them.
"""

from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.check import check_adapter, output_difference, traces
from vtcd_ops.adapters.example import example_adapter
from vtcd_ops.adapters.layout import TokenLayout
from vtcd_ops.adapters.multihead import open_attention
from vtcd_ops.adapters.projections import ProjectionAdapter, Projections
from vtcd_ops.adapters.registry import AdapterInfo, families, list_adapters, load_model
from vtcd_ops.adapters.weights import randomize_weights, weights_sha256
from vtcd_ops.video.frames import FrameTransform

__all__ = [
    "AdapterInfo",
    "AttentionAdapter",
    "FrameTransform",
    "ProjectionAdapter",
    "Projections",
    "TokenLayout",
    "check_adapter",
    "example_adapter",
    "families",
    "list_adapters",
    "load_model",
    "open_attention",
    "output_difference",
    "randomize_weights",
    "traces",
    "weights_sha256",
]
