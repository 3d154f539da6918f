"""InternVideo-MM: a contrastive video-text model, CLIP with a temporal decoder.

Wang et al., "InternVideo: General Video Foundation Models via Generative and Discriminative
Learning" (arXiv 2212.03191); the video side is UniFormerV2's (Li et al., arXiv 2211.09552) with
global blocks alone, the text side CLIP's (Radford et al., ICML 2021).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vtcd_internvideo.checkpoint import read_weights, write_weights
from vtcd_internvideo.config import InternVideoConfig, TextConfig
from vtcd_internvideo.towers import TextTransformer, VisualTower
from vtcd_ops.adapters import InputError, load_strictly

__all__ = ["InternVideo"]


class InternVideo(nn.Module):
    """Video and text features whose scaled cosine is the similarity.

    The names of the parameters are those of the published checkpoints.

    >>> config = {
    ...     "visual": {"input_resolution": 16, "patch_size": 8, "width": 12, "layers": 2,
    ...                "heads": 3, "return_list": [1], "n_layers": 1, "n_dim": 12, "n_head": 3},
    ...     "text": {"embed_dim": 6, "context_length": 7, "vocab_size": 20, "transformer_width": 8,
    ...              "transformer_heads": 2, "transformer_layers": 1},
    ...     "t_size": 4}
    >>> model = InternVideo.from_config(config).eval()
    >>> video = torch.rand(5, 3, 4, 16, 16)        # [B, 3, T, H, W]
    >>> tokens = torch.randint(20, (2, 7))         # [n, context_length]
    >>> model.encode_video(video).shape, model.encode_text(tokens).shape
    (torch.Size([5, 6]), torch.Size([2, 6]))
    >>> model(video, tokens).shape                 # similarity
    torch.Size([5, 2])

    Args:
        config: the sizes; see `from_config` for a dictionary.

    Attributes:
        tokenizer: turns a list of texts into tokens [n, context_length]; None where none is known,
            and then texts must come as tokens.
    """

    def __init__(self, config: InternVideoConfig) -> None:
        super().__init__()
        text, width = config.text, config.visual.n_dim
        self.config = config
        self.tokenizer: Callable[[Sequence[str]], Tensor] | None = None
        self.visual = VisualTower(config.visual, config.t_size)
        self.visual_ln_post = nn.LayerNorm(width)
        self.visual_proj = nn.Parameter(width**-0.5 * torch.randn(width, text.embed_dim))
        self.transformer = TextTransformer(
            text.transformer_width, text.transformer_layers, text.transformer_heads
        )
        self.token_embedding = nn.Embedding(text.vocab_size, text.transformer_width)
        self.positional_embedding = nn.Parameter(
            torch.empty(text.context_length, text.transformer_width)
        )
        self.ln_final = nn.LayerNorm(text.transformer_width)
        self.text_projection = nn.Parameter(torch.empty(text.transformer_width, text.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        # Of upstream's masked language modelling: published, and used by no feature.
        self.text_mask_embedding = nn.Parameter(torch.empty(1, 1, text.transformer_width))
        self._draw_text_weights(text)
        if config.initializer_range is not None:
            self._draw_matrices(config.initializer_range)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InternVideo:
        """Build a model with the weights that training starts from.

        Args:
            config: `{"visual": {...}, "text": {...}, "t_size": 8}` with upstream's names; see
                `VisualConfig` and `TextConfig`.

        Raises:
            InputError: an entry that is missing, unknown or no possible size.
        """
        return cls(InternVideoConfig.from_dict(config))

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str], config: Mapping[str, Any] | None = None
    ) -> InternVideo:
        """Load a published checkpoint, a state dict, or a folder of this package's own format.

        The sizes are read off the weights: those of B/16 and L/14 as published, heads of 64
        channels, the decoder behind the last layers, eight frames. What the weights cannot tell,
        `config` does. A folder holds `config.json` and `model.safetensors`.

        Args:
            path: file or folder.
            config: entries that differ, for example `{"t_size": 16}` or `{"visual": {"heads": 4}}`.

        Returns:
            The model, float32, in evaluation mode.

        Raises:
            InputError: a pickle that needs more than tensors; missing, surplus or misshapen keys.
        """
        state, sizes, source = read_weights(path)
        return cls.from_weights(state, sizes, config or {}, source)

    @classmethod
    def from_weights(
        cls,
        state: Mapping[str, Tensor],
        config: Mapping[str, Any],
        changes: Mapping[str, Any],
        source: Path,
    ) -> InternVideo:
        """Return the model of a configuration with some entries changed, and these weights.

        Args:
            state: all weights.
            config: what :meth:`from_config` takes.
            changes: entries that differ.
            source: where the weights come from, for errors.

        Raises:
            InputError: missing, surplus or misshapen keys.
        """
        config = dict(config)
        for name, value in changes.items():
            nested = isinstance(value, Mapping) and isinstance(config.get(name), dict)
            config[name] = {**config[name], **value} if nested else value
        with torch.device("meta"):  # nothing is drawn that the weights replace
            model = cls.from_config(config)
        load_strictly(model, state, source)
        return model.eval()

    def save(self, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Write the model as `config.json` and `model.safetensors`, for :meth:`from_checkpoint`.

        Args:
            folder: made if it is not there.
            dtype: of the weights in the file, for example `torch.float16`; as they are by default.
        """
        write_weights(folder, self.state_dict(), self.config.to_dict(), dtype)

    def encode_video(self, video: Tensor) -> Tensor:
        """Return the features of videos, [B, embed_dim], not normalised.

        Args:
            video: [B, 3, T, H, W], normalised with CLIP's mean and deviation.

        Raises:
            InputError: another number of frames or another size than the model was built for.
        """
        side = self.config.visual.input_resolution
        expected = (3, self.config.t_size, side, side)
        if video.dim() != 5 or tuple(video.shape[1:]) != expected:
            sizes = ", ".join(map(str, expected))
            raise InputError(
                f"encode_video: video expected [B, 3, T, H, W] = [B, {sizes}], the frames and the "
                f"size that the model was built for, got {list(video.shape)}"
            )
        features: Tensor = self.visual_ln_post(self.visual(video)) @ self.visual_proj
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return the features of texts, [n, embed_dim], not normalised.

        Args:
            tokens: [n, context_length] integers, padded with zeros; the end of the text, whose
                token has the highest number of all, is where the feature is taken.

        Raises:
            InputError: tokens of another shape or type, or outside the vocabulary.
        """
        text = self.config.text
        if tokens.dim() != 2 or tokens.shape[1] != text.context_length:
            raise InputError(
                f"encode_text: tokens expected [n, {text.context_length}], got {list(tokens.shape)}"
            )
        if tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise InputError(f"encode_text: tokens expected integers, got {tokens.dtype}")
        if len(tokens) and not (int(tokens.min()) >= 0 and int(tokens.max()) < text.vocab_size):
            raise InputError(
                f"encode_text: tokens expected 0 to {text.vocab_size - 1}, "
                f"got {int(tokens.min())} to {int(tokens.max())}"
            )
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x))
        last = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
        features: Tensor = last @ self.text_projection
        return features

    def forward(self, video: Tensor, tokens: Tensor) -> Tensor:
        """Return the similarity of every video with every text, [B, n]: the scaled cosine."""
        return self.logit_scale.exp() * self.score(video, tokens)

    def score(self, video: Tensor, text: Tensor | str | Sequence[str]) -> Tensor:
        """Return the dot products of normalised video and text features, [B, n].

        Args:
            video: [B, 3, T, H, W].
            text: tokens [n, context_length], or texts if the model has a tokenizer.
        """
        return self.video_features(video) @ self.text_features(text).T

    def classify(self, video: Tensor, names: Sequence[str]) -> Tensor:
        """Return the probabilities of class names, [B, n], without training for them.

        Args:
            video: [B, 3, T, H, W].
            names: one text a class, a name or a sentence with it.
        """
        return (self.logit_scale.exp() * self.score(video, names)).softmax(dim=-1)

    def video_features(self, video: Tensor) -> Tensor:  # [B, 3, T, H, W] -> [B, D]
        """Return the features of videos, of length one."""
        return functional.normalize(self.encode_video(video), dim=-1)

    def text_features(self, text: Tensor | str | Sequence[str]) -> Tensor:
        """Return the features of texts, of length one, [n, D].

        Raises:
            InputError: texts for a model without a tokenizer, or none.
        """
        if not isinstance(text, Tensor):
            texts = [text] if isinstance(text, str) else list(text)
            if self.tokenizer is None:
                raise InputError(
                    "text_features: text expected tokens, since the model has no tokenizer, got "
                    "texts; vtcd_internvideo.Tokenizer.from_source makes one"
                )
            text = self.tokenizer(texts)
        tokens = text.to(self.token_embedding.weight.device)
        return functional.normalize(self.encode_text(tokens), dim=-1)

    def _draw_text_weights(self, text: TextConfig) -> None:
        """Draw the weights of the text side as CLIP does."""
        width = text.transformer_width
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_mask_embedding, std=0.02)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        into_residual = width**-0.5 * (2 * text.transformer_layers) ** -0.5
        spreads = {
            "in_proj_weight": width**-0.5,
            "out_proj.weight": into_residual,
            "c_fc.weight": (2 * width) ** -0.5,
            "c_proj.weight": into_residual,
        }
        for name, parameter in self.transformer.named_parameters():
            for ending, spread in spreads.items():
                if name.endswith(ending):
                    nn.init.normal_(parameter, std=spread)

    def _draw_matrices(self, spread: float) -> None:
        """Draw every matrix of the blocks from one normal distribution, as small models need."""
        for name, parameter in self.named_parameters():
            if ("blocks." in name or ".dec." in name) and parameter.dim() == 2:
                nn.init.normal_(parameter, std=spread)
