"""Hugging Face ViViT, V-JEPA 2 and TimeSformer for vtcd_ops."""

from vtcd_hf_video.timesformer import TimesformerAdapter
from vtcd_hf_video.vivit import VivitAdapter
from vtcd_hf_video.vjepa2 import VJEPA2Adapter

__all__ = ["TimesformerAdapter", "VJEPA2Adapter", "VivitAdapter"]
