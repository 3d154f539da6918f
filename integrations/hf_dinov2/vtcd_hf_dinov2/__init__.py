"""Hugging Face DINOv2 for vtcd_ops: an image transformer that sees a video frame by frame."""

from vtcd_hf_dinov2.adapter import Dinov2Adapter

__all__ = ["Dinov2Adapter"]
