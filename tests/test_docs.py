"""What the documentation claims is true: its examples run, its tables say what was measured."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import vtcd_ops

ROOT = Path(__file__).parents[1]
INTEGRATIONS = sorted((ROOT / "integrations").glob("*/vtcd_*"))
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(folder.parent / "README.md" for folder in INTEGRATIONS),
]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(vtcd_ops.__path__, "vtcd_ops.")
    if "._C_" not in module.name  # operator libraries, not Python modules
) + sorted(
    module.name
    for folder in INTEGRATIONS
    for module in pkgutil.walk_packages([str(folder)], f"{folder.name}.")
)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["vtcd_ops", *MODULES])
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert results.failed == 0


def test_every_public_function_has_an_example() -> None:
    public = [getattr(vtcd_ops, name) for name in vtcd_ops.__all__]
    functions = [value for value in public if callable(value) and not isinstance(value, type)]
    lacking = [
        function.__name__ for function in functions if ">>> " not in (function.__doc__ or "")
    ]
    assert lacking == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, one after the other, in one namespace, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in PYTHON_BLOCK.finditer(text):
        first_line = text[: block.start(1)].count("\n")
        code = compile("\n" * first_line + block[1], str(page), "exec")
        exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_schemas_are_the_registered_ones() -> None:
    pages = sorted((ROOT / "docs/operators").glob("*.md"))
    text = "\n".join(page.read_text() for page in pages)
    assert re.findall(r"^# (\w+)$", text, re.MULTILINE) == [page.stem for page in pages]
    documented = dict(re.findall(r"^```schema\n(\w+)(\(.*)\n```", text, re.MULTILINE))
    registered = {
        name.removeprefix("vtcd::"): getattr(torch.ops.vtcd, name.removeprefix("vtcd::"))
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("vtcd::") and not name.startswith("vtcd::_")
    }
    assert documented.keys() == registered.keys()
    for name, signature in documented.items():
        schema = torch._C.parse_schema(f"vtcd::{name}{signature}")
        assert schema == registered[name].default._schema


def load_tables() -> ModuleType:
    return load_script("benchmarks/tables.py")


def load_script(path: str) -> ModuleType:
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_say_what_the_json_says(page: Path) -> None:
    text = page.read_text()
    assert text == load_tables().with_tables(text), "run: make tables"


def test_every_result_is_shown() -> None:
    """A committed result that no page shows would be a number nobody can find."""
    shown = set(
        re.findall(r"<!-- benchmark:([\w-]+) -->", "".join(page.read_text() for page in PAGES))
    )
    assert {path.stem for path in (ROOT / "benchmarks/results").glob("*.json")} == shown


def test_table_of_a_known_result() -> None:
    machine = {"cpu": "Z80", "cores": 1, "instruction_set": "default", "date": "1976-07-01"}
    result = {
        "note": "A note.",
        "machine": machine | {"versions": {"torch": "2.13.0"}},
        "columns": [["case", "case", "{}"], ["ms", "time, ms", "{:.1f}"]],
        "rows": [{"case": "a", "ms": 1.26}, {"case": "b", "ms": None}],
    }
    assert load_tables().render(result) == (
        "| case | time, ms |\n| --- | --- |\n| a | 1.3 |\n| b | – |\n\n"
        "A note. Measured on Z80 (1 cores, baseline), torch 2.13.0; 1976-07-01.\n"
    )


def test_a_tutorial_says_what_its_cells_printed() -> None:
    cells = "```python\nx = 6\n```\n\n```python\nprint(7 * x)\n```\n"
    with_outputs = load_script("build_tools/run_tutorial.py").with_outputs
    assert with_outputs(cells) == f"{cells}```text\n42\n```\n"
    assert with_outputs(f"{cells}```text\n41\n```\nEnd.\n") == f"{cells}```text\n42\n```\nEnd.\n"


def test_a_tutorial_keeps_the_pictures_that_it_shows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    code = "from pathlib import Path\nPath('a.png').write_text('x')\nprint(Path('b').resolve())\n"
    cell = f"```python\n{code}```\n"
    page.write_text(f"{cell}\n![A letter](images/a.png)\n")
    load_script("build_tools/run_tutorial.py").renew(page)
    assert (tmp_path / "images/a.png").read_text() == "x"
    assert not Path("a.png").exists()
    assert page.read_text().startswith(f"{cell}```text\nb\n```\n"), "no folder of this machine"


def test_a_tutorial_as_a_notebook(tmp_path: Path) -> None:
    """Its cells, in order, are those of the page, and nothing of the page is lost."""
    text = (ROOT / "docs/tutorials/which_concepts.md").read_text()
    (tmp_path / "page.md").write_text(text)
    load_script("build_tools/run_tutorial.py").main(["--notebook", str(tmp_path / "page.md")])
    notebook = json.loads((tmp_path / "page.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [f"{cell['source']}\n" for cell in code] == PYTHON_BLOCK.findall(text)
    printed = ["".join(each["text"] for each in cell["outputs"]) for cell in code]
    assert [each for each in printed if each] == re.findall(
        r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    block = re.compile(r"(?:^```(?:python|text)\n.*?^```\n)+", re.DOTALL | re.MULTILINE)
    words = "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    between = [part.strip() for part in block.split(text)]
    assert words == "\n\n".join(part for part in between if part)


def test_tutorials_show_what_was_run() -> None:
    """Each page names every picture beside it, and every printing cell has its output below."""
    folder = ROOT / "docs/tutorials"
    pages = {page.name: page.read_text() for page in sorted(folder.glob("*.md"))}
    shown = re.findall(r"\]\(images/([^)]+)\)", "".join(pages.values()))
    assert sorted(shown) == sorted(path.name for path in (folder / "images").iterdir())
    for name, text in pages.items():
        for cell in re.finditer(
            r"^```python\n(.*?)^```\n(```text)?", text, re.DOTALL | re.MULTILINE
        ):
            prints = re.search(r"^ *print\(", cell[1], re.MULTILINE)
            assert not prints or cell[2], f"{name}: {cell[1]}"
