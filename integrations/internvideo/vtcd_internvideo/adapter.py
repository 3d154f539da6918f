"""The adapter for InternVideo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vtcd_internvideo.checkpoint import MODEL_TYPE
from vtcd_internvideo.model import InternVideo
from vtcd_internvideo.tokenizer import Tokenizer, write_merges
from vtcd_ops.adapters import (
    CLIP_MEAN,
    CLIP_STD,
    BundledModels,
    HeadModules,
    InputError,
    ProjectionAdapter,
    Projections,
    TokenLayout,
    floating_type,
    frame_transform,
    like_trained,
    placed,
    read_config,
)

__all__ = ["InternVideoAdapter"]

#: Where the vocabulary of the published models is found unless one is named.
PUBLISHED_VOCABULARY = "openai/clip-vit-base-patch16"


class InternVideoAdapter(BundledModels, ProjectionAdapter):
    """The visual tower of InternVideo: attention inside each frame, frames in the batch dimension.

    Every frame has its class token, so T prefix tokens stand in front. The queries are those of
    the projection, before the division by the root of the head's channels.

    >>> from vtcd_internvideo import InternVideo, InternVideoAdapter
    >>> InternVideoAdapter(InternVideo.from_config({
    ...     "visual": {"input_resolution": 32, "patch_size": 8, "width": 32, "layers": 2,
    ...                "heads": 4},
    ...     "text": {"embed_dim": 16, "context_length": 7, "vocab_size": 20,
    ...              "transformer_width": 16, "transformer_heads": 2, "transformer_layers": 1},
    ...     "t_size": 4}))
    InternVideoAdapter('internvideo', 2 layers x 4 heads x 8 channels, 4x4x4 tokens)

    Args:
        model: the model.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; by default upstream's: the shorter side to 256/224
            of the model's, the middle cut out, CLIP's colours.
        classes: for zero-shot classification, one or more texts for the name of each class.
    """

    family = "internvideo"
    model_types = (MODEL_TYPE,)
    bundled_root = Path(__file__).parent / "models"

    def __init__(
        self,
        model: InternVideo,
        *,
        name: str = "internvideo",
        preprocessor_config: Mapping[str, Any] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        visual = model.config.visual
        side, grid = visual.input_resolution, visual.grid_size
        frames = frame_transform(
            name,
            preprocessor_config,
            (side, side),
            shortest_edge=round(side * 256 / 224),
            mean=CLIP_MEAN,
            std=CLIP_STD,
        )
        super().__init__(
            model,
            projections=[_projections(block.attn) for block in model.visual.transformer.resblocks],
            name=name,
            num_heads=visual.heads,
            num_frames=model.config.t_size,
            tubelet_size=1,
            token_grid=(model.config.t_size, grid, grid),
            frames=frames,
            layout=TokenLayout("hw", "t", num_prefix_tokens=1),
            sampling_rate=(preprocessor_config or {}).get("sampling_rate"),
            metrics=("dot_product",) if classes is None else ("dot_product", "accuracy"),
            class_names=None if classes is None else tuple(classes),
        )
        self.classes = classes
        self._class_features: tuple[tuple[Any, ...], Tensor] | None = None

    def answer_identity(self) -> dict[str, Any]:
        """Return what answers depend on: also the texts of the classes."""
        texts = None
        if self.classes is not None:
            texts = {name: list(its_texts) for name, its_texts in self.classes.items()}
        return {**super().answer_identity(), "classes": texts}

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        t_size: int | None = None,
        vocabulary: str | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> InternVideoAdapter:
        """Load a bundled model, a folder, or a published checkpoint.

        Args:
            name: ``"mini"``, a folder with config.json and model.safetensors, or a file such as
                ``"InternVideo-MM-B-16.ckpt"``; see `InternVideo.from_checkpoint`.
            device: where the model runs.
            dtype: of its weights and activations; features are captured in float32 in any case.
            t_size: frames of a video, for a checkpoint that was trained on others than eight.
            vocabulary: see :meth:`vtcd_internvideo.Tokenizer.from_source`; by default the one
                beside the weights, else CLIP's from the Hub, once a text is given.
            classes: one or more texts for the name of each class.

        Raises:
            InputError: nothing to load, or weights that do not fit.
        """
        source = cls.locate_path(name)
        model = InternVideo.from_checkpoint(source, {} if t_size is None else {"t_size": t_size})
        placed(model.to(floating_type(dtype)), device)
        model.tokenizer = _tokenizer(model, source, vocabulary)
        options = {"t_size": t_size, "vocabulary": vocabulary, "classes": classes}
        if classes is None:
            classes = _beside(source, "classes.json")
        return cls(
            model,
            name=cls.full_name(name, dtype=dtype, **options),
            preprocessor_config=_beside(source, "preprocessor_config.json"),
            classes=classes,
        )

    def saved_form(self) -> dict[str, Any]:
        """Return what `rebuild` needs: the model's configuration, and the adapter's options."""
        classes = None
        if self.classes is not None:
            classes = {name: list(texts) for name, texts in self.classes.items()}
        return {"config": self._internvideo.config.to_dict(), "options": {"classes": classes}}

    def save_beside(self, folder: Path) -> list[str]:
        """Write the vocabulary beside the weights, if it is the model's own; return its name."""
        tokenizer = self._internvideo.tokenizer
        if not isinstance(tokenizer, Tokenizer):
            return []
        write_merges(folder / "merges.txt", tokenizer.merges)
        return ["merges.txt"]

    @classmethod
    def rebuild(
        cls, config: dict[str, Any], options: dict[str, Any], folder: Path
    ) -> InternVideoAdapter:
        """Return the adapter of a model with this configuration, whose weights are yet to come."""
        model = InternVideo.from_config(config)
        model.tokenizer = _tokenizer(model, folder, None)
        return cls(model, **options)

    def head_modules(self, layer: int) -> HeadModules:
        """Return where the heads of a layer are."""
        output = self._module_names[layer]["outputs"]
        attention = output.rpartition(".")[0]
        rows = ((f"{attention}.in_proj_weight", 3), (f"{attention}.in_proj_bias", 3))
        return HeadModules(attention, rows, output, ((f"{attention}.heads", 1),))

    def forward(self, clips: Tensor, **inputs: Tensor) -> Tensor:
        """Return the features of clips [B, T, 3, H', W'], [B, D], not normalised."""
        if inputs:
            raise InputError(f"{self.name}: expected clips alone, got {', '.join(inputs)} too")
        features: Tensor = self._internvideo.encode_video(self.to_model(clips).transpose(1, 2))
        return features

    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the model on clips [B, T, 3, H', W'].

        Returns:
            "video_features" [B, D] of length one; with classes, "logits" [B, classes] too: the
            scaled cosine with the mean text feature of each class.
        """
        features = functional.normalize(self.forward(clips, **inputs), dim=-1)
        if self.classes is None:
            return {"video_features": features}
        scale = self._internvideo.logit_scale.exp()
        logits = scale * features @ self.class_features().to(features).T
        return {"video_features": features, "logits": logits}

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return the features of texts, [n, D], of length one."""
        features: Tensor = self._internvideo.text_features(texts)
        return features

    @torch.no_grad()
    def class_features(self) -> Tensor:
        """Return the mean text feature of each class, [classes, D], of length one.

        Raises:
            InputError: no classes, or one without a text.
        """
        if self.classes is None:
            raise InputError(
                f"{self.name}: classes expected for zero-shot classification, got none"
            )
        empty = [
            name for name, texts in self.classes.items() if isinstance(texts, str) or not texts
        ]
        if empty:
            raise InputError(
                f"{self.name}: classes expected a list of texts for each name, got none for "
                f"{', '.join(empty)}"
            )
        # computed once for the weights as they are: they may be trained or replaced later
        text_side = [*self._internvideo.transformer.parameters(), self._internvideo.text_projection]
        state = (id(self.model), text_side[0].dtype, *(p._version for p in text_side))
        if self._class_features is None or self._class_features[0] != state:
            means = [self.text_features(list(texts)).mean(0) for texts in self.classes.values()]
            self._class_features = state, functional.normalize(torch.stack(means), dim=-1)
        return self._class_features[1]

    @property
    def _internvideo(self) -> InternVideo:
        return self.model

    def untrained_model(self) -> nn.Module:
        """Return a model of the same configuration, as it is before training."""
        trained = self._internvideo
        model = InternVideo(trained.config)
        model.tokenizer = trained.tokenizer
        return like_trained(model, trained)


