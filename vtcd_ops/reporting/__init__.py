"""One self-contained HTML file that shows the concepts of a run, playing.

    run -> contents (numbers, best clips, previews, supports) -> page -> report.html

`quantities` and `clips` say what is measured and which clips are shown, `previews` and `supports`
make them small, `contents` gathers everything as plain data (`shown`), `page` writes it into
`templates/` with the styles and scripts of `static/`, and `report` into a file. `card` writes one
concept as an animation, `naming` asks a text model for names.
"""

from vtcd_ops.reporting.card import card
from vtcd_ops.reporting.naming import suggest_names
from vtcd_ops.reporting.report import report

__all__ = ["card", "report", "suggest_names"]
