"""Models that come with the package of their family."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from vtcd_ops.adapters.names import full_name
from vtcd_ops.common.errors import InputError

__all__ = ["BundledModels"]


class BundledModels:
    """What families share: finding a model by its name.

    Attributes:
        family: the entry point's name, the part before the colon in ``load_model``.
        bundled_root: the folder of the models that come with the package, one folder each.
    """

    family: ClassVar[str]
    bundled_root: ClassVar[Path | None] = None

    @classmethod
    def bundled_models(cls) -> tuple[str, ...]:
        """Return the names of the models that come with the package."""
        if cls.bundled_root is None:
            return ()
        return tuple(sorted(path.parent.name for path in cls.bundled_root.glob("*/config.json")))

    @classmethod
    def full_name(cls, name: str, **options: Any) -> str:
        """Return the name by which `load_model` finds a model that `from_name` loads."""
        load: Any = cls.from_name  # type: ignore[attr-defined]
        bundled = name in cls.bundled_models()
        return full_name(cls.family, name, load, options, bundled=bundled)

    @classmethod
    def locate_path(cls, name: str) -> Path:
        """Return the folder of a bundled model, or a folder or checkpoint file as it is.

        Raises:
            InputError: ``name`` is none of these.
        """
        if cls.bundled_root is not None and name in cls.bundled_models():
            return cls.bundled_root / name
        if Path(name).exists():
            return Path(name)
        raise cls.not_found(name, "folder, no checkpoint file")

    @classmethod
    def not_found(cls, name: str, tried: str) -> InputError:
        """Return the error that a model of this name is nowhere, after what was tried."""
        bundled = ", ".join(cls.bundled_models()) or "none"
        return InputError(
            f"load_model: {cls.family}:{name} is no {tried} and no bundled model "
            f"(bundled: {bundled})"
        )
