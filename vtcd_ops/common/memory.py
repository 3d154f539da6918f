"""Numbers of bytes as people write them."""

from __future__ import annotations

from vtcd_ops.common.errors import InputError


def format_bytes(count: int) -> str:
    """Return a number of bytes in words, as :func:`parse_bytes` takes it.

    >>> format_bytes(999), format_bytes(1000), format_bytes(24_576), format_bytes(1_234_567_890)
    ('999B', '1KB', '24.6KB', '1.23GB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count}B"


def parse_bytes(size: int | str) -> int:
    """Return a number of bytes given as such or as text.

    >>> parse_bytes("1.5GB"), parse_bytes(4096)
    (1500000000, 4096)

    Raises:
        InputError: it is neither, or not positive.
    """
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1}
    text = str(size).strip().upper().replace("IB", "B")
    unit = next((unit for unit in units if text.endswith(unit)), "")
    try:
        number = float(text.removesuffix(unit)) * units.get(unit, 1)
        if not 1 <= number < 2**63:
            raise ValueError
    except ValueError:
        raise InputError(f"max_memory expected a size such as 1GB, got {size!r}") from None
    return int(number)
