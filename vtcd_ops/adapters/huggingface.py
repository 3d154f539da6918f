"""All that an integration of Hugging Face models needs beside `vtcd_ops.adapters`.

Only the integrations import this module; it needs transformers.
"""

from vtcd_ops.adapters.attention_interface import (
    AttentionInterfaceAdapter,
    attention_layers,
    listening,
)
from vtcd_ops.adapters.pretrained import (
    HuggingFaceMixin,
    classifier_attributes,
    image_sides,
    load_pretrained,
    pretrained_class,
    read_preprocessor_config,
    read_pretrained_config,
    tokens_of_patches,
)

__all__ = [
    "AttentionInterfaceAdapter",
    "HuggingFaceMixin",
    "attention_layers",
    "classifier_attributes",
    "image_sides",
    "listening",
    "load_pretrained",
    "pretrained_class",
    "read_preprocessor_config",
    "read_pretrained_config",
    "tokens_of_patches",
]
