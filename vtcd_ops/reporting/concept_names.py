"""Names of concepts, by address: what a reader gave them, or what a model suggests."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.documents import read_plain_json

#: A plain text was given by somebody; a suggestion says by whom, and how well it fits.
Names = dict[str, Any]

_SUGGESTION = {"name": str, "by": str, "score": float}


def read_names(names: Mapping[str, Any] | str | os.PathLike[str] | None) -> Names:
    """Return checked names.

    >>> read_names({"keys-L11-H2-C0": "the subject"})
    {'keys-L11-H2-C0': 'the subject'}

    Args:
        names: by address, or the JSON file that holds them; None: none.

    Raises:
        InputError: there is no such file, or it does not hold names.
    """
    if names is None:
        return {}
    if isinstance(names, Mapping):
        found, where = dict(names), "names"
    else:
        where = str(names)
        try:
            found = read_plain_json(Path(names))
        except InputError as error:
            raise InputError(f"report: names expected a JSON file, got {where}: {error}") from None
    if not isinstance(found, dict) or not all(_is_name(name) for name in found.values()):
        raise InputError(f"report: {where} expected texts by address such as keys-L3-H1-C0")
    return {str(address): name for address, name in found.items()}


def _is_name(name: Any) -> bool:
    if isinstance(name, str):
        return True
    is_suggestion = isinstance(name, dict) and {k: type(v) for k, v in name.items()} == _SUGGESTION
    return is_suggestion and math.isfinite(name["score"])
