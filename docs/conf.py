"""Settings of the documentation's site: `make docs` builds it, and every warning is an error."""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer

import vtcd_ops

project = "vtcd_ops"
author = "the authors of vtcd_ops"
release = version = vtcd_ops.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]
html_theme = "furo"
html_title = f"vtcd_ops {release}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
myst_heading_anchors = 4  # pages link to each other's headings
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures would be longer than what they explain
napoleon_use_rtype = False
python_use_unqualified_type_names = True

# Links of the pages to files of the repository, which the site does not hold.
_OUTSIDE = r"\[([^\]]*)\]\({up}([^)#]+)(#[^)]*)?\)"


def _name_files(app: Any, name: str, source: list[str]) -> None:
    """Turn links to files outside the site into their names."""
    outside = _OUTSIDE.format(up=re.escape("../" * (name.count("/") + 1)))
    source[0] = re.sub(outside, lambda match: f"{match[1]} (`{match[2]}`)", source[0])


def _keep_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Let a bar in a docstring be a bar: it says how large a set is, as in |union|."""
    lines[:] = [re.sub(r"\|(?=\w)", r"\\|", line) for line in lines]


def _formula(writer: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers show by themselves: nothing is fetched."""
    is_block = node.tagname == "math_block"
    formula = tex2mathml(node.astext(), as_block=is_block)
    roomy = f'<div style="overflow: auto hidden; padding: 0.4em 0">{formula}</div>'
    writer.body.append(roomy if is_block else formula)
    raise SkipNode


def setup(app: Any) -> None:
    """Let Sphinx ask for the changes above."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(_formula, None), block_renderers=(_formula, None)
    )
    app.add_lexer("schema", TextLexer)
    app.connect("autodoc-process-docstring", _keep_bars)
    app.connect("source-read", _name_files)
