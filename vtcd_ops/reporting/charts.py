"""The page's figures as SVG: axes with titles and units, dots, intervals, curves with bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from vtcd_ops.reporting.figures import Axis, round_axis

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 48


@dataclass(frozen=True)
class Table:
    """The numbers of a figure: what a screen reader reads and CSV holds."""

    header: tuple[str, ...]
    rows: list[tuple[str | float, ...]]


@dataclass(frozen=True)
class Legend:
    """One entry: what a mark means."""

    text: str
    mark: str  #: class of the mark, as in the figure
    colour: str  #: CSS variable


@dataclass(frozen=True)
class Figure:
    """A figure of the page."""

    id: str
    title: str
    svg: str
    table: Table
    legend: list[Legend] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Values of the heads of each layer in one shown run."""

    name: str
    colour: str  #: CSS variable
    hollow: bool
    values: dict[int, list[float]]  #: by layer


class Canvas:
    """An SVG with a plot area and two axes.

    Args:
        x_title, y_title: what the axes show, with the unit.
        y: the vertical axis.
        height: of the whole, in user units.
        left: room for the labels of the vertical axis.
    """

    def __init__(
        self,
        x_title: str,
        y_title: str,
        y: Axis | None,
        *,
        height: int = _HEIGHT,
        left: int = _LEFT,
    ) -> None:
        self.left, self.right = left, _WIDTH - _RIGHT
        self.top, self.bottom = _TOP, height - _BOTTOM
        self.y_axis = y
        self._height = height
        self._parts: list[str] = []
        middle_x, middle_y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        self.text(middle_x, height - 8, x_title, "axis-title")
        self._parts.append(
            f'<text class="axis-title" transform="translate(13 {middle_y:g}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_title)}</text>'
        )
        if y is not None:
            for tick in y.ticks:
                self.line(self.left, self.y(tick), self.right, self.y(tick), "grid-line")
                self.text(self.left - 6, self.y(tick) + 4, f"{tick:g}", "tick", "end")

    def y(self, value: float) -> float:
        """Height of a value."""
        assert self.y_axis is not None
        return self.bottom - (self.bottom - self.top) * self.y_axis.position(value)

    def x(self, share: float) -> float:
        """Place of a share of the width."""
        return self.left + (self.right - self.left) * share

    def text(
        self, x: float, y: float, text: str, kind: str, anchor: str = "middle", link: str = ""
    ) -> None:
        """Write; a link leads somewhere."""
        written = (
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(text.replace('-', '−') if kind == 'tick' else text)}</text>"
        )
        self._parts.append(f'<a href="{escape(link)}">{written}</a>' if link else written)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, style: str = "") -> None:
        """Draw a line."""
        self._parts.append(
            f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f"{_style(style)}/>"
        )

    def dot(self, x: float, y: float, colour: str, hollow: bool, says: str) -> None:
        """Draw a dot that says its value when pointed at."""
        paint = f"fill:none;stroke:var({colour})" if hollow else f"fill:var({colour})"
        self._parts.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4"{_style(paint)}>'
            f"<title>{escape(says)}</title></circle>"
        )

    def path(self, points: Sequence[tuple[float, float]], kind: str, style: str) -> None:
        """Draw a polyline, or a polygon where its kind is band."""
        written = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        tag = "polygon" if kind == "band" else "polyline"
        self._parts.append(f'<{tag} class="{kind}" points="{written}"{_style(style)}/>')

    def svg(self, title: str) -> str:
        """Return the drawing; one with links is no picture to those who do not see it."""
        role = "group" if any(part.startswith("<a ") for part in self._parts) else "img"
        return (
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {self._height}" role="{role}" '
            f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
            + "".join(self._parts)
            + "</svg>"
        )


def _style(style: str) -> str:
    return f' style="{style}"' if style else ""


