"""To and from other packages: Captum, shapiq, sparse autoencoders, the Hugging Face Hub, COCO.

Nothing here imports them, but for the Hub's client where it is used: they meet in arrays, in
functions and in files.
"""

from vtcd_ops.bridges.attribution import attribution, feature_mask
from vtcd_ops.bridges.coco import export_coco
from vtcd_ops.bridges.compiled import masked_module, package_masked_model
from vtcd_ops.bridges.dictionaries import Dictionary, read_dictionary, store_dictionary
from vtcd_ops.bridges.game import Game, rank_with
from vtcd_ops.bridges.hub import from_pretrained, push_to_hub, save_pretrained

__all__ = [
    "Dictionary",
    "Game",
    "attribution",
    "export_coco",
    "feature_mask",
    "from_pretrained",
    "masked_module",
    "package_masked_model",
    "push_to_hub",
    "rank_with",
    "read_dictionary",
    "save_pretrained",
    "store_dictionary",
]
