"""Loading any model of transformers, or of the code that comes with it."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import AutoModel, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from vtcd_hf_video.vjepa2 import vjepa21_explained
from vtcd_ops.adapters import InputError, floating_type, placed
from vtcd_ops.adapters.huggingface import load_pretrained, read_pretrained_config

__all__ = ["load_any"]


def load_any(
    source: str,
    device: str | torch.device,
    dtype: str | torch.dtype,
    *,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Return the model of a folder or Hub id, in evaluation mode, all of its weights in place.

    Raises:
        InputError: transformers has no such model, or the weights do not fit it.
    """
    if trust_remote_code:
        return _with_its_own_code(source, device, dtype)
    config = read_pretrained_config(source)
    model_type = config.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise InputError(
            f"auto: {source} is a model of type {str(model_type)[:80]!r}, which transformers "
            f"{transformers.__version__} does not have; a checkpoint that brings its own code runs "
            "it with trust_remote_code=true"
        )
    with vjepa21_explained(source, config):
        return load_pretrained(_class_of(config), source, device=device, dtype=dtype)


def _class_of(config: dict[str, Any]) -> type[Any]:
    """Return the class that a checkpoint was saved from, or the bare model of its type."""
    named = config.get("architectures") or [None]
    found = getattr(transformers, str(named[0]), None)
    if isinstance(found, type) and issubclass(found, PreTrainedModel):
        return found
    config_class = CONFIG_MAPPING[config["model_type"]]
    if config_class not in AutoModel._model_mapping:
        raise InputError(f"auto: transformers has no bare model of type {config['model_type']!r}")
    bare: Any = AutoModel._model_mapping[config_class]
    return bare


def _with_its_own_code(
    source: str, device: str | torch.device, dtype: str | torch.dtype
) -> PreTrainedModel:
    try:
        model, info = AutoModel.from_pretrained(
            source, trust_remote_code=True, dtype=floating_type(dtype), output_loading_info=True
        )
    except Exception as error:  # whatever that code raises
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"auto: {source} could not be loaded with its own code: {reason}"
        ) from error
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise InputError(f"auto: the weights in {source} lack {', '.join(missing[:3])}")
    placed(model.eval(), device)
    loaded: PreTrainedModel = model
    return loaded