def layer_figure(
    identifier: str, title: str, y_title: str, series: Sequence[Series], note: str = ""
) -> Figure | None:
    """Draw a dot for every head and a line through the medians, layer by layer.

    None where no head has a value.
    """
    series = [one for one in series if one.values]
    if not series:
        return None
    layers = sorted({layer for one in series for layer in one.values})
    everything = [v for one in series for values in one.values.values() for v in values]
    canvas = Canvas("Layer", y_title, round_axis([0.0, *everything]))
    place = {layer: canvas.x((index + 0.5) / len(layers)) for index, layer in enumerate(layers)}
    step = max(1, -(-len(layers) // 16))
    for layer in layers[::step]:
        canvas.text(place[layer], canvas.bottom + 16, str(layer), "tick")
    rows: list[tuple[str | float, ...]] = []
    for one in series:
        shift = 5 if one.hollow else -5
        medians = [(layer, float(np.median(one.values[layer]))) for layer in sorted(one.values)]
        points = [(place[layer] + shift, canvas.y(median)) for layer, median in medians]
        dashed = ";stroke-dasharray:5 4" if one.hollow else ""
        canvas.path(points, "median", f"stroke:var({one.colour}){dashed}")
        for layer in sorted(one.values):
            for head, value in enumerate(one.values[layer]):
                says = f"{one.name}, layer {layer}: {value:.3g}"
                canvas.dot(place[layer] + shift, canvas.y(value), one.colour, one.hollow, says)
                rows.append((one.name, layer, head, round(value, 4)))
    of_heads = any(len(values) > 1 for one in series for values in one.values.values())
    explained = " (a dot is a head, the line their median)" if of_heads else ""
    legend = [
        Legend(f"{one.name}{explained}",
               "hollow" if one.hollow else "full", one.colour)
        for one in series
    ]  # fmt: skip
    table = Table(("run", "layer", "row", y_title), rows)
    return Figure(identifier, title, canvas.svg(title), table, legend, note)


@dataclass(frozen=True)
class Interval:
    """A value with its interval; its label leads somewhere."""

    label: str
    link: str
    value: float
    low: float
    high: float


def interval_figure(
    identifier: str, title: str, x_title: str, bars: Sequence[Interval], note: str = ""
) -> Figure:
    """Draw values with their intervals, one below the other, with links for labels."""
    axis = round_axis([0.0, *(x for bar in bars for x in (bar.low, bar.high))])
    row, left = 17, 132
    height = _TOP + row * len(bars) + _BOTTOM
    canvas = Canvas(x_title, "", None, height=height, left=left)
    for tick in axis.ticks:
        x = canvas.x(axis.position(tick))
        canvas.line(x, canvas.top, x, canvas.bottom, "zero-line" if tick == 0 else "grid-line")
        canvas.text(x, canvas.bottom + 16, f"{tick:g}", "tick")
    for index, bar in enumerate(bars):
        y = canvas.top + row * (index + 0.5)
        canvas.text(left - 8, y + 4, bar.label, "label", "end", link=bar.link)
        ends = [canvas.x(axis.position(end)) for end in (bar.low, bar.high)]
        canvas.line(ends[0], y, ends[1], y, "interval")
        says = f"{bar.label}: {bar.value:.3g} ({bar.low:.3g} to {bar.high:.3g})"
        canvas.dot(canvas.x(axis.position(bar.value)), y, "--accent", False, says)
    rows: list[tuple[str | float, ...]] = [
        (bar.label, *(float(f"{x:.4g}") for x in (bar.value, bar.low, bar.high))) for bar in bars
    ]
    table = Table(("unit", x_title, "low", "high"), rows)
    return Figure(identifier, title, canvas.svg(title), table, [], note)


@dataclass(frozen=True)
class Curve:
    """A curve over shares from 0 to 1, with its band."""

    name: str
    colour: str
    dashed: bool
    shares: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve_chart(
    identifier: str, title: str, x_title: str, y_title: str, curves: Sequence[Curve], note: str
) -> Figure:
    """Draw curves with bands."""
    ends = [float(x) for curve in curves for x in (curve.low.min(), curve.high.max())]
    canvas = Canvas(x_title, y_title, round_axis(ends))
    for percent in (0, 25, 50, 75, 100):
        canvas.text(canvas.x(percent / 100), canvas.bottom + 16, f"{percent}", "tick")

    def points(curve: Curve, values: np.ndarray) -> list[tuple[float, float]]:
        pairs = zip(curve.shares.tolist(), values.tolist(), strict=True)
        return [(canvas.x(share), canvas.y(value)) for share, value in pairs]

    for curve in curves:
        band = points(curve, curve.low) + points(curve, curve.high)[::-1]
        canvas.path(band, "band", f"fill:var({curve.colour})")
    for curve in curves:
        dashed = ";stroke-dasharray:6 4" if curve.dashed else ""
        canvas.path(points(curve, curve.middle), "curve", f"stroke:var({curve.colour}){dashed}")
    rows: list[tuple[str | float, ...]] = [
        (curve.name, *(float(f"{x:.5g}") for x in values))
        for curve in curves
        for values in zip(curve.shares, curve.middle, curve.low, curve.high, strict=True)
    ]
    table = Table(("curve", "share removed", y_title, "low", "high"), rows)
    legend = [
        Legend(curve.name, "dashed" if curve.dashed else "line", curve.colour) for curve in curves
    ]
    return Figure(identifier, title, canvas.svg(title), table, legend, note)
