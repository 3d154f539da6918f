"""What tells one function from another: its code, the constants in it, and the values it uses."""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from vtcd_ops.common.errors import InputError

_PLAIN = (type(None), type(Ellipsis), bool, int, float, complex, str, bytes, range, slice)
_NAMED = (PurePath, torch.dtype, torch.device, np.dtype)
_SEQUENCES = (tuple, list)
_SETS = (set, frozenset)
_BUILT_IN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)


def code_identity(what: str, thing: Any) -> str:
    """Return a hash of a function, or an object with methods, by which it is told from others.

    It covers the compiled code, so comments and layout do not matter; constants, defaults, values
    closed over, and what is used of the module, functions of one's own included. Installed
    libraries count by name and version. Python compiles differently from version to version, so the
    version is named beside the hash.

    >>> first, second = (lambda x: x + 1), (lambda x: x + 2)
    >>> code_identity("a", first) == code_identity("a", second)
    False
    >>> code_identity("a", first) == code_identity("a", lambda x: x + 1)  # the same code
    True

    Args:
        what: what it is, for messages.
        thing: a function, or any object.

    Raises:
        InputError: it holds something that cannot be told apart.
    """
    digest = _Digest(what)
    try:
        digest.add(thing, "it", own=True)
    except RecursionError:
        raise digest.refusal("it", thing) from None
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{digest.hash.hexdigest()[:32]} (Python {version})"


