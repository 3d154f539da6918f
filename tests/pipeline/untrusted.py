"""Texts from anybody, and what must hold wherever they are shown."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from typing import Any

import pytest

from vtcd_ops.common.errors import InputError

MEMORY = 200 << 20  # bytes that a refusal may take
SECONDS = 5

TEXTS = {
    "HTML": '<img src="https://example.com/x.png" onerror="window.hacked=1">',
    "a script": "</script><script>window.hacked=1</script><!--",
    "an attribute": "\"' onmouseover='window.hacked=1' style='background:url(//example.com)'",
    "a template": "{{ 7 * 7 }}{% raw %}${window.hacked=1}",
    "ANSI": "\x1b[2J\x1b]0;title\x07\x9b31mred",
    "NUL": "a\0b",
    "4,000 characters": "x" * 4000,
    "right to left": "\u202egpj.live\u2066\u200f\u061c",
    "lines": "one\nvtcd: two\r\nthree\u2028four\x85",
    "a formula": '=HYPERLINK("https://example.com")',
    "Markdown": "# a\n---\n[b](javascript:window.hacked=1) `c` |d| ![e](//example.com/e.png)",
    "mathematics": r"$\frac{$ and $x_$",
    "half a letter": "\ud800",
}

_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_plain(text: str) -> bool:
    """Whether nothing in a text steers what shows it."""
    return _STEERING.search(text) is None


def strings(document: Any) -> list[str]:
    """All texts in a JSON document."""
    if isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        return [*document, *strings(list(document.values()))]
    return [s for one in document for s in strings(one)] if isinstance(document, list) else []


def refused(call: Callable[[], object], match: str = ".") -> None:
    """Expect one sentence, at once and without the memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert time.process_time() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MEMORY
    assert "\n" not in str(caught.value)
