"""InternVideo for vtcd_ops: the model, its tokenizer and its adapter."""

from vtcd_internvideo.adapter import InternVideoAdapter
from vtcd_internvideo.model import InternVideo
from vtcd_internvideo.tokenizer import Tokenizer

__all__ = ["InternVideo", "InternVideoAdapter", "Tokenizer"]
