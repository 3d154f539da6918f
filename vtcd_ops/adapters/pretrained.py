"""What the adapters of Hugging Face models share: finding, loading and checking a checkpoint.

It needs transformers, so only `vtcd_ops.adapters.huggingface` imports it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig
from transformers.utils import logging
from transformers.utils.hub import cached_file
from typing_extensions import Self

from vtcd_ops.adapters.base import CLASSIFIER_METRICS
from vtcd_ops.adapters.bundled import BundledModels
from vtcd_ops.adapters.configs import check_sizes, read_config
from vtcd_ops.adapters.weights import floating_type, like_trained, placed
from vtcd_ops.common.errors import InputError, first_line
from vtcd_ops.video.frames import FrameTransform

# Ends of entries that say which code runs: of attention, on quantised weights, from the Hub.
_CODE = ("_implementation", "_implementation_internal", "quantization_config", "auto_map")

__all__ = [
    "HuggingFaceMixin",
    "classifier_attributes",
    "image_sides",
    "load_pretrained",
    "pretrained_class",
    "read_preprocessor_config",
    "read_pretrained_config",
    "tokens_of_patches",
]


class HuggingFaceMixin(BundledModels):
    """What adapters of Hugging Face models share: loading a checkpoint, and fresh weights.

    Attributes:
        classes: of transformers, by name, the first where a checkpoint does not say.
        optional_weights: last parts of the names of weights that may be missing or surplus.
    """

    classes: ClassVar[tuple[str, ...]]
    optional_weights: ClassVar[tuple[str, ...]] = ()
    model: Any

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
    ) -> Self:
        """Load a bundled model, a directory or a Hub id (owner/name).

        Args:
            name: of the model.
            device: where the model runs.
            dtype: of its weights and activations; features are captured in float32 in any case.

        Raises:
            InputError: nothing to load, or weights that do not fit.
        """
        return cls.load(name, device, dtype)

    @classmethod
    def load(
        cls, name: str, device: str | torch.device, dtype: str | torch.dtype, **options: Any
    ) -> Self:
        """Load a checkpoint and wrap it; `options` are those of the class, and of its name.

        Raises:
            InputError: nothing to load, or weights that do not fit.
        """
        source = cls.locate(name)
        model = load_pretrained(
            pretrained_class(source, cls.classes),
            source,
            device=device,
            dtype=dtype,
            optional=cls.optional_weights,
        )
        construct: Any = cls
        adapter: Self = construct(
            model,
            name=cls.full_name(name, dtype=dtype, **options),
            preprocessor_config=read_preprocessor_config(source),
            **options,
        )
        return adapter

    @classmethod
    def locate(cls, name: str) -> str:
        """Return the directory of a bundled model, a directory as it is, or a Hub id as it is.

        Raises:
            InputError: ``name`` is none of these.
        """
        if cls.bundled_root is not None and name in cls.bundled_models():
            return str(cls.bundled_root / name)
        if Path(name).is_dir():
            return name
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return name
        raise cls.not_found(name, "directory, no Hub id (owner/name)")

    def constructor_options(self) -> dict[str, Any]:
        """Return the options of the class that this adapter was made with, as JSON holds them."""
        return {}

    def saved_form(self) -> dict[str, Any]:
        """Return what `rebuild` needs: the model's configuration, and the adapter's options."""
        config = json.loads(self.model.config.to_json_string(use_diff=False))
        config = {key: value for key, value in config.items() if not key.endswith(_CODE)}
        config["architectures"] = [type(self.model).__name__]
        return {"config": config, "options": self.constructor_options()}

    @classmethod
    def rebuild(cls, config: dict[str, Any], options: dict[str, Any], folder: Path) -> Self:
        """Return the adapter of a model with this configuration, whose weights are yet to come.

        Raises:
            InputError: it is none of this family's.
        """
        [named] = config.get("architectures") or [None]
        if named not in cls.classes:
            raise InputError(
                f"load_model: {folder} expected to hold one of {', '.join(cls.classes)}, "
                f"got {str(named)[:80]}"
            )
        model_class: Any = getattr(transformers, named)
        try:
            model = model_class(model_class.config_class.from_dict(dict(config)))
        except Exception as error:  # transformers has many for a value that it cannot use
            words = " ".join(str(error).split())[:200]
            raise InputError(
                f"load_model: the model in {folder} cannot be built: {words}"
            ) from error
        model.set_attn_implementation("sdpa" if model_class._supports_sdpa else "eager")
        construct: Any = cls
        with warnings.catch_warnings():  # of colours that are not known; they are set after this
            warnings.simplefilter("ignore", UserWarning)
            adapter: Self = construct(model, **options)
        return adapter

    def untrained_model(self) -> nn.Module:
        """Return a model of the same class and configuration, as it is before training."""
        model = type(self.model)(copy.deepcopy(self.model.config))
        model.set_attn_implementation(self.model.config._attn_implementation)
        return like_trained(model, self.model)


def classifier_attributes(model: Any) -> dict[str, Any]:
    """Return metrics and class names of a model, for its adapter; nothing if it is no classifier.

    Names that transformers made up (LABEL_0, LABEL_1, ...) are none.
    """
    if not hasattr(model, "classifier") or not isinstance(model.config.id2label, dict):
        return {}
    names = tuple(str(name) for _, name in sorted(model.config.id2label.items()))
    made_up = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return {"metrics": CLASSIFIER_METRICS, "class_names": None if made_up else names}


def tokens_of_patches(
    model: Any, frames: FrameTransform, num_frames: int, patch: Sequence[int]
) -> dict[str, Any]:
    """Return what an adapter says of a model that cuts clips into patches of one size.

    Args:
        model: of transformers.
        frames: what is done to frames, which come out in the model's size.
        num_frames: of a clip.
        patch: frames, height and width of a patch.

    Returns:
        `AttentionAdapter`'s arguments for heads, frames, tokens, metrics and class names.
    """
    length, height, width = patch
    rows, columns = frames.size[0] // height, frames.size[1] // width
    return {
        "num_heads": model.config.num_attention_heads,
        "num_frames": num_frames,
        "tubelet_size": length,
        "token_grid": (num_frames // length, rows, columns),
        "frames": frames,
        **classifier_attributes(model),
    }


def image_sides(size: Any) -> tuple[int, int]:
    """Return (height, width) of a configuration's image or patch size, one number or two."""
    return (int(size[0]), int(size[1])) if hasattr(size, "__len__") else (int(size), int(size))


