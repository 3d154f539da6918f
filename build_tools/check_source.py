"""Check what no linter checks: lengths, private names, and what integrations import.

A file has at most 400 lines and a function at most 60, its docstring aside. A name or module that
starts with an underscore is used only inside the module or the folder that holds it. What an
integration needs of the package it takes from where that is shown, not from where it is written.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lizard

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
CPP_SUFFIXES = {".cpp", ".h", ".cu", ".cuh"}
SUFFIXES = CPP_SUFFIXES | {".py", ".js", ".css", ".sh", ".cmake"}
LISTS = {"STABLE_TORCH_LIBRARY"}  # a macro whose body is a table of schemas, not a function
PACKAGE = "vtcd_ops"
#: What the package inside integrations/<name>/ may import of it.
FOR_INTEGRATIONS = {"vtcd_ops.adapters", "vtcd_ops.adapters.huggingface"}


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name, the first line and the number of lines of every Python function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, _num_lines(node) - _docstring_lines(node)


def _num_lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return _num_lines(node.body[0]) if ast.get_docstring(node, clean=False) is not None else 0


def other_functions(path: str, text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the same of C++, CUDA and JavaScript, as lizard reads them."""
    # lizard does not know these two suffixes; it takes the language from the name
    name = path.removesuffix("h") if path.endswith(".cuh") else path
    name = f"{name}.cpp" if name.endswith(".cu") else name
    for function in lizard.analyze_file.analyze_source_code(name, text).function_list:
        if function.name.split("::")[-1] in LISTS:
            continue
        yield function.name, function.start_line, function.end_line - function.start_line + 1


def length_findings(path: str, text: str) -> Iterator[str]:
    """Yield what is too long in a file."""
    num_lines = text.count("\n")
    if num_lines > MAX_FILE_LINES:
        yield f"{path}: {num_lines} lines, expected at most {MAX_FILE_LINES}"
    functions = python_functions(text) if path.endswith(".py") else other_functions(path, text)
    for name, line, length in functions:
        if length > MAX_FUNCTION_LINES:
            yield f"{path}:{line}: {name}: {length} lines, expected at most {MAX_FUNCTION_LINES}"


def private_findings(path: str, text: str) -> Iterator[str]:
    """Yield the private names that a module of the package takes from another package of it."""
    own = list(Path(path).with_suffix("").parts)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            base = own[: -node.level] if node.level else []
            module = base + (node.module or "").split(".") if node.module else base
            targets = [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == PACKAGE and not _may_use(own, target):
                name = ".".join(target)
                yield f"{path}:{node.lineno}: {name} is private to what holds it"


def integration_findings(path: str, text: str) -> Iterator[str]:
    """Yield the modules of the package that an integration should not know of."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module.split(".")[0] == PACKAGE and module not in FOR_INTEGRATIONS:
                expected = " or ".join(sorted(FOR_INTEGRATIONS))
                yield f"{path}:{node.lineno}: {module}: an integration imports {expected} alone"


def _may_use(own: list[str], target: list[str]) -> bool:
    """Whether every private part of a dotted name belongs to a package that the user is in."""
    holders = [target[:i] for i, part in enumerate(target) if _is_private(part)]
    return all(own[: len(holder)] == holder for holder in holders)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def findings(path: str, text: str) -> list[str]:
    """Return what is wrong with a file, one sentence each."""
    found = list(length_findings(path, text))
    if path.startswith(f"{PACKAGE}/") and path.endswith(".py"):
        found += private_findings(path, text)
    if re.match(r"integrations/\w+/vtcd_\w+/.*\.py$", path):
        found += integration_findings(path, text)
    return found


def main() -> int:
    """Check every source file that git knows."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.splitlines() if Path(path).suffix in SUFFIXES]
    found = [
        line
        for path in paths
        if Path(path).is_file()
        for line in findings(path, Path(path).read_text())
    ]
    print("\n".join(found) or f"{len(paths)} source files: lengths, names and imports are in order")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
