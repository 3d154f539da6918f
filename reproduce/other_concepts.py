# SPDX-License-Identifier: MIT
"""Concepts found in plainer ways: what tubelets and convexity are compared with.

All take a run, and give each of its heads as many concepts as the run has there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import vtcd_ops
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.discovery.concepts import encode, paint
from vtcd_ops.ops import cnmf, kmeans
from vtcd_ops.video.clips import choose_clip
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

ACTIVE = 2  # latents of the sparse autoencoder that a token may use
_STEPS = 200
_BATCH = 1024
_RATE = 0.01

Tokens = dict[int, list[np.ndarray]]  # for each layer and video float32 [A, C, t, h, w]
Label = Callable[[Tensor, int], tuple[np.ndarray, np.ndarray]]  # labels and centres of a head
Counts = dict[tuple[int, int], int]  # concepts of each (layer, head)


def counts_of(run: vtcd_ops.Run) -> Counts:
    """Return how many concepts each head of a run has."""
    return {(n, head): run.concepts(n, head).k for n in run.layers for head in run.heads}


def tokens_of(run: vtcd_ops.Run, adapter: vtcd_ops.Adapter, samples: Sequence[Sample]) -> Tokens:
    """Return the keys of every token of a run's videos, of the frames that the run looked at."""
    found: Tokens = {layer: [] for layer in run.layers}
    for sample, record in zip(samples, run.videos, strict=True):
        settings = run.settings
        clip = choose_clip(
            adapter,
            open_video(sample.video),
            settings["num_frames"],
            settings["sampling_rate"],
            sample,
            max_memory=10**9,
        )
        if list(clip.indices) != list(record.frame_indices):
            raise ValueError(f"{sample.name}: other frames than those of {run.path}")
        keys = capture_video(clip, list(run.layers), ["keys"], list(run.heads))["keys"]
        for row, layer in enumerate(run.layers):
            found[layer].append(keys[row].numpy())
    return found