class _Digest:
    """The hash while it is being made."""

    def __init__(self, what: str) -> None:
        self.hash = hashlib.sha256()
        self._what = what
        self._seen: dict[int, int] = {}  # functions, classes, objects: there is one of each
        self._open: list[int] = []  # what is being taken in: containers may hold themselves
        self._alive: list[Any] = []  # so that no other object takes the place of a seen one

    def refusal(self, where: str, value: Any) -> InputError:
        """What is said of a value that cannot be told apart."""
        return InputError(
            f"{self._what}: its code cannot be told from another's, because {where} is a "
            f"{type(value).__name__}: give it a name, vtcd_ops.metrics.named_metric(name, function)"
        )

    def add(self, value: Any, where: str, *, own: bool = False) -> None:
        """Take in a value; own: its code counts wherever it is installed."""
        if isinstance(value, Enum):
            self._text(f"enum {type(value).__qualname__}.{value.name}")
        elif type(value) in _PLAIN:
            self._text(f"{type(value).__name__} {value!r}")
        elif isinstance(value, _NAMED):
            self._text(f"{type(value).__name__} {value}")
        elif isinstance(value, np.ndarray | np.generic | torch.Tensor):
            self._array(value, where)
        elif isinstance(value, (Mapping, *_SEQUENCES, *_SETS, types.CodeType)):
            if id(value) in self._open:
                self._text(f"again {self._open.index(id(value))}")
                return
            self._open.append(id(value))
            self._container(value, where)
            self._open.pop()
        elif id(value) in self._seen:
            self._text(f"again {self._seen[id(value)]}")
        else:
            self._seen[id(value)] = len(self._seen)
            self._alive.append(value)
            self._object(value, where, own)

    def _text(self, text: str) -> None:
        content = text.encode(errors="surrogatepass")
        self.hash.update(len(content).to_bytes(8, "little") + content)

    def _array(self, value: Any, where: str) -> None:
        is_tensor = isinstance(value, torch.Tensor)
        kind = value.dtype
        if is_tensor:
            value = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise self.refusal(where, value)
        self._text(f"array {kind} {array.shape}")
        self.hash.update(array.reshape(-1).view(np.uint8).data)

    def _container(self, value: Any, where: str) -> None:
        if isinstance(value, types.CodeType):
            self._code(value, where)
        elif isinstance(value, _SETS):
            if any(type(item) not in _PLAIN for item in value):
                raise self.refusal(where, value)
            self._text(f"set {sorted(map(repr, value))}")
        elif isinstance(value, Mapping):
            self._text(f"mapping {len(value)}")
            for key, item in value.items():
                self.add(key, where)
                self.add(item, f"{where}[{key!r}]")
        else:
            self._text(f"{type(value).__name__} {len(value)}")
            for item in value:
                self.add(item, where)

    def _object(self, value: Any, where: str, own: bool) -> None:
        if isinstance(value, types.ModuleType):
            self._text(f"module {value.__name__} {_version(value.__name__)}")
        elif isinstance(value, types.FunctionType):
            self._function(value, where, own)
        elif isinstance(value, types.MethodType):
            self.add(value.__func__, where, own=own)
            self.add(value.__self__, where)
        elif isinstance(value, functools.partial):
            self._text("partial")
            for piece in (value.func, value.args, value.keywords):
                self.add(piece, where, own=own)
        elif isinstance(value, _BUILT_IN):
            self._text(f"built in {value.__qualname__} {getattr(value, '__module__', None)}")
        elif isinstance(value, type):
            self._class(value, where, own)
        else:
            self._instance(value, where, own)

    def _code(self, code: types.CodeType, where: str) -> None:
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self._text(f"code {shape} {code.co_names} {code.co_freevars}")
        self.hash.update(code.co_code)
        for constant in code.co_consts:
            self.add(constant, where)

    def _function(self, function: types.FunctionType, where: str, own: bool) -> None:
        if not own and _is_installed(function.__code__.co_filename, function.__module__):
            version = _version(function.__module__)
            self._text(f"function {function.__module__}.{function.__qualname__} {version}")
            return
        self._text("function")
        self.add(function.__code__, where)
        self.add(function.__defaults__, f"a default of {function.__name__}")
        self.add(function.__kwdefaults__, f"a default of {function.__name__}")
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                content = cell.cell_contents
            except ValueError:  # a name that has no value yet
                continue
            self.add(content, name)
        for name in sorted(set(_global_names(function.__code__))):
            if name in function.__globals__:
                self._text(name)
                self.add(function.__globals__[name], name)

    def _class(self, value: type, where: str, own: bool) -> None:
        file = getattr(sys.modules.get(value.__module__), "__file__", None)
        self._text(f"class {value.__module__}.{value.__qualname__} {_version(value.__module__)}")
        if not own and _is_installed(file, value.__module__):
            return
        for base in value.__bases__:
            self.add(base, where)
        for name, item in sorted(vars(value).items()):
            item = item.fget if isinstance(item, property) else getattr(item, "__func__", item)
            if isinstance(item, types.FunctionType):
                self._text(name)
                self.add(item, f"{value.__name__}.{name}", own=own)
            elif type(item) in (*_PLAIN, *_SEQUENCES) and not name.startswith("__"):
                self._text(name)
                self.add(item, f"{value.__name__}.{name}")

    def _instance(self, value: Any, where: str, own: bool) -> None:
        if not all(_is_python(one) for one in type(value).__mro__[:-1]):
            raise self.refusal(where, value)  # what it is made of does not show
        state = getattr(value, "__dict__", None)
        slots = [name for one in type(value).__mro__ for name in getattr(one, "__slots__", ())]
        if state is None and not slots:
            raise self.refusal(where, value)
        self.add(type(value), where, own=own)
        named = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        for name, item in sorted({**named, **(state or {})}.items()):
            if not name.startswith("__"):
                self._text(name)
                self.add(item, f"{where}.{name}")


def _global_names(code: types.CodeType) -> Iterator[str]:
    """The names that code, and the functions defined in it, look up in their module."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _is_installed(file: str | None, module: str | None) -> bool:
    """Whether code belongs to Python, to this package, or to an installed one."""
    if file is None or (module or "").split(".")[0] == __name__.split(".")[0]:
        return True
    paths = sysconfig.get_paths()
    places = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(file.startswith(place) for place in places)


def _is_python(one: type) -> bool:
    """Whether a class was written in Python, so that its state lies in attributes."""
    module = sys.modules.get(one.__module__)
    file = getattr(module, "__file__", None)
    return one.__module__ == "__main__" or (file is not None and file.endswith(".py"))


def _version(module: str | None) -> str:
    """The version of the package that a module belongs to, as it names it."""
    package = sys.modules.get((module or "").split(".")[0])
    return str(getattr(package, "__version__", ""))
