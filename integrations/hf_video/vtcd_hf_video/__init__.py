"""Hugging Face ViViT, V-JEPA 2 and TimeSformer for vtcd_ops, and any other by working it out."""

from vtcd_hf_video.auto import AutoAdapter, wrap
from vtcd_hf_video.timesformer import TimesformerAdapter
from vtcd_hf_video.vivit import VivitAdapter
from vtcd_hf_video.vjepa2 import VJEPA2Adapter

__all__ = ["AutoAdapter", "TimesformerAdapter", "VJEPA2Adapter", "VivitAdapter", "wrap"]