def _projections(attention: Any) -> Projections:
    return Projections(
        queries=attention.queries,
        keys=attention.keys,
        values=attention.values,
        outputs=attention.out_proj,
    )


def _tokenizer(model: InternVideo, source: Path, vocabulary: str | None) -> Any:
    """The tokenizer that is named, the one beside the weights, or one fetched when it is needed."""
    text = model.config.text
    sizes = {"context_length": text.context_length, "vocab_size": text.vocab_size}
    if vocabulary is not None:
        return Tokenizer.from_source(vocabulary, **sizes)
    if (source / "merges.txt").is_file():
        return Tokenizer.from_source(source, **sizes)
    return _LazyTokenizer(sizes)


class _LazyTokenizer:
    """CLIP's published vocabulary, fetched from the Hub or its cache with the first text."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        self.tokenizer: Tokenizer | None = None

    def __call__(self, texts: Sequence[str]) -> Tensor:
        if self.tokenizer is None:
            self.tokenizer = Tokenizer.from_source(PUBLISHED_VOCABULARY, **self.sizes)
        return self.tokenizer(texts)


def _beside(source: Path, name: str) -> dict[str, Any] | None:
    """Read a JSON file of a folder; None when there is none."""
    path = source / name
    if not path.is_file():
        return None
    return read_config(path)
