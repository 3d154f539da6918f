"""Hugging Face VideoMAE for vtcd_ops: classifiers, pre-trained models and bundled miniatures."""

from vtcd_hf_videomae.adapter import VideoMAEAdapter
from vtcd_hf_videomae.checkpoint import from_checkpoint

__all__ = ["VideoMAEAdapter", "from_checkpoint"]
