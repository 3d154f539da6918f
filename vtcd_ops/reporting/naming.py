"""Names for concepts that a text model suggests: words that fit their crops, not the others'."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vtcd_ops.adapters import CLIP_MEAN, CLIP_STD, FrameTransform, load_model
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_count
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.reporting.clips import rank_videos
from vtcd_ops.reporting.concept_names import Names

__all__ = ["Namer", "suggest_names"]

_FRAMES = 4  # of a clip, that a model of images looks at
_MARGIN = 0.1  # of the box around a concept, on each side
_GREY = 128  # what is outside of the concept fades half-way to it


class Namer(Protocol):
    """What a model must offer to name concepts.

    Attributes:
        name: how the report calls it.
        num_frames: frames of a clip that it looks at.
    """

    name: str
    num_frames: int

    def clip_features(self, frames: np.ndarray) -> Tensor:
        """Return the feature [D] of a clip, uint8 [num_frames, H, W, 3]."""
        ...

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return the features of texts, [n, D]."""
        ...


def suggest_names(
    run: Run | str | os.PathLike[str],
    namer: Namer | str | os.PathLike[str],
    words: Sequence[str] | str | os.PathLike[str] | None,
    *,
    clips: int = 3,
    device: str = "auto",
    progress: bool = True,
) -> Names:
    """Suggest a name for every concept: the words that fit it best against the rest of the run.

    Of each concept the best clips are cut to the box around it, what is outside of it faded. A
    word's fit is the mean cosine of its feature with those of the clips; its score how many
    standard deviations that lies above the mean of all other concepts of the run. Nobody has
    checked such a name, and where no word of the list fits, one is suggested nevertheless.

    >>> import tempfile
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> class Brightness:  # stands for a model of videos and texts
    ...     name, num_frames = "brightness", 1
    ...     def clip_features(self, frames):
    ...         return torch.tensor([frames.mean(), 255 - frames.mean()])
    ...     def text_features(self, texts):
    ...         return torch.tensor([[1.0, 0.0] if t == "bright" else [0.0, 1.0] for t in texts])
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = vtcd_ops.discover(example_adapter(), videos, out=folder, progress=False)
    ...     found = vtcd_ops.suggest_names(run, Brightness(), ["bright", "dark"], progress=False)
    >>> len(found) == len(run.units()), found["keys-L2-H1-C0"]["by"]
    (True, 'brightness')

    Args:
        run: a run of `discover`, or its directory.
        namer: a video-text model for :func:`vtcd_ops.load_model` ("internvideo:..."), a folder with
            a CLIP of transformers, or an object with the methods of :class:`.naming.Namer`.
        words: the texts to choose from, or a file with one a line.
        clips: of a concept, its best ones, each from another video.
        device: of the model.
        progress: show a progress bar.

    Returns:
        {"keys-L11-H2-C0": {"name": words, "by": the model, "score": number}, ...}, which
        ``report(names=...)`` shows as suggestions.

    Raises:
        InputError: fewer than two words, or a model that has no features of texts and videos.
    """
    expect_count("suggest_names", "clips", clips)
    opened = run if isinstance(run, Run) else load(Path(run))
    opened.expect_kept("suggest_names")
    texts = _read_words(words)
    model = open_namer(namer, device) if isinstance(namer, str | os.PathLike) else namer
    addresses, fits = [], []
    heads = [(p, n, h) for p in opened.parts for n in opened.layers for h in opened.heads]
    of_texts = _unit(model.text_features(texts))
    for part, layer, head in tqdm(heads, desc="names", unit="head", disable=not progress):
        concepts = opened.concepts(layer, head, part)
        for concept in range(concepts.k):
            clip_features = [
                model.clip_features(_crop(opened, part, layer, head, concept, video, model))
                for video in rank_videos(concepts, concept)[:clips]
            ]
            if clip_features:
                addresses.append(f"{part}-L{layer}-H{head}-C{concept}")
                fits.append((_unit(torch.stack(clip_features)) @ of_texts.T).mean(dim=0))
    if not fits:
        return {}
    scores = scores_against_rest(torch.stack(fits).double().cpu().numpy())
    return {
        address: {"name": texts[int(of.argmax())], "by": model.name, "score": float(of.max())}
        for address, of in zip(addresses, scores, strict=True)
    }


