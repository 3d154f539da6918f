"""What results have in common: rows to go through, a table, a picture, equality by content."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from vtcd_ops.common.equality import ByContent
from vtcd_ops.common.untrusted import without_controls

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["Row", "Tabular"]

Row = dict[str, Any]
_SHOWN = 20  # rows of a table in a notebook


class Tabular(ByContent, ABC):
    """A result that is a table: ``for row in result``, `to_pandas`, `plot`, a table in notebooks.

    A class gives its rows in `_rows`, each a dictionary with the same keys, and draws itself in
    `_draw`. A dataclass made with ``eq=False`` is equal by content; others say how.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, eq=False)
    ... class Scores(Tabular):
    ...     values: tuple[float, ...]
    ...     def _rows(self) -> list[Row]:
    ...         return [{"place": n, "score": s} for n, s in enumerate(self.values)]
    ...     def _draw(self, ax):
    ...         ax.plot(self.values)
    >>> found = Scores((0.5, 0.25))
    >>> [row["score"] for row in found], len(found), found == Scores((0.5, 0.25))
    ([0.5, 0.25], 2, True)
    >>> found.to_pandas().shape
    (2, 2)
    """

    @abstractmethod
    def _rows(self) -> list[Row]:
        """The table: a row each, all with the same keys."""

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw the result, with titles of the axes and units."""

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())

    def __bool__(self) -> bool:  # a result without rows is one nevertheless
        return True

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a table of pandas, a column for each key.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas: needs pandas, which is not installed: pip install 'vtcd-ops[tables]'"
            ) from error
        return pandas.DataFrame(self._rows())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the result with matplotlib.

        Args:
            ax: axes to draw on; those of a new figure by default.

        Returns:
            The axes; ``.figure.savefig("x.svg")`` writes them.

        Raises:
            ImportError: matplotlib is not installed.
        """
        ax = _new_axes(type(self).__name__) if ax is None else ax
        self._draw(ax)
        legend = ax.get_legend()
        labels = [ax.title, ax.xaxis.label, ax.yaxis.label]
        for text in [*labels, *ax.get_xticklabels(), *(legend.get_texts() if legend else ())]:
            if "$" in (name := text.get_text()):  # in which matplotlib would look for mathematics
                text.set_parse_math(False)
            text.set_text(without_controls(name))
        return ax

    def _repr_html_(self) -> str:
        """What a notebook shows: the first rows as a table."""
        rows = self._rows()
        heads = "".join(f"<th>{escape(str(name))}</th>" for name in (rows[0] if rows else ()))
        lines = [
            "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row.values()) + "</tr>"
            for row in rows[:_SHOWN]
        ]
        more = f"<p>and {len(rows) - _SHOWN} more</p>" if len(rows) > _SHOWN else ""
        return (
            f"<table><caption>{escape(without_controls(repr(self)))}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>{more}"
        )


def _new_axes(what: str) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{what}.plot: needs matplotlib, which is not installed: pip install 'vtcd-ops[plots]'"
        ) from error
    return plt.subplots(layout="constrained")[1]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return without_controls(str(value))