def by_kmeans(tokens: Tokens, counts: Counts, videos: vtcd_ops.Run, out: Path) -> vtcd_ops.Run:
    """Cluster the tokens of each head by k-means, without tubelets."""

    def label(rows: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = kmeans(rows, k, num_restarts=1)
        return found.labels.numpy(), found.centers.numpy()

    return _store(tokens, counts, videos, out, "k-means of tokens", label)


def by_autoencoder(tokens: Tokens, counts: Counts, videos: vtcd_ops.Run, out: Path) -> vtcd_ops.Run:
    """Train a TopK sparse autoencoder on the tokens of each head; a token's latent is its largest.

    As of Gao et al., "Scaling and evaluating sparse autoencoders" (2024), without its auxiliary
    loss; a token with no active latent has no concept.
    """

    def label(rows: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        model = train_autoencoder(rows, k)
        with torch.no_grad():
            largest, latent = model.encode(rows).max(dim=1)
        latent = torch.where(largest > 0, latent, -1)
        return latent.numpy(), model.decoder.weight.detach().T.numpy()

    return _store(tokens, counts, videos, out, "TopK sparse autoencoder", label)


class TopKAutoencoder(nn.Module):
    """A linear encoder of which the `active` largest latents are kept, and a linear decoder."""

    def __init__(self, channels: int, latents: int, active: int) -> None:
        super().__init__()
        self.active = min(active, latents)
        self.centre = nn.Parameter(torch.zeros(channels))
        self.encoder = nn.Linear(channels, latents)
        self.decoder = nn.Linear(latents, channels, bias=False)
        with torch.no_grad():
            self.encoder.weight.copy_(self.decoder.weight.T)
            self.encoder.bias.zero_()

    def encode(self, rows: Tensor) -> Tensor:
        """Return the latents [N, K], at most `active` of a row above 0."""
        latents = self.encoder(rows - self.centre).relu()
        kept = latents.topk(self.active, dim=1)
        return torch.zeros_like(latents).scatter(1, kept.indices, kept.values)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows [N, C] as the latents give them."""
        decoded: Tensor = self.decoder(self.encode(rows)) + self.centre
        return decoded


def train_autoencoder(rows: Tensor, latents: int, seed: int = 0) -> TopKAutoencoder:
    """Train an autoencoder on the rows of a head [N, C], by Adam."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TopKAutoencoder(rows.shape[1], latents, ACTIVE)
        scale = float((rows - rows.mean(dim=0)).pow(2).mean().sqrt()) or 1.0
        scaled = rows / scale
        with torch.no_grad():
            model.centre.copy_(scaled.mean(dim=0))
        optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
        for _ in range(_STEPS):
            some = scaled[torch.randint(len(scaled), (min(_BATCH, len(scaled)),))]
            loss = (model(some) - some).pow(2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():  # of the rows as they are: the latents scale with them
            model.centre.mul_(scale)
    return model.eval()


def by_crops(crops: vtcd_ops.Run, counts: Counts, out: Path) -> vtcd_ops.Run:
    """Factorise the random crops of a run into as many concepts as asked for."""
    supports, centers = {}, {}
    for layer in crops.layers:
        tubelets = [crops.tubelets(video, layer) for video in range(len(crops.videos))]
        volumes = [np.full((len(crops.heads), *one.grid), -1) for one in tubelets]
        found = []
        for row, head in enumerate(crops.heads):
            table = crops.concepts(layer, head)
            pairs = zip(table.video, table.label, strict=True)
            means = np.stack([tubelets[video].means[row, label] for video, label in pairs])
            k = min(counts[layer, head], len(means))
            vectors = cnmf(torch.from_numpy(means), k).centers.numpy()
            concept = encode(means, vectors).argmax(axis=1)
            for video, one in enumerate(tubelets):
                mine = table.video == video
                of_label = np.full(one.sizes.shape[1], -1)
                of_label[table.label[mine]] = concept[mine]
                painted = one.at_tokens(paint(one.labels(row), of_label))
                volumes[video][row] = painted.reshape(one.grid)
            found.append(vectors)
        supports["keys", layer], centers["keys", layer] = volumes, found
    return vtcd_ops.store_concepts(out, crops, supports, centers, method="random crops")


def at_tokens(run: vtcd_ops.Run, out: Path) -> vtcd_ops.Run:
    """Store the concepts of a run on the grid of its tokens, as the other ways have theirs."""
    supports, centers = {}, {}
    for layer in run.layers:
        grids = [run.tubelets(video, layer).grid for video in range(len(run.videos))]
        supports["keys", layer] = [
            run.tokens(video, layer).reshape(len(run.heads), *grid)
            for video, grid in enumerate(grids)
        ]
        centers["keys", layer] = [run.concepts(layer, head).centers for head in run.heads]
    return vtcd_ops.store_concepts(out, run, supports, centers, method="VTCD, at tokens")


def _store(
    tokens: Tokens, counts: Counts, videos: vtcd_ops.Run, out: Path, method: str, label: Label
) -> vtcd_ops.Run:
    """Label the tokens of every head, and store the labels as a run."""
    supports, centers = {}, {}
    for layer, features in tokens.items():
        grids = [one.shape[2:] for one in features]
        volumes = [np.full((len(videos.heads), *grid), -1) for grid in grids]
        found = []
        for row, head in enumerate(videos.heads):
            rows = np.concatenate([one[row].reshape(len(one[row]), -1).T for one in features])
            labels, vectors = label(torch.from_numpy(rows), counts[layer, head])
            ends = np.cumsum([int(np.prod(grid)) for grid in grids])
            for volume, part in zip(volumes, np.split(labels, ends[:-1]), strict=True):
                volume[row] = part.reshape(volume[row].shape)
            found.append(vectors)
        supports["keys", layer], centers["keys", layer] = volumes, found
    return vtcd_ops.store_concepts(out, videos, supports, centers, method=method)