def scores_against_rest(fits: np.ndarray) -> np.ndarray:
    """Return by how many standard deviations each fit lies above the other concepts' mean.

    >>> scores_against_rest(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])).round(2).tolist()
    [[2.12, 0.0], [-1.06, 0.0], [-1.06, 0.0]]

    Args:
        fits: of concepts with words, float64 [U, W].

    Returns:
        float64 [U, W]; 0 where all concepts fit a word alike, or there is one concept.
    """
    count = len(fits)
    if count < 2:
        return np.zeros_like(fits)
    others = (fits.sum(axis=0) - fits) / (count - 1)
    spread = fits.std(axis=0)
    known = spread > 1e-9
    found: np.ndarray = np.where(known, fits - others, 0.0) / np.where(known, spread, 1.0)
    return found


def open_namer(namer: str | os.PathLike[str], device: str = "auto") -> Namer:
    """Return a model that names concepts, by its name or folder."""
    folder = Path(namer)
    if folder.is_dir() and _model_type(folder) == "clip":
        return _Clip(folder, device)
    return _VideoText(load_on("suggest_names", load_model(str(namer)), device))


def _model_type(folder: Path) -> str | None:
    from transformers import PretrainedConfig

    config, _ = PretrainedConfig.get_config_dict(folder, local_files_only=True)
    return config.get("model_type")


class _Clip:
    """A CLIP of transformers: of a few frames, the mean feature."""

    num_frames = _FRAMES

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoTokenizer, CLIPModel

        self.name = folder.name
        self._model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        place = "cuda" if device == "auto" and torch.cuda.is_available() else device
        self._device = torch.device("cpu" if place == "auto" else place)
        self._model.to(self._device)
        edge = self._model.config.vision_config.image_size
        self._transform = FrameTransform(size=(edge, edge), mean=CLIP_MEAN, std=CLIP_STD)

    @torch.no_grad()
    def clip_features(self, frames: np.ndarray) -> Tensor:
        pixels = self._transform(frames).to(self._device)
        return _unit(_tensor(self._model.get_image_features(pixel_values=pixels))).mean(dim=0)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        most = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt"
        ).to(self._device)
        return _tensor(self._model.get_text_features(**tokens))


class _VideoText:
    """An adapter of a video-text model."""

    def __init__(self, adapter: Any) -> None:
        if not hasattr(adapter, "text_features"):
            raise InputError(
                "suggest_names: namer expected a video-text model such as internvideo:..., or a "
                f"folder with CLIP, got {adapter.name}, which has no features of texts"
            )
        self._adapter = adapter
        self.name, self.num_frames = str(adapter.name), int(adapter.num_frames)

    @torch.no_grad()
    def clip_features(self, frames: np.ndarray) -> Tensor:
        clip = self._adapter.preprocess(frames)[None]
        device = next(self._adapter.model.parameters()).device
        features: Tensor = self._adapter.predict(clip.to(device))["video_features"][0]
        return features

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        features: Tensor = self._adapter.text_features(texts)
        return features


def _tensor(output: Any) -> Tensor:
    """Features, which transformers 5 returns inside of an output."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.float(), dim=-1)


def _read_words(words: Sequence[str] | str | os.PathLike[str] | None) -> list[str]:
    if isinstance(words, str | os.PathLike):
        try:
            words = Path(words).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"suggest_names: words expected a text file: {error}") from None
    found = list(dict.fromkeys(word.strip() for word in words or () if word.strip()))
    if len(found) < 2:
        raise InputError(f"suggest_names: words expected at least 2 texts, got {len(found)}")
    return found


def _crop(
    run: Run, part: str, layer: int, head: int, concept: int, video: int, namer: Namer
) -> np.ndarray:
    """What a concept is in a video, uint8 [num_frames, h, w, 3]: cut out, the rest faded."""
    inside = run.support(video, layer, head, part) == concept  # [T, H, W]
    preview = run.preview(video)
    present = np.flatnonzero(inside.any(axis=(1, 2)))
    steps = present[np.linspace(0, len(present) - 1, namer.num_frames).round().astype(int)]
    frames = preview[steps * len(preview) // len(inside)]
    height, width = frames.shape[1:3]
    rows = np.arange(height) * inside.shape[1] // height
    columns = np.arange(width) * inside.shape[2] // width
    mask = inside[steps][:, rows[:, None], columns]  # [n, h, w]
    if not mask.any():  # smaller than a pixel of the preview
        mask = np.ones_like(mask)
    faded = np.where(mask[..., None], frames, (frames.astype(np.int16) + _GREY) // 2)
    box = tuple(slice(*_span(mask.any(axis=axes))) for axes in ((0, 2), (0, 1)))
    return np.ascontiguousarray(faded[:, box[0], box[1]].astype(np.uint8))


def _span(present: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(present)
    first, last = int(places[0]), int(places[-1]) + 1
    margin = round(_MARGIN * (last - first))
    return max(first - margin, 0), min(last + margin, len(present))
