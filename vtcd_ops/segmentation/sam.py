"""SAM of Hugging Face transformers as what refines masks."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vtcd_ops.common.accelerator import AUTO, choose_device
from vtcd_ops.common.errors import InputError, first_line
from vtcd_ops.segmentation.refinement import Box, Refine

__all__ = ["sam_refiner"]

_MEAN = (123.675, 116.28, 103.53)  # of ImageNet's colours, as SAM was trained
_STD = (58.395, 57.12, 57.375)


def sam_refiner(model: Any, *, device: str = AUTO) -> Refine:
    """Return what asks SAM for masks, for ``segment(..., refine=...)``.

    SAM (Kirillov et al. 2023) is asked three times for each object: by its box and points, by the
    box, and by the points; each time it answers with three masks.

    >>> from transformers import SamConfig, SamModel
    >>> vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    ...           "image_size": 64, "global_attn_indexes": [0], "num_pos_feats": 16,
    ...           "output_channels": 32}
    >>> config = SamConfig(
    ...     vision_config=vision, prompt_encoder_config={"hidden_size": 32, "image_size": 64},
    ...     mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 32})
    >>> refine = sam_refiner(SamModel(config))  # random weights
    >>> points = np.array([[20.0, 15.0], [22.0, 15.0], [20.0, 17.0]])
    >>> masks = refine(np.zeros((30, 40, 3), dtype=np.uint8), (10, 10, 30, 20), points)
    >>> masks.shape, masks.dtype
    (torch.Size([9, 30, 40]), torch.bool)

    Args:
        model: a `transformers.SamModel`, or what its `from_pretrained` takes: a folder, or a name
            on the Hub such as "facebook/sam-vit-base". torchvision is not needed.
        device: where it runs; "auto": "cuda" where torch sees one, but a model that is given stays
            where it is.

    Raises:
        InputError: transformers is missing, or there is no such model.
    """
    if isinstance(model, str | os.PathLike):
        return _Sam(_loaded(model).to(choose_device("sam_refiner", device)))
    if not hasattr(model, "prompt_encoder") or not hasattr(model, "mask_decoder"):
        raise InputError(
            "sam_refiner: model expected a transformers.SamModel, or a folder or name of one, got "
            f"{type(model).__name__}"
        )
    if device != AUTO:
        model = model.to(choose_device("sam_refiner", device))
    return _Sam(model.eval())


def _loaded(name: str | os.PathLike[str]) -> Any:
    try:
        from transformers import SamModel
    except ImportError:
        raise InputError(
            "sam_refiner needs transformers, which is not installed: "
            "pip install 'vtcd-ops[transformers]'"
        ) from None
    try:
        return SamModel.from_pretrained(os.fspath(name), use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"sam_refiner: {name} cannot be loaded: {first_line(error)}") from error


class _Sam:
    """A SAM and the embedding of the frame it saw last, which all objects of the frame share."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._side: int = model.config.vision_config.image_size
        self._frame = np.zeros(0, dtype=np.uint8)
        self._embedding: Tensor | None = None

    @torch.no_grad()
    def __call__(self, frame: np.ndarray, box: Box, points: np.ndarray) -> Tensor:
        embedding = self._embedding_of(frame)
        scale = self._side / max(frame.shape[:2])
        where = torch.from_numpy(points * scale).to(embedding)[None, None]  # [1, 1, P, 2]
        corners = torch.tensor(box).to(embedding)[None, None] * scale  # [1, 1, 4]
        labels = torch.ones(where.shape[:3], dtype=torch.int64, device=where.device)
        pointed = {"input_points": where, "input_labels": labels}
        asked: list[dict[str, Tensor]] = [
            {**pointed, "input_boxes": corners}, {"input_boxes": corners}, pointed
        ]  # fmt: skip
        found = [
            self._model(image_embeddings=embedding, multimask_output=True, **prompt).pred_masks
            for prompt in asked
        ]
        return self._at_frame(torch.cat(found, dim=2)[0, 0], frame.shape[:2]).cpu()

    def _embedding_of(self, frame: np.ndarray) -> Tensor:
        """SAM's picture of a frame: its longer side at full size, the rest black."""
        if self._embedding is not None and np.array_equal(self._frame, frame):
            return self._embedding
        parameter = next(self._model.parameters())
        pixels = torch.from_numpy(frame.copy()).to(parameter.device).movedim(-1, 0).float()
        size = self._inner(frame.shape[:2])
        shown = functional.interpolate(
            pixels[None], size, mode="bilinear", antialias=True, align_corners=False
        )
        mean, std = (pixels.new_tensor(one).reshape(3, 1, 1) for one in (_MEAN, _STD))
        padding = (0, self._side - size[1], 0, self._side - size[0])
        padded = functional.pad((shown - mean) / std, padding).to(parameter.dtype)
        self._embedding = self._model.get_image_embeddings(padded)
        self._frame = frame.copy()
        return self._embedding

    def _inner(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of a frame in SAM's square."""
        scale = self._side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

    def _at_frame(self, logits: Tensor, size: tuple[int, ...]) -> Tensor:
        """Masks of SAM's square [M, h, w] at the pixels of a frame, bool [M, H, W]."""
        inner = self._inner(size)
        square = functional.interpolate(
            logits[None].float(), (self._side, self._side), mode="bilinear", align_corners=False
        )
        seen = square[:, :, : inner[0], : inner[1]]
        return (
            functional.interpolate(seen, (size[0], size[1]), mode="bilinear", align_corners=False)[
                0
            ]
            > 0
        )
