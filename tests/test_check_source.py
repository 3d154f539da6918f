"""What `make lint` says of long files, long functions, and private names used elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("lizard", reason="needs the tools of `make lint`: pip install lizard")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "build_tools"))
    return importlib.import_module("check_source")


def python_function(num_lines: int, docstring: str = "") -> str:
    return "def long():\n" + docstring + "    x = 1\n" * (num_lines - 1)


def cpp_function(num_lines: int, start: str = "template <typename T>\nT twice(T x)") -> str:
    return f"namespace a {{\n{start} {{\n" + "  x += 1;\n" * (num_lines - 2) + "}\n}\n"


@pytest.mark.parametrize("path", ["a.py", "vtcd_ops/csrc/a.cpp", "a.sh", "a.css"])
def test_a_long_file(check: ModuleType, path: str) -> None:
    assert check.findings(path, "\n" * 400) == []
    assert check.findings(path, "\n" * 401) == [f"{path}: 401 lines, expected at most 400"]


def test_a_long_python_function(check: ModuleType) -> None:
    assert check.findings("a.py", python_function(60)) == []
    told = ["a.py:1: long: 61 lines, expected at most 60"]
    assert check.findings("a.py", python_function(61)) == told
    inner = "class A:\n" + "".join(f"    {line}\n" for line in python_function(61).splitlines())
    assert check.findings("a.py", inner) == ["a.py:2: long: 61 lines, expected at most 60"]


def test_a_docstring_does_not_count(check: ModuleType) -> None:
    docstring = '    """Say.\n' + "\n    More.\n" * 30 + '    """\n'
    assert check.findings("a.py", python_function(60, docstring)) == []
    assert len(check.findings("a.py", python_function(61, docstring))) == 1


@pytest.mark.parametrize("suffix", ["cpp", "h", "cu", "cuh"])
def test_a_long_cpp_function(check: ModuleType, suffix: str) -> None:
    path = f"a.{suffix}"
    assert check.findings(path, cpp_function(59)) == []
    (told,) = check.findings(path, cpp_function(80))
    assert told.startswith(f"{path}:")
    assert told.endswith("lines, expected at most 60")


def test_a_long_kernel(check: ModuleType) -> None:
    kernel = cpp_function(80, "__global__ void add(float* x, int n)")
    assert len(check.findings("a.cu", kernel)) == 1


def test_a_long_javascript_function(check: ModuleType) -> None:
    script = "function draw(x) {\n" + "  x += 1;\n" * 80 + "}\n"
    assert len(check.findings("a.js", script)) == 1


def test_the_table_of_schemas_is_no_function(check: ModuleType) -> None:
    table = cpp_function(80, "STABLE_TORCH_LIBRARY(vtcd, m)")
    assert check.findings("library.cpp", table) == []


@pytest.mark.parametrize(
    ("path", "line", "private"),
    [
        ("vtcd_ops/a/b.py", "from vtcd_ops.c import _d", "vtcd_ops.c._d"),
        ("vtcd_ops/a/b.py", "from vtcd_ops.c._d import e", "vtcd_ops.c._d.e"),
        ("vtcd_ops/a/b.py", "import vtcd_ops.c._d", "vtcd_ops.c._d"),
        ("vtcd_ops/a/b.py", "from ..c import _d", "vtcd_ops.c._d"),
        ("vtcd_ops/a/b.py", "def f():\n    from vtcd_ops.c import _d", "vtcd_ops.c._d"),
        ("vtcd_ops/a/b.py", "from vtcd_ops.a.c import _d", "vtcd_ops.a.c._d"),
        ("vtcd_ops/a/b.py", "from vtcd_ops.a import _c", None),
        ("vtcd_ops/a/b.py", "from . import _c", None),
        ("vtcd_ops/a/b.py", "from vtcd_ops.a._c import d", None),
        ("vtcd_ops/a/b.py", "from vtcd_ops import _d", None),
        ("vtcd_ops/a/b.py", "from vtcd_ops.c import d, __version__", None),
        ("vtcd_ops/a/b.py", "from torch import _dynamo", None),
        ("tests/b.py", "from vtcd_ops.c import _d", None),
    ],
)
def test_private_names(check: ModuleType, path: str, line: str, private: str | None) -> None:
    found = check.findings(path, line + "\n")
    if private is None:
        assert found == []
    else:
        (told,) = found
        assert told.endswith(f": {private} is private to what holds it")


@pytest.mark.parametrize(
    ("path", "line", "refused"),
    [
        ("integrations/a/vtcd_a/b.py", "from vtcd_ops.adapters import InputError", None),
        ("integrations/a/vtcd_a/b.py", "from vtcd_ops.adapters.huggingface import c", None),
        ("integrations/a/vtcd_a/b.py", "from vtcd_a.c import d", None),
        ("integrations/a/vtcd_a/b.py", "from .c import d", None),
        ("integrations/a/vtcd_a/b.py", "from vtcd_ops.adapters.heads import c", ".adapters.heads"),
        ("integrations/a/vtcd_a/b.py", "import vtcd_ops.ops", ".ops"),
        ("integrations/a/vtcd_a/b.py", "def f():\n    from vtcd_ops import c", ""),
        ("integrations/a/tests/b.py", "from vtcd_ops.adapters.heads import c", None),
        ("vtcd_ops/adapters/b.py", "from vtcd_ops.adapters.heads import c", None),
    ],
)
def test_imports_of_integrations(
    check: ModuleType, path: str, line: str, refused: str | None
) -> None:
    found = check.findings(path, line + "\n")
    if refused is None:
        assert found == []
    else:
        (told,) = found
        assert f": vtcd_ops{refused}: an integration imports vtcd_ops.adapters or " in told
