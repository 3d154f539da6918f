"""load_model: names, directories, families, plug-ins that are broken."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import vtcd_ops
from vtcd_ops.adapters import example_adapter, list_adapters, registry
from vtcd_ops.common.errors import InputError


class Family:
    model_types = ("toy",)

    @classmethod
    def from_name(cls, name: str, **options: Any) -> Any:
        adapter = example_adapter()
        adapter.name = f"toy:{name} {sorted(options.items())}"
        return adapter


@pytest.fixture(autouse=True)
def _families(monkeypatch: pytest.MonkeyPatch) -> None:
    """One good family, one whose module is missing, one whose module fails."""
    module = ModuleType("toy_module")
    module.Family = Family  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_module", module)
    points = [
        metadata.EntryPoint(name, value, registry.ENTRY_POINT_GROUP)
        for name, value in [
            ("broken", "no_such_module:Family"),
            ("nameless", "toy_module:Missing"),
            ("toy", "toy_module:Family"),
        ]
    ]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: points)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def checkpoint(folder: Path, config: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(config)
    return folder


def test_family_and_model() -> None:
    assert vtcd_ops.load_model("toy:small").name == "toy:small []"


def test_options_from_the_name_and_from_the_call() -> None:
    adapter = vtcd_ops.load_model("toy:small?size=3&on=true&word=a%20b&x=", x=1)
    assert adapter.name == "toy:small [('on', True), ('size', 3), ('word', 'a b'), ('x', 1)]"


def test_directory(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "with:colon?", '{"model_type": "toy"}')
    assert vtcd_ops.load_model(folder).name == f"toy:{folder} []"
    assert vtcd_ops.load_model(str(folder)).name == f"toy:{folder} []"


def test_an_adapter_is_given_back() -> None:
    adapter = example_adapter()
    assert vtcd_ops.load_model(adapter) is adapter
    with pytest.raises(InputError, match="options expected with a name"):
        vtcd_ops.load_model(adapter, device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody:mini", "unknown family 'nobody'; known families: broken, nameless, toy"),
        ("broken:mini", r"family 'broken' \(no_such_module:Family\) cannot be imported: Module"),
        ("nameless:mini", r"family 'nameless' .* cannot be imported: AttributeError"),
        ("toy:", "a model expected after 'toy:', got nothing"),
        ("", "model expected 'family:model', a directory or a Hub id, got ''"),
        (3, "a directory or a Hub id, got int"),
        (None, "a directory or a Hub id, got NoneType"),
        ("owner/model", "'owner/model' is no directory, and no model on the Hugging Face Hub that"),
        ("mini", "'mini' is no directory, and no model on the Hugging Face Hub"),
        ("./missing", "directory ./missing does not exist"),
        ("/a/b/c", "directory /a/b/c does not exist"),
    ],
)
def test_names_that_lead_nowhere(name: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        vtcd_ops.load_model(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "resnet"}', "no adapter for models of type 'resnet' .* broken, nameless"),
        ("{}", "has no entry 'model_type'"),
        ("[]", "expected to hold a JSON object"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' * 100_000, "is nested too deeply"),
        ("{", "is damaged"),
        ("", "is damaged"),
    ],
)
def test_checkpoints_that_are_none(tmp_path: Path, config: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vtcd_ops.load_model(checkpoint(tmp_path / "checkpoint", config))


def test_directory_without_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected to hold a config\.json, found none"):
        vtcd_ops.load_model(tmp_path)


def test_listing_names_what_is_broken() -> None:
    broken, nameless, toy = list_adapters()
    assert broken.problem is not None
    assert broken.problem == "ModuleNotFoundError: No module named 'no_such_module'"
    assert nameless.problem is not None
    assert toy.problem is None
    assert toy.model_types == ("toy",)


def test_import_needs_neither_transformers_nor_any_family() -> None:
    import subprocess

    code = (
        "import sys, vtcd_ops; "
        "assert not {m.split('.')[0] for m in sys.modules} & "
        "{'transformers', 'vtcd_hf_videomae', 'vtcd_hf_dinov2', 'vtcd_hf_video'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bare_file_needs_its_family(tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"m\.pth is a file, .* name it, 'family:.*m\.pth'"):
        vtcd_ops.load_model(tmp_path / "m.pth")


def test_a_family_registered_in_this_process(tmp_path: Path) -> None:
    class Mine(Family):
        model_types = ("mine",)

    registry.register("mine", Mine)
    assert vtcd_ops.load_model("mine:small?size=3").name == "toy:small [('size', 3)]"
    folder = checkpoint(tmp_path / "folder", '{"model_type": "mine"}')
    assert vtcd_ops.load_model(folder).name == f"toy:{folder} []"
    assert list_adapters()[-1].family == "mine"
    with pytest.raises(InputError, match="known families: broken, nameless, toy, mine"):
        vtcd_ops.load_model("nobody:mini")


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("toy", Family, r"'toy' is the name of a family of"),
        ("a:b", Family, "name expected letters, digits and underscores, got 'a:b'"),
        ("mine", object, "expected a class with model_types and from_name, got .*, without model"),
        ("mine", Family(), "expected a class with model_types and from_name, got"),
    ],
)
def test_families_that_cannot_be_registered(name: str, family: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.register(name, family)
