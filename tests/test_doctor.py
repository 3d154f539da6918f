"""``vtcd doctor`` tells what works, what is missing and what mends it."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch

import vtcd_ops
from vtcd_ops.commands import doctor
from vtcd_ops.ops.library import Library


def test_versions_are_those_of_the_imports() -> None:
    found = {line.name: line.found for line in doctor.diagnose().versions}
    assert found["torch"] == torch.__version__
    assert found["vtcd-ops"] == vtcd_ops.__version__


def test_every_operator_has_a_cpu_kernel() -> None:
    operators = {line.name: line for line in doctor.diagnose().operators}
    assert {"slic3d", "tubelet_pool", "cnmf", "kmeans", "silhouette"} <= operators.keys()
    assert {"concept_mask", "cris_sample", "cris_accumulate", "rosetta_search"} <= operators.keys()
    assert [name for name, line in operators.items() if "CPU" not in line.devices] == []


def test_operators_on_features_have_a_gradient() -> None:
    operators = doctor.diagnose().operators
    differentiable = [line.name for line in operators if line.differentiable]
    assert differentiable == ["concept_mask", "tubelet_pool"]


def test_a_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda module: None)
    text = doctor.render(doctor.diagnose())
    for package in ("av", "jinja2", "pillow", "transformers"):
        assert f"→ pip install {package}\n" in text
    assert "Optional packages that are missing: av, jinja2, pillow, transformers." in text


def test_a_slower_choice_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARY", Library("default", "0" * 64))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    text = doctor.render(doctor.diagnose())
    assert "default, and the CPU has avx2" in text
    assert "→ unset VTCD_CPU" in text


def test_a_model_family_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module:Adapter", doctor.ADAPTER_GROUP)
    monkeypatch.setattr(doctor, "entry_points", lambda group: [broken])
    diagnosis = doctor.diagnose()
    assert diagnosis.broken == ["broken"]
    text = doctor.render(diagnosis)
    assert "no_such_module fails: ModuleNotFoundError: No module named 'no_such_module'" in text
    assert "→ pip install --force-reinstall --no-deps no_such_module" in text
    closing = text.splitlines()[-1]
    assert closing.startswith("Broken: broken. A family of models that is listed as installed")
    assert "operators" not in closing  # these work: nobody need rebuild them


def test_no_model_family_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "entry_points", lambda group: [])
    assert doctor.adapters() == 1
    assert "no family of models is installed" in capsys.readouterr().out


def test_an_operator_without_a_kernel_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = [doctor.OperatorLine("slic3d", (), differentiable=False)]
    monkeypatch.setattr(doctor, "_operators", lambda: lacking)
    assert doctor.doctor() == 1
    closing = capsys.readouterr().out.splitlines()[-1]
    assert closing.startswith("Broken: operator slic3d. To rebuild the operators: pip install")


class _FakeGPU:
    """What torch.cuda says of one GPU."""

    def __init__(self, capability: tuple[int, int]) -> None:
        self.capability = capability

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA Some")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: self.capability)


def machine() -> dict[str, doctor.Line]:
    return {line.name: line for line in doctor.diagnose().machine}


def test_what_the_cuda_kernels_were_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.library, "cuda_architectures", lambda: ["sm_80", "sm_90", "sm_100"])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    _FakeGPU((9, 0)).install(monkeypatch)
    found = machine()
    assert found["CUDA kernels"].found == "sm_80, sm_90, sm_100 and newer"
    assert found["CUDA in torch"].found == "13.0"
    assert found["GPU"].found == "NVIDIA Some, sm_90"
    assert [line.mend for line in found.values() if "CUDA" in line.name or line.mend] == ["", ""]


def test_missing_cuda_kernels_come_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.library, "cuda_architectures", list)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert machine()["CUDA kernels"].found.startswith("not built")
    assert machine()["CUDA kernels"].mend.startswith("pip install ")
    monkeypatch.setattr(torch.version, "cuda", None)  # a torch that could not use them
    assert machine()["CUDA kernels"].mend == ""
    assert machine()["CUDA in torch"].found == "none, a build for CPUs"


def test_a_gpu_older_than_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.library, "cuda_architectures", lambda: ["sm_80", "sm_100"])
    _FakeGPU((7, 5)).install(monkeypatch)
    gpu = machine()["GPU"]
    assert gpu.found == "NVIDIA Some, sm_75: the CUDA kernels were not built for it"
    assert gpu.mend.startswith("CMAKE_ARGS=-DVTCD_CUDA_ARCHITECTURES=75 pip install ")


@pytest.mark.skipif(
    not doctor.library.library_path("cuda").is_file(),
    reason="no CUDA compiler: the CUDA kernels were NOT built",
)
def test_the_built_library_says_what_it_is_for() -> None:
    assert doctor.library.cuda_architectures()[-1].startswith("sm_")
