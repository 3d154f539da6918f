"""Concepts that something else found, stored as a run: k-means, a dictionary, an autoencoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.concepts import Factorisation
from vtcd_ops.discovery.identity import describe_model, library_versions, operator_library
from vtcd_ops.discovery.packed_tubelets import PackedTubelets
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.run_writer import RunWriter
from vtcd_ops.storage.documents import digest_json

Site = tuple[str, int]  # (part, layer)


def store_concepts(
    out: str | Path,
    videos: Run,
    supports: Mapping[Site, Sequence[np.ndarray]],
    centers: Mapping[Site, Sequence[np.ndarray]],
    *,
    method: str,
    model: Adapter | None = None,
) -> Run:
    """Store concepts that were found by any method, so that everything here works on them.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = vtcd_ops.discover(
    ...     example_adapter(), videos, out=f"{folder.name}/run", layers=[2], progress=False
    ... )
    >>> halves = np.repeat([0, 1], 16).reshape(1, 2, 4, 4).repeat(2, axis=0)  # [A, t, h, w]
    >>> stored = vtcd_ops.store_concepts(
    ...     f"{folder.name}/halves",
    ...     run,
    ...     supports={("keys", 2): [halves] * 3},
    ...     centers={("keys", 2): [np.eye(2, 8), np.eye(2, 8)]},
    ...     method="first and second half",
    ... )
    >>> stored.units().tolist()
    [[2, 0, 0], [2, 0, 1], [2, 1, 0], [2, 1, 1]]
    >>> folder.cleanup()

    Args:
        out: the run directory to make.
        videos: the run whose videos these are; records and previews are taken from it.
        supports: for each (part, layer) and video the concept of every voxel of every head,
            integers [A, T, H, W], -1 where there is none; any grid, the token grid for instance.
        centers: for each (part, layer) and head the concepts' vectors [K, C].
        method: what found them; kept in the settings.
        model: the model, where it is not that of ``videos``.

    Returns:
        The stored run. It has one tubelet for each concept and video. The same call goes on where a
        killed one stopped, or returns the run that is there.

    Raises:
        InputError: shapes that do not fit together, or a directory that cannot be used.
    """
    parts = list(dict.fromkeys(part for part, _ in supports))
    layers = sorted({layer for _, layer in supports})
    videos.expect_kept("store_concepts")
    heads = _check(videos, supports, centers, [(p, n) for p in parts for n in layers])
    document = {
        "kind": "stored",
        "settings": {
            "method": method,
            "videos": digest_json([asdict(record) for record in videos.videos]),
            "content": _content(supports, centers),
        },
        "model": videos.model if model is None else describe_model(model),
        "versions": library_versions(),
        "operators": operator_library(),
        "parts": parts,
        "layers": layers,
    }
    writer = RunWriter(Path(out), document)
    if writer.finished:
        return load(out)
    writer.log("started")
    try:
        with writer.claims.claim(0, wait=True):
            if not writer.finished:
                _write(writer, videos, supports, centers)
                writer.write_manifest(len(videos.videos))
                writer.finish(len(videos.videos), list(range(heads)))
    finally:
        writer.close()
    return load(out)


def _write(
    writer: RunWriter,
    videos: Run,
    supports: Mapping[Site, Sequence[np.ndarray]],
    centers: Mapping[Site, Sequence[np.ndarray]],
) -> None:
    """Store videos, tubelets and concepts; what was written before is written again the same."""
    for record in videos.videos:
        writer.write_clip(record, list(videos.preview(record.index)))
    for (part, layer), volumes in supports.items():
        vectors = [np.asarray(c, dtype=np.float32) for c in centers[part, layer]]
        sizes, sources = [], []
        for record, volume in zip(videos.videos, volumes, strict=True):
            packed, counts = _pack(np.asarray(volume), vectors)
            writer.write_tubelets(record, part, layer, packed)
            sources.append(writer.tubelets(record, part, layer)[1])
            sizes.append(counts)
        writer.write_concepts(part, layer, *_tables(sizes, vectors), sources)


def _content(
    supports: Mapping[Site, Sequence[np.ndarray]], centers: Mapping[Site, Sequence[np.ndarray]]
) -> str:
    """A hash of all that is stored, by which another call with the same name is told from it."""
    digest = hashlib.sha256()
    for site in sorted(supports):
        for kind, arrays in (("int64", supports[site]), ("float32", centers[site])):
            for array in arrays:
                plain = np.ascontiguousarray(array, dtype=kind)
                digest.update(f"{site} {kind} {plain.shape}".encode())
                digest.update(plain.data)
    return digest.hexdigest()


def _check(
    videos: Run,
    supports: Mapping[Site, Sequence[np.ndarray]],
    centers: Mapping[Site, Sequence[np.ndarray]],
    sites: list[Site],
) -> int:
    """Return the number of heads after checking that everything fits together."""
    heads = {len(centers.get(site, ())) for site in sites}
    if not sites or len(heads) != 1 or 0 in heads:
        raise InputError("store_concepts: centers expected the same heads for every part and layer")
    [num_heads] = heads
    for site in sites:
        volumes = supports.get(site, ())
        if len(volumes) != len(videos.videos):
            raise InputError(
                f"store_concepts: supports of {site} expected {len(videos.videos)} videos, "
                f"got {len(volumes)}"
            )
        for volume in map(np.asarray, volumes):
            if volume.ndim != 4 or len(volume) != num_heads or volume.dtype.kind not in "iu":
                raise InputError(
                    f"store_concepts: supports of {site} expected integers [{num_heads}, T, H, W], "
                    f"got {volume.dtype} {list(volume.shape)}"
                )
            for head, vectors in enumerate(centers[site]):
                low, high = int(volume[head].min()), int(volume[head].max())
                if low < -1 or high >= len(vectors):
                    raise InputError(
                        f"store_concepts: supports of {site}, head {head}, expected concepts from "
                        f"-1 to {len(vectors) - 1}, got {low} to {high}"
                    )
    return num_heads


def _pack(volume: np.ndarray, centers: list[np.ndarray]) -> tuple[PackedTubelets, np.ndarray]:
    """Pack the volumes [A, T, H, W] of all heads; also count the voxels [A, K] of each concept."""
    shape = tuple(int(length) for length in volume.shape[1:])
    packed = PackedTubelets(shape, shape)  # type: ignore[arg-type]  # three numbers, as checked
    most = max(len(vectors) for vectors in centers)
    counts = np.zeros((len(volume), most), dtype=np.int64)
    for head, vectors in enumerate(centers):
        present = volume[head][volume[head] >= 0]
        counts[head] = np.bincount(present, minlength=most)
        packed.add(volume[head].astype(np.int32), vectors, counts[head, : len(vectors)])
    return packed, counts


def _tables(
    sizes: list[np.ndarray], centers: list[np.ndarray]
) -> tuple[list[dict[str, np.ndarray]], list[Factorisation]]:
    """Concept tables in which each concept of each video is one tubelet of the concept alone."""
    members, found = [], []
    for head, vectors in enumerate(centers):
        counts = np.stack([video[head] for video in sizes])  # [V, K]
        video, concept = np.nonzero(counts)
        share = counts[video, concept] / counts.sum(axis=0)[concept]
        table = np.zeros((len(video), len(vectors)), dtype=np.float32)
        table[np.arange(len(video)), concept] = share
        members.append(
            {
                "video": video.astype(np.int32),
                "label": concept.astype(np.int32),
                "size": counts[video, concept],
            }
        )
        found.append(
            Factorisation(
                centers=vectors,
                concept=concept.astype(np.int32),
                encoding=(table > 0).astype(np.float32),
                weights=table,
                silhouettes=np.full(len(video), np.nan, dtype=np.float32),
                error=float("nan"),
                num_iter=0,
            )
        )
    return members, found
