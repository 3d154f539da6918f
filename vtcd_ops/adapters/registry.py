"""Finding adapters by name: the families that installed packages offer, and `load_model`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.configs import read_config
from vtcd_ops.adapters.names import split_options
from vtcd_ops.adapters.pruned_form import is_pruned, load_pruned
from vtcd_ops.common.errors import InputError

__all__ = [
    "AdapterFamily",
    "AdapterInfo",
    "describe",
    "families",
    "list_adapters",
    "load_model",
    "register",
]

ENTRY_POINT_GROUP = "vtcd_ops.adapters"

# Families that this process registered, which no installed package declares.
_registered: dict[str, type[Any]] = {}


class AdapterFamily(Protocol):
    """What an entry point in the group `vtcd_ops.adapters` names: a class with `from_name`.

    Attributes:
        model_types: `model_type` entries of the config.json files that the family reads.
    """

    model_types: tuple[str, ...]

    @classmethod
    def from_name(cls, name: str, **options: Any) -> Adapter:
        """Load a model: a bundled one by its name, a directory, or a Hub id."""
        ...


@dataclass(frozen=True)
class AdapterInfo:
    """One installed family, as `vtcd adapters` lists it.

    Attributes:
        family: the name before the colon in `load_model("family:model")`.
        package: the distribution that provides it, with its version.
        model_types: the Hugging Face model types it reads.
        bundled: the models that come with the package.
        problem: why it cannot be loaded; None when it can.
    """

    family: str
    package: str
    model_types: tuple[str, ...] = ()
    bundled: tuple[str, ...] = ()
    problem: str | None = None


def families() -> dict[str, metadata.EntryPoint]:
    """Return the installed families by name; nothing is imported.

    >>> from vtcd_ops.adapters import families
    >>> isinstance(families(), dict)
    True
    """
    return {point.name: point for point in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP))}


def register(name: str, family: type[AdapterFamily]) -> None:
    """Let `load_model("name:model")` find a family in this process, without an installed package.

    A worker process of its own, and the command line, know the families of installed packages
    alone: those declare an entry point in the group `vtcd_ops.adapters`.

    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter, register
    >>> class Mine:
    ...     model_types = ("my_type",)   # of the config.json files that it reads
    ...     @classmethod
    ...     def from_name(cls, name, *, seed=0):
    ...         return example_adapter(seed=seed)
    >>> register("mine", Mine)
    >>> vtcd_ops.load_model("mine:anything?seed=3")
    ProjectionAdapter('example', 3 layers x 2 heads x 8 channels, 2x4x4 tokens)

    Args:
        name: of the family; one that was registered before is replaced.
        family: a class with `model_types` and `from_name(name, **options)`.

    Raises:
        InputError: an installed package has a family of this name, or the class lacks something.
    """
    lacks = [each for each in ("model_types", "from_name") if not hasattr(family, each)]
    if not isinstance(family, type) or lacks:
        raise InputError(
            "register: family expected a class with model_types and from_name, got "
            f"{family!r}" + (f", without {' and '.join(lacks)}" if lacks else "")
        )
    if not name.isidentifier():
        raise InputError(f"register: name expected letters, digits and underscores, got {name!r}")
    if name in families():
        raise InputError(
            f"register: {name!r} is the name of a family of "
            f"{describe(families()[name]).package}; give another"
        )
    _registered[name] = family


def list_adapters() -> list[AdapterInfo]:
    """Return every family, also one that cannot be imported, with the reason."""
    own = [_info(name, family.__module__, family) for name, family in sorted(_registered.items())]
    return [*(describe(point) for point in families().values()), *own]


def load_model(model: str | os.PathLike[str] | Adapter, **options: Any) -> Adapter:
    """Load a model and wrap it.

    >>> import vtcd_ops
    >>> vtcd_ops.load_model("hf_videomae:mini-ssl")  # a bundled miniature
    VideoMAEAdapter('hf_videomae:mini-ssl', 6 layers x 4 heads x 32 channels, 8x8x8 tokens)
    >>> adapter = vtcd_ops.load_model("MCG-NJU/videomae-base")  # doctest: +SKIP
    >>> adapter = vtcd_ops.load_model("hf_dinov2:my/weights?fit=crop")  # doctest: +SKIP

    Args:
        model: `"family:model"`, where model is the name of a bundled one, a directory or a Hub id;
            or a bare directory or Hub id, whose family is found by its config.json; an adapter is
            given back as it is. Options may follow a question mark: `"family:model?key=value"`.
        **options: for the family, for example `device="cuda"`; see its README.

    Returns:
        The adapter; its model is in evaluation mode, float32 unless `dtype` says otherwise.

    Raises:
        InputError: an unknown family, a model that cannot be found, or one that is broken.
    """
    if isinstance(model, Adapter):
        if options:
            raise InputError(
                "load_model: options expected with a name, got an adapter and " + ", ".join(options)
            )
        return model
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        got = repr(model) if isinstance(model, str) else type(model).__name__
        raise InputError(
            f"load_model: model expected 'family:model', a directory or a Hub id, got {got}"
        )
    name, named = split_options(os.fspath(model))
    options = {**named, **options}
    family, colon, rest = name.partition(":")
    if colon and not Path(name).exists():
        if not rest:
            raise InputError(f"load_model: a model expected after {name!r}, got nothing")
        return _open(_load_family(family), name, rest, options)
    if is_pruned(name):
        unknown = sorted(options.keys() - {"device", "dtype"})
        if unknown:
            raise InputError(
                f"load_model: {name}, a pruned model, expected options among device, dtype, got "
                f"{', '.join(unknown)}"
            )
        return load_pruned(name, _load_family, **options)
    return _open(_family_of(name), name, name, options)


def _open(family: type[AdapterFamily], name: str, model: str, options: dict[str, Any]) -> Adapter:
    """Load a model of a family, with options that the family has."""
    parameters = inspect.signature(family.from_name).parameters
    named = {key for key, value in parameters.items() if value.kind is value.KEYWORD_ONLY}
    takes_any = any(value.kind is value.VAR_KEYWORD for value in parameters.values())
    unknown = [key for key in options if key not in named]
    if unknown and not takes_any:
        raise InputError(
            f"load_model: {name} expected options among {', '.join(sorted(named)) or 'none'}, "
            f"got {', '.join(unknown)}"
        )
    for key, value in options.items():
        default = parameters[key].default if key in named else None
        if isinstance(default, bool) and not isinstance(value, bool):
            raise InputError(f"load_model: {key} expected true or false, got {value!r}")
    return family.from_name(model, **options)


def _known() -> str:
    names = ", ".join([*families(), *sorted(_registered)])
    return names or "none installed (pip install vtcd-hf-videomae)"


def _load_family(name: str) -> type[AdapterFamily]:
    """Import one family."""
    if name in _registered:
        return _registered[name]
    point = families().get(name)
    if point is None:
        raise InputError(f"load_model: unknown family {name!r}; known families: {_known()}")
    try:
        loaded: type[AdapterFamily] = point.load()
    except Exception as error:  # whatever a broken plug-in raises
        raise InputError(
            f"load_model: family {name!r} ({point.value}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    return loaded


def _family_of(source: str) -> type[AdapterFamily]:
    """Find the family of a directory or Hub id by the model type in its config.json."""
    model_type = _model_type(source)
    broken: list[str] = []
    for family in _importable(broken):
        if model_type in family.model_types:
            return family
    hint = f" ({'; '.join(broken)})" if broken else ""
    if "auto" in families():
        hint += f"; auto:{source} works out any vision or video transformer of transformers"
    raise InputError(
        f"load_model: no adapter for models of type {model_type!r} ({source}); "
        f"known families: {_known()}{hint}"
    )


def _importable(broken: list[str]) -> Iterator[type[AdapterFamily]]:
    for name in (*families(), *sorted(_registered)):
        try:
            yield _load_family(name)
        except InputError as error:
            broken.append(str(error).removeprefix("load_model: "))


def _model_type(source: str) -> str:
    """Read `model_type` from the config.json of a directory or Hub id."""
    directory = Path(source)
    if directory.is_file():
        raise InputError(
            f"load_model: {source} is a file, which does not say its family: name it, "
            f"'family:{source}' (known families: {_known()})"
        )
    if directory.exists():
        path = directory / "config.json"
        if not path.is_file():
            raise InputError(f"load_model: {source} expected to hold a config.json, found none")
    else:
        path = _config_from_hub(source)
    try:
        model_type = read_config(path).get("model_type")
    except InputError as error:
        raise InputError(f"load_model: {error}") from error
    if not isinstance(model_type, str):
        raise InputError(f"load_model: {path} has no entry 'model_type'")
    return model_type


def _config_from_hub(source: str) -> Path:
    """Fetch config.json of a Hub id; offline, from the cache."""
    missing = InputError(
        f"load_model: {source!r} is no directory, and no model on the Hugging Face Hub that could "
        f"be reached; a bundled model is named 'family:model' (known families: {_known()})"
    )
    if source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise InputError(f"load_model: directory {source} does not exist")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise InputError(
            f"load_model: {source!r} is no directory; pip install huggingface_hub for models on "
            "the Hub"
        ) from error
    try:
        return Path(hf_hub_download(source, "config.json"))
    except Exception as error:
        # The Hub client raises its transport's own exceptions, which differ between its versions.
        raise missing from error


def describe(point: metadata.EntryPoint) -> AdapterInfo:
    """Return what an entry point offers, or why it cannot be imported."""
    distribution = point.dist
    package = f"{distribution.name} {distribution.version}" if distribution else point.module
    try:
        family: type[AdapterFamily] = point.load()
    except Exception as error:  # whatever a broken plug-in raises is a finding
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        return AdapterInfo(point.name, package, problem=problem)
    return _info(point.name, package, family)


def _info(name: str, package: str, family: type[Any]) -> AdapterInfo:
    bundled = tuple(getattr(family, "bundled_models", tuple)())  # optional
    return AdapterInfo(name, package, tuple(family.model_types), bundled)
