"""Hugging Face VideoMAE for vtcd_ops: classifiers, pre-trained models and a bundled miniature."""

from vtcd_hf_videomae.adapter import VideoMAEAdapter

__all__ = ["VideoMAEAdapter"]
