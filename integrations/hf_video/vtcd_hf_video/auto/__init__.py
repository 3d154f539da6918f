"""Any vision or video transformer of transformers, its layout worked out and proved.

`tower` finds what sees pixels and how it takes them, `survey` where its attention is, `places`
where its tokens stand, `adapter` puts them together and proves the whole.
"""

from vtcd_hf_video.auto.adapter import AutoAdapter, wrap

__all__ = ["AutoAdapter", "wrap"]
