"""Scores of videos under masks: what is left to do of a ranking, and doing it."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from vtcd_ops.common.accelerator import current, name_of
from vtcd_ops.common.errors import InputError
from vtcd_ops.importance.forecast import of_gradients, of_masks
from vtcd_ops.importance.masking import MaskedModel, MaskedVideo
from vtcd_ops.importance.methods import Method
from vtcd_ops.importance.ranked_videos import RankedVideo
from vtcd_ops.importance.scores_store import ScoresWriter, Tensors, num_columns

__all__ = ["Scoring"]

Result = TypeVar("Result")

_FIRST_CHECK = 256  # masks before the reliability is looked at
_CHECK_GROWTH = 1.25  # each look comes after a quarter more masks
_VIDEO_BYTES = 256_000_000  # of prepared videos that are kept
_LEAVE_SECONDS = 60  # between preliminary results


class Scoring:
    """One run, one model and one folder; any number of processes may do this at once.

    Args:
        masked: the model, and its units.
        videos: what is scored.
        method: how.
        writer: what is there already is not done again.
        progress: whether to show a bar.
        check: gives the reliability of what was measured so far; None: it is not looked at.
        stop_at: reliability at which to stop; None: only at the end.
        preliminary: whether the first columns alone are a result, to be left when interrupted, and
            every minute while more are measured.
        prior: gives the effects [U] in a video, by its number, that gradients say, or None where
            they say nothing.
        refuse_inert: raise where removing every unit changes no answer of the model.
    """

    def __init__(
        self,
        masked: MaskedModel,
        videos: Sequence[RankedVideo],
        method: Method,
        writer: ScoresWriter,
        *,
        progress: bool,
        check: Callable[[Tensors], float] | None = None,
        stop_at: float | None = None,
        preliminary: bool = False,
        prior: Callable[[int, MaskedVideo], np.ndarray | None] | None = None,
        refuse_inert: bool = False,
    ) -> None:
        self.masked = masked
        self.videos = videos
        self.method = method
        self.writer = writer
        self.progress = progress
        self.check = check if progress or stop_at is not None else None
        self.stop_at = stop_at
        self.preliminary = preliminary
        self.prior = prior
        self.refuse_inert = refuse_inert
        self._announced = False
        self._forecast = False  # whether it was said what gradients take
        self._left = time.monotonic()  # when a preliminary result was left
        self._stored: Tensors = {}
        self._counted: set[tuple[int, int]] | None = None  # parts that the bar shows
        self._prepared: OrderedDict[int, MaskedVideo] = OrderedDict()

    def run(self, finish: Callable[[Tensors], Result]) -> Result:
        """Do what is left to do, and return what `finish` makes of everything that was measured."""
        device = self.masked.device
        self.writer.log("measuring", device=name_of(device))
        try:
            with current(device):
                columns = self._do_all(finish)
            self.writer.log("measured")
            with self.writer.finishing():
                return finish(self._collect(columns))
        except KeyboardInterrupt:
            if self.preliminary:
                self._finish_early(finish)
            raise
        finally:
            if self.masked.halved is not None:
                self.writer.log("out of memory", device=str(device), reason=self.masked.halved)
            self.writer.close()

    def _do_all(self, finish: Callable[[Tensors], Result]) -> int:
        """Do what is left to do; return how many columns there are then."""
        self._assign_videos()  # features of the model as it is, so before it is masked
        with self.masked:
            self._do_videos()
            return self._do_parts(finish)

    def _finish_early(self, finish: Callable[[Tensors], Result]) -> None:
        """Leave what the columns that all videos have by now are worth; the same call goes on."""
        columns, total = 0, self.method.total
        while columns < total and all(self._has(i, columns) for i in range(len(self.videos))):
            columns = min(columns + self.method.step, total)
        if columns == 0:
            return
        with self.writer.finishing():
            finish(self._collect(columns))
        if self.progress:
            tqdm.write(
                f"{self.writer.path.name}: interrupted; the ranking by {columns} of {total} masks "
                "is stored, and the same call goes on from it",
                file=sys.stderr,
            )

    def _assign_videos(self) -> None:
        """Look for the run's concepts in the videos that are not in it."""

        def do(index: int) -> None:
            if self.writer.video(index) is None:
                with self._naming(index):
                    found = self.videos[index].assigned(self.masked.units)
                self.writer.write_video(index, found)

        new = [index for index, video in enumerate(self.videos) if video.is_new(self.masked.units)]
        self._share("new videos", new, lambda index: self.writer.video(index) is not None, do)

    def _do_videos(self) -> None:
        """Find where the units lie, and the score with nothing removed."""

        def done(index: int) -> bool:
            return "baseline" in (self.writer.video(index) or {})

        def do(index: int) -> None:
            found = self.writer.video(index) or {}
            with self._naming(index):
                video = self._open(index)
                found |= {"present": video.present, "baseline": np.array([video.baseline])}
                changed = not self.refuse_inert or not video.present.any() or video.changes()
                effects = self._effects(index, video) if changed else None
                found |= {"changed": np.array([changed])}
            found |= {} if effects is None else {"prior": effects}
            self.writer.write_video(index, found)

        self._share("videos", range(len(self.videos)), done, do)
        if self.refuse_inert and not any(self._changed(i) for i in range(len(self.videos))):
            raise InputError(
                f"rank: removing all {len(self.masked.units)} {self.masked.units.kind} changes no "
                f"answer of {self.masked.adapter.name}: the {self.masked.units.part} that its "
                "adapter gives are not what the model goes on with"
            )

    def _effects(self, index: int, video: MaskedVideo) -> np.ndarray | None:
        """What gradients say of the units; the first time, say what those of all videos take."""
        begin = time.monotonic()
        effects = None if self.prior is None else self.prior(index, video)
        if effects is not None and self.progress and not self._forecast:
            self._forecast = True
            words = of_gradients(self.writer.path.name, len(self.videos), time.monotonic() - begin)
            tqdm.write(words, file=sys.stderr)
        return effects

    def _changed(self, index: int) -> bool:
        """Whether removing everything changed the answer to a video, where that was tried."""
        return bool((self.writer.video(index) or {}).get("changed", np.ones(1, bool))[0])

    def _share(
        self,
        what: str,
        videos: Sequence[int],
        done: Callable[[int], bool],
        do: Callable[[int], None],
    ) -> None:
        """Do something to videos, together with other processes."""
        if not videos:
            return
        left = [index for index in videos if not done(index)]
        bar = tqdm(
            desc=what,
            unit="video",
            total=len(videos),
            initial=len(videos) - len(left),  # what an earlier call did is no speed of this one
            disable=not self.progress,
        )
        self.writer.claims.work_through(
            left, self.writer.video_task, done, do, lambda index: bar.update()
        )
        bar.close()

    def _do_parts(self, finish: Callable[[Tensors], Result]) -> int:
        """Score the videos until the ranking is reliable enough or all is done; return columns."""
        total = self.method.total
        bar = tqdm(
            desc=self.writer.path.name,
            unit="mask",
            total=total * len(self.videos),
            disable=not self.progress,
            smoothing=0,  # the time that is left by the mean speed, not by that of the last moments
        )
        columns = 0
        with self._checking(bar) as reliability:
            while columns < total:
                columns = self._next_check(columns)
                self._do_until(columns, bar)
                if self.check is None or (columns == total and self.stop_at is None):
                    continue  # at the end it is told with the result
                with self.writer.finishing():
                    tensors = self._collect(columns)
                found = reliability(tensors)
                if self.stop_at is not None and found is not None and found >= self.stop_at:
                    self._say_stopped(found, columns)
                    break
                self._leave(finish, tensors)
        bar.close()
        return columns

    def _leave(self, finish: Callable[[Tensors], Result], tensors: Tensors) -> None:
        """Leave what was measured so far as a result, every minute."""
        if self.preliminary and time.monotonic() - self._left > _LEAVE_SECONDS:
            with self.writer.finishing():
                finish(tensors)
            self._left = time.monotonic()

    def _say_stopped(self, reliability: float, columns: int) -> None:
        """Say why there are fewer masks than asked for."""
        if self.progress and columns < self.method.total:
            tqdm.write(
                f"{self.writer.path.name}: reliability {reliability:.3f} after {columns} masks a "
                f"video of {self.method.total}; --stop-at none measures all",
                file=sys.stderr,
            )

    @contextmanager
    def _checking(self, bar: tqdm) -> Iterator[Callable[[Tensors], float | None]]:
        """Give what says how reliable scores are, on the bar too.

        Beside a device that goes on meanwhile it is said later, unless it decides when to stop.
        """
        check = self.check

        def say(tensors: Tensors) -> float | None:
            found = None if check is None else check(tensors)
            if found is not None:
                bar.set_postfix(reliability=f"{found:.3f}")
            return found

        if self.stop_at is not None or self.masked.device.type == "cpu":
            yield say
            return
        with ThreadPoolExecutor(1, "vtcd-reliability") as beside:
            asked: list[Future[float | None]] = []

            def later(tensors: Tensors) -> None:
                if not asked or asked[-1].done():
                    asked[:] = [beside.submit(say, tensors)]

            yield later
            for one in asked:
                one.result()

    def _next_check(self, columns: int) -> int:
        """After how many columns the reliability is looked at next; a multiple of a part."""
        if self.check is None:
            return self.method.total
        wanted = max(_FIRST_CHECK, int(columns * _CHECK_GROWTH), columns + 1)
        return min(-(-wanted // self.method.step) * self.method.step, self.method.total)

    def _do_until(self, columns: int, bar: tqdm) -> None:
        """Do all parts that begin before a column, together with other processes."""
        parts = [
            (video, start)
            for start in range(0, columns, self.method.step)
            for video in range(len(self.videos))
        ]
        left = [part for part in parts if not self._has(*part)]
        width = {start: min(self.method.step, columns - start) for _, start in parts}
        if self._counted is None:  # what earlier calls did is no speed of this one
            self._counted = set(parts) - set(left)
            bar.initial = bar.n = sum(width[start] for _, start in self._counted)
            bar.refresh()
        for part in set(parts) - set(left) - self._counted:  # of other processes
            self._count(part, width[part[1]], bar)
        self.writer.claims.work_through(
            left,
            lambda part: self.writer.part_task(*part),
            lambda part: self._has(*part),
            lambda part: self._do_part(*part),
            lambda part: self._count(part, width[part[1]], bar),
        )

    def _count(self, part: tuple[int, int], width: int, bar: tqdm) -> None:
        """Show a part as done."""
        assert self._counted is not None
        self._counted.add(part)
        bar.update(width)

    def _do_part(self, video: int, start: int) -> None:
        with self._naming(video):
            opened = self._open(video)
            begin = time.monotonic()
            part = self.method.part(video, opened, start)
        self.writer.write_part(video, start, part)
        if self.progress and self.preliminary and not self._announced:
            self._announce((time.monotonic() - begin) / len(part))

    def _announce(self, seconds: float) -> None:
        """Say what is to come, by the seconds that a mask of the first part took."""
        self._announced = True
        name, videos, total = self.writer.path.name, len(self.videos), self.method.total
        tqdm.write(of_masks(name, videos, total, seconds, self.stop_at), file=sys.stderr)

    def _has(self, video: int, start: int) -> bool:
        """Whether a part is there, by itself or in the scores of a ranking that was finished."""
        stop = min(start + self.method.step, self.method.total)
        if self.writer.has_part(video, start, stop) or self._num_stored >= stop:
            return True
        self._read_stored()  # another process may have put all parts together just now
        return self._num_stored >= stop

    def _read_stored(self) -> None:
        """Read what was finished, perhaps with fewer masks, unless it is known."""
        stored = self.writer.stored_scores(known=self._num_stored)
        if stored is not None:
            self._stored = stored

    @property
    def _num_stored(self) -> int:
        """Columns that were finished."""
        return num_columns(self._stored)

    def _open(self, index: int) -> MaskedVideo:
        """Return a prepared video; the latest are kept in memory."""
        if index not in self._prepared:
            ranked = self.videos[index]
            tokens = ranked.tokens(self.masked.units, self.writer.video(index) or {})
            self._prepared[index] = self.masked.video(ranked.sample, ranked.clip, tokens)
            while len(self._prepared) > 1 and self._num_bytes() > _VIDEO_BYTES:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(index)
        return self._prepared[index]

    @contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """Name the video in what is said about it."""
        try:
            yield
        except InputError as error:
            raise InputError(f"video {self.videos[index].sample.name}: {error}") from error

    def _num_bytes(self) -> int:
        return sum(video.num_bytes for video in self._prepared.values())

    def _collect(self, columns: int) -> Tensors:
        """Everything that was measured up to a column, as it is stored."""
        self._read_stored()
        known = [self.writer.video(index) or {} for index in range(len(self.videos))]
        prior = {}
        if known and all("prior" in video for video in known):
            prior = {"prior": np.stack([video["prior"] for video in known])}
        return {
            **prior,
            "units": self.masked.units.table,
            "present": np.stack([video["present"] for video in known]),
            "baseline": np.concatenate([video["baseline"] for video in known]),
            self.method.measures: np.stack([self._row(i, columns) for i in range(len(known))]),
        }

    def _row(self, video: int, columns: int) -> np.ndarray:
        """What was measured of one video up to a column."""
        stored = self._stored[self.method.measures][video] if self._stored else np.zeros(0)
        if len(stored) >= columns:
            return np.asarray(stored[:columns])
        begin = len(stored) // self.method.step * self.method.step
        pieces = [stored[:begin]]
        for start in range(begin, columns, self.method.step):
            stop = min(start + self.method.step, self.method.total)
            pieces.append(self.writer.part(video, start, stop)[: columns - start])
        return np.concatenate(pieces)