def pretrained_class(source: str, classes: Sequence[str]) -> type[Any]:
    """Return the class that a checkpoint was saved from; the first of ``classes`` if it says none.

    Raises:
        InputError: it is none of ``classes``, or there is no readable config.json.
    """
    named: Any = read_pretrained_config(source).get("architectures") or classes
    named = named[0] if isinstance(named, (list, tuple)) else named
    if named not in classes:
        raise InputError(
            f"load_model: {source} expected to hold one of {', '.join(classes)}, "
            f"got {str(named)[:80]}"
        )
    found: type[Any] = getattr(transformers, named)
    return found


def read_pretrained_config(source: str | Path) -> dict[str, Any]:
    """Read the config.json of a directory or Hub id, without what names code to run.

    Raises:
        InputError: there is none, or its sizes are larger than any model's or than its weights.
    """
    folder = Path(source)
    try:
        if folder.is_dir():
            config = read_config(folder / "config.json")
        else:
            config, _ = PreTrainedConfig.get_config_dict(source)
        check_sizes(config, f"{source}/config.json", weights=folder if folder.is_dir() else None)
    except (OSError, ValueError, RecursionError) as error:
        reason = first_line(error)
        raise InputError(f"load_model: no usable config.json at {source}: {reason}") from error
    return {key: value for key, value in config.items() if not key.endswith(_CODE)}


def load_pretrained(
    model_class: type[Any],
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = torch.float32,
    optional: Sequence[str] = (),
) -> Any:
    """Load a model from a directory or the Hub, in evaluation mode, and check that all fits.

    Nothing is loaded but safetensors or a checkpoint of tensors only.

    Args:
        model_class: of transformers.
        source: directory or Hub id.
        device: where the model goes.
        dtype: of the weights, whatever they are stored as; ``"bfloat16"`` or ``torch.bfloat16``.
        optional: last parts of the names of weights that may be missing or surplus.

    Raises:
        InputError: missing, surplus or misshapen weights, nothing to load, no such device or type.
    """
    dtype = floating_type(dtype)
    _check_shards(Path(source))
    try:
        with _quiet():
            model, info = model_class.from_pretrained(
                source,
                config=model_class.config_class.from_dict(read_pretrained_config(source)),
                attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
                dtype=dtype,
                output_loading_info=True,
            )
    except InputError:
        raise
    except Exception as error:  # a configuration can break a class in all sorts of ways
        raise InputError(
            f"load_model: {source} could not be loaded as {model_class.__name__}: "
            f"{first_line(error)}"
        ) from error
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        keys = sorted(map(str, info.get(problem, ())))
        keys = [key for key in keys if key.rsplit(".", 1)[-1] not in optional]
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise InputError(
                f"load_model: the weights in {source} do not fit {model_class.__name__}: "
                f"{problem.replace('_', ' ')} {', '.join(keys[:3])}{more}"
            )
    return placed(model.eval(), device)


def _check_shards(folder: Path) -> None:
    """Refuse a list of the files of the weights that names one of another folder."""
    for path in folder.glob("*.index.json") if folder.is_dir() else ():
        files = read_config(path).get("weight_map")
        for name in files.values() if isinstance(files, dict) else ():
            if not isinstance(name, str) or Path(name).name != name:
                raise InputError(f"load_model: {path} names a file outside of {folder}: {name}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a bar and a report: what does not fit is raised here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_preprocessor_config(source: str | Path) -> dict[str, Any]:
    """Read the preprocessor configuration beside a checkpoint; empty when there is none."""
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        try:
            found = cached_file(str(source), name, _raise_exceptions_for_missing_entries=False)
        except OSError:
            found = None
        if found is not None:
            return read_config(found)
    return {}
