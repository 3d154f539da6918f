"""The adapter of any vision or video transformer whose layout could be worked out and proved."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor
from typing_extensions import Self

from vtcd_hf_video.auto.layers import grid_of, in_words, layers_of, side_by_side
from vtcd_hf_video.auto.loading import load_any
from vtcd_hf_video.auto.proof import prove
from vtcd_hf_video.auto.tower import Tower, find_tower, run
from vtcd_ops.adapters import (
    AttentionAdapter,
    FrameTransform,
    HeadModules,
    ProjectionAdapter,
    TokenLayout,
    TokenOrder,
    frame_transform,
)
from vtcd_ops.adapters.huggingface import (
    AttentionInterfaceAdapter,
    HuggingFaceMixin,
    classifier_attributes,
    read_preprocessor_config,
)

__all__ = ["AutoAdapter", "wrap"]

_COLOURS = ("image_mean", "image_std", "resample", "rescale_factor", "do_rescale", "do_normalize")


class _Auto(HuggingFaceMixin, AttentionAdapter):
    """What both adapters share: the model's arguments, the order of tokens, the answer's batch."""

    family = "auto"
    model_types = ()
    form: str
    orders: list[TokenOrder]
    skipped: dict[str, str]
    clips_innermost = False  # in the first axis of an answer that has other things in it too

    def layout_of(self, layer: int) -> TokenLayout | TokenOrder:
        """Return how a layer arranges its tokens."""
        return self.orders[layer]

    def identity(self) -> dict[str, Any]:
        """Return what features depend on: also how the tokens of every layer stand."""
        orders = [order.to_dict() for order in dict.fromkeys(self.orders)]
        which = [list(dict.fromkeys(self.orders)).index(order) for order in self.orders]
        return {**super().identity(), "orders": orders, "order_of_layer": which,
                "form": self.form}  # fmt: skip

    def layouts(self) -> list[str]:
        """Return how every layer arranges its tokens, in words."""
        return [in_words(order, self.token_grid) for order in self.orders]

    def of_layers(self, layers: Sequence[int]) -> Self:
        """Return the same adapter for some of its layers."""
        adapter = copy.copy(self)
        adapter.num_layers = len(layers)
        for names in ("orders", "_attention_names", "_module_names"):
            if hasattr(self, names):
                setattr(adapter, names, [getattr(self, names)[layer] for layer in layers])
        return adapter

    def head_modules(self, layer: int) -> HeadModules | None:
        """Return nothing: which settings of a model count its heads cannot be proved."""
        return None

    def grid_for(self, clips: Tensor) -> tuple[int, int, int]:
        """Return the token grid of clips [B, T, 3, H', W']; an image model takes any T."""
        if self.num_frames != 1:
            return super().grid_for(clips)
        _, h, w = super().grid_for(clips[:, :1])
        return int(clips.shape[1]), h, w

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Run the model on clips [B, T, 3, H', W'] and return whatever the model returns."""
        clips = self.to_model(clips)
        if self.num_frames == 1:  # [B, T, 3, H', W'] -> [B*T, 1, 3, H', W']
            clips = clips.flatten(0, 1).unsqueeze(1)
        return run(self.model, self.form, clips, **inputs)

    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the logits [B, classes] of a classifier, the mean over frames, or features."""
        [(name, answer)] = super().predict(clips, **inputs).items()
        if name == "logits" and answer.dim() == 3 and answer.shape[1] == 1:  # of one query
            answer = answer.squeeze(1)
        if len(answer) != len(clips):  # frames, or patches of all clips in one row
            sizes = (-1, len(clips)) if self.clips_innermost else (len(clips), -1)
            answer = answer.unflatten(0, sizes)
            answer = answer.transpose(0, 1) if self.clips_innermost else answer
            answer = answer.mean(dim=1) if name == "logits" else answer
        return {name: answer}

    @classmethod
    def from_name(  # type: ignore[override]  # the class depends on the model
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        num_frames: int | None = None,
        image_size: int | str | None = None,
        grid: str | None = None,
        trust_remote_code: bool = False,
    ) -> AttentionAdapter:
        """Load a folder or a Hub id, work out where its tokens stand, and prove it.

        Args:
            name: the folder or Hub id.
            device: where the model runs.
            dtype: of its weights and activations; features are captured in float32 in any case.
            num_frames: of a clip, where the configuration does not say or the model takes others.
            image_size: side of a frame, or ``"HEIGHTxWIDTH"``, in the same cases.
            grid: of a model whose layers have different token grids (Swin), the one whose layers
                are meant, ``"8x8"``.
            trust_remote_code: run code that comes with the checkpoint.

        Raises:
            InputError: nothing to load, or what about its attention could not be proved.
        """
        source = cls.locate(name)
        model = load_any(source, device, dtype, trust_remote_code=trust_remote_code)
        options: dict[str, Any] = {"num_frames": num_frames, "image_size": image_size, "grid": grid}
        return wrap(
            model,
            name=cls.full_name(name, dtype=dtype, **options, trust_remote_code=trust_remote_code),
            preprocessor_config=read_preprocessor_config(source),
            **options,
        )


class AutoAdapter(_Auto, AttentionInterfaceAdapter):
    """A model of transformers whose features are taken at its attention interface.

    Everything about it is worked out: what sees pixels, the frames and their size, the size of a
    patch, where the token of every patch stands in every layer; and `check_adapter` proves it.

    >>> from transformers import ViTConfig, ViTModel
    >>> config = ViTConfig(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2,
    ...     num_attention_heads=4, intermediate_size=64)
    >>> adapter = wrap(ViTModel(config, add_pooling_layer=False).eval())
    >>> adapter
    AutoAdapter('auto:ViTModel', 2 layers x 4 heads x 8 channels, 1x4x4 tokens)
    >>> adapter.layouts()[0]
    'tokens of h, w; 1 in front in every row'
    """


class AutoProjectionAdapter(_Auto, ProjectionAdapter):
    """A model of transformers whose features are taken at its projections.

    As `AutoAdapter`, for models that rotate or normalise queries and keys after the projections,
    or attend in pieces: what the attention interface sees is not what the heads' weights give.
    """


def wrap(
    model: transformers.PreTrainedModel,
    *,
    name: str | None = None,
    preprocessor_config: Mapping[str, Any] | None = None,
    num_frames: int | None = None,
    image_size: Any = None,
    grid: str | None = None,
) -> AttentionAdapter:
    """Return the adapter of any vision or video transformer of transformers, proved.

    Args:
        model: in evaluation mode; of a model of vision and language, its part that sees is taken.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; by default ImageNet's colours.
        num_frames, image_size, grid: see `AutoAdapter.from_name`.

    Raises:
        InputError: what about its attention could not be proved, and why.
    """
    name = name or f"auto:{type(model).__name__}"
    tower = find_tower(model, name, num_frames, image_size)
    height, width = tower.size
    shape = (1, tower.frames, 3, height, width)
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(2, *shape[1:], generator=generator)
    clips = clips.to(tower.model.device, tower.model.dtype)
    clips = clips.to(tower.model.device, tower.model.dtype)
    chosen, orders, box, skipped = layers_of(name, tower, clips[:1], grid)
    attributes: dict[str, Any] = {
        "name": name,
        "num_heads": chosen[0].heads,
        "head_dim": chosen[0].head_dim,
        "num_frames": tower.frames,
        "tubelet_size": box[0],
        "token_grid": grid_of(tower, box),
        "frames": _frames(name, preprocessor_config or {}, tower, image_size is not None),
        **classifier_attributes(tower.model),
    }
    adapter: AutoAdapter | AutoProjectionAdapter
    if all(each.as_given for each in chosen):
        attentions = [tower.model.get_submodule(each.name) for each in chosen]
        adapter = AutoAdapter(tower.model, attentions=attentions, **attributes)
    else:
        projections: Any = [each.projections for each in chosen]
        adapter = AutoProjectionAdapter(tower.model, projections=projections, **attributes)
    adapter.form, adapter.skipped = tower.form, skipped
    adapter.orders = side_by_side(name, tower, chosen, orders, clips, adapter.token_grid)
    adapter.num_prefix_tokens = len(orders[0].others) + adapter.orders[0].missing
    prove(adapter, [each.name for each in chosen], clips)
    return adapter


def _frames(
    name: str, preprocessor_config: Mapping[str, Any], tower: Tower, sized: bool
) -> FrameTransform:
    """Return what is done to frames: as configured, or at least in the colours configured."""
    if sized or tower.form == "merged patches":  # of which the configuration gives an area
        preprocessor_config = {
            key: preprocessor_config[key] for key in _COLOURS if key in preprocessor_config
        }
    return frame_transform(name, preprocessor_config, tower.size, shortest_edge=min(tower.size))
