"""What the cards of the concepts show: matches, neighbours, profiles, what a video loses."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.per_video import costs_per_video
from vtcd_ops.reporting.measured_videos import measured_videos
from vtcd_ops.reporting.overlaps import Overlaps, overlaps
from vtcd_ops.reporting.profiles import head_profiles
from vtcd_ops.reporting.quantities import BEYOND, OVERLAP, PLACE
from vtcd_ops.reporting.shown import Details, Head, Match, ShownRun
from vtcd_ops.reporting.tags import profile_tags

_LEAST_RATIO = 0.1  # a neighbour that overlaps less is none


def add_details(shown: list[ShownRun], position: dict[int, int], progress: bool) -> None:
    """Give every concept of the model its details, and the numbers that come with them.

    Args:
        shown: the run and, where there is one, its control.
        position: place in the page of each video of the run that is in it.
        progress: show progress bars.
    """
    model = shown[0]
    videos = measured_videos(model.run)
    for head in tqdm(model.heads, desc="profiles", unit="head", disable=not progress):
        _add_profiles(model.run, head, position, videos)
    for part in model.run.parts:
        found = overlaps(model.run, model.run, part, videos, progress=progress)
        _add_neighbours(model, found, part)
        if len(shown) > 1:
            found = overlaps(model.run, shown[1].run, part, videos, progress=progress)
            _add_matches(model, shown[1].id, found, part)
    _add_costs(model, position)


def _add_profiles(run: Run, head: Head, position: dict[int, int], videos: list[int]) -> None:
    concepts = run.concepts(head.layer, head.head, head.part)
    in_page = np.isin(concepts.video, list(position))
    volume = {
        video: float(np.prod(run.tubelets(video, head.layer, head.part).shape))
        for video in position
    }
    profiles = head_profiles(run, head.part, head.layer, head.head, videos)
    for index, profile in enumerate(profiles):
        values = head.concepts[index]
        values[PLACE.key] = profile.place
        shares: dict[int, float] = {}
        for tubelet in np.flatnonzero(in_page & (concepts.concept == index)).tolist():
            video = int(concepts.video[tubelet])
            share = float(concepts.size[tubelet]) / volume[video]
            shares[position[video]] = shares.get(position[video], 0.0) + share
        head.details.append(
            Details(
                histogram=profile.histogram,
                others=profile.others,
                time=profile.time,
                tags=profile_tags(profile, values["size"]),
                shares=dict(sorted(shares.items())),
            )
        )


def _add_neighbours(model: ShownRun, found: Overlaps, part: str) -> None:
    """For every concept the concept of every other head's layer that overlaps it most."""
    layers = np.array([layer for layer, _, _ in found.columns])
    for row, (layer, head, concept) in enumerate(found.rows):
        own = model.head(part, layer, head)
        for other in model.run.layers:
            ratio = np.where(layers == other, found.ratio[row], -1.0)
            if other == layer:
                same_head = [unit[:2] == (layer, head) for unit in found.columns]
                ratio = np.where(same_head, -1.0, ratio)
            best = int(ratio.argmax())
            if ratio[best] >= _LEAST_RATIO:
                there = found.columns[best]
                key = model.head(part, there[0], there[1]).key
                near = Match(model.id, key, there[2], float(ratio[best]))
                own.details[concept].near.append(near)


def _add_matches(model: ShownRun, control: str, found: Overlaps, part: str) -> None:
    beyond = found.beyond_chance
    for row, (layer, head, concept) in enumerate(found.rows):
        own = model.head(part, layer, head)
        best = int(found.ratio[row].argmax())
        there = found.columns[best]
        key = f"{part}-L{there[0]}-H{there[1]}"
        own.details[concept].match = Match(control, key, there[2], float(found.ratio[row, best]))
        own.concepts[concept][OVERLAP.key] = float(found.ratio[row, best])
        own.concepts[concept][BEYOND.key] = float(beyond[row].max())


def _add_costs(model: ShownRun, position: dict[int, int]) -> None:
    """What the answer to each video loses without each concept, in a run that was ranked."""
    importance = model.run.importance()
    if importance is None:
        return
    costs = costs_per_video(importance)
    if costs is None:
        return
    part = importance.settings["part"]
    known = {record.sha256: record.index for record in model.run.videos}
    places = [position.get(known.get(v["sha256"], -1)) for v in importance.settings["videos"]]
    for unit, (layer, head, concept) in enumerate(importance.units.tolist()):
        if concept < 0 or head < 0:  # a whole head, or neurons
            continue
        details = model.head(part, layer, head).details[concept]
        for row, place in enumerate(places):
            if place is not None and np.isfinite(costs[row, unit]):
                details.costs[place] = float(costs[row, unit])
