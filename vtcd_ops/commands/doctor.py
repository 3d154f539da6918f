"""``vtcd doctor`` and ``vtcd adapters``: what is installed, what works, and what mends the rest."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

import torch
import typer

from vtcd_ops.adapters.registry import describe
from vtcd_ops.ops import LIBRARY, library
from vtcd_ops.ops.library import has_kernel

ADAPTER_GROUP = "vtcd_ops.adapters"
DEVICES = ("CPU", "CUDA")

#: (import name, distribution, what it is for, the command that installs it)
OPTIONAL_PACKAGES = (
    ("av", "av", "read video files", "pip install av"),
    ("jinja2", "jinja2", "write the report", "pip install jinja2"),
    ("PIL", "pillow", "read folders of frames, write the report", "pip install pillow"),
    ("transformers", "transformers", "wrap Hugging Face models", "pip install transformers"),
)


@dataclass(frozen=True)
class Line:
    """One finding: a name, what was found, and the command that mends it where it is lacking."""

    name: str
    found: str
    good: bool = True
    mend: str = ""


@dataclass(frozen=True)
class OperatorLine:
    """The devices that have a kernel of an operator, and whether it has a derivative."""

    name: str
    devices: tuple[str, ...]
    differentiable: bool


@dataclass
class Diagnosis:
    """Everything ``vtcd doctor`` tells, before it is put into words."""

    versions: list[Line] = field(default_factory=list)
    machine: list[Line] = field(default_factory=list)
    operators: list[OperatorLine] = field(default_factory=list)
    packages: list[Line] = field(default_factory=list)
    adapters: list[Line] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """What does not work although it is installed."""
        lacking = [f"operator {line.name}" for line in self.operators if not line.devices]
        lines = [*self.versions, *self.machine, *self.adapters]
        return lacking + [line.name for line in lines if not line.good]


def diagnose() -> Diagnosis:
    """Examine this installation.

    >>> import vtcd_ops.commands.doctor
    >>> [line.name for line in vtcd_ops.commands.doctor.diagnose().versions]
    ['vtcd-ops', 'torch', 'numpy', 'Python']
    """
    return Diagnosis(
        versions=_versions(),
        machine=_machine(),
        operators=_operators(),
        packages=[_package(*package) for package in OPTIONAL_PACKAGES],
        adapters=[_adapter(point) for point in sorted(entry_points(group=ADAPTER_GROUP))],
    )


def _versions() -> list[Line]:
    return [
        Line("vtcd-ops", version("vtcd-ops")),
        Line("torch", torch.__version__),
        Line("numpy", version("numpy")),
        Line("Python", platform.python_version()),
    ]


def _machine() -> list[Line]:
    built = library.built_instruction_sets()
    best = torch.backends.cpu.get_cpu_capability().lower()
    used = LIBRARY.instruction_set
    faster = best in library.INSTRUCTION_SETS and best != used
    return [
        Line("CPU", platform.machine()),
        Line(
            "instruction set",
            f"{used}, and the CPU has {best}" if faster else f"{used}, the best this CPU has",
            mend="unset VTCD_CPU" if faster else "",
        ),
        Line("libraries built", ", ".join(built)),
        Line("threads", f"{torch.get_num_threads()} (torch.set_num_threads)"),
        *_gpu(),
    ]


def _gpu() -> list[Line]:
    """The CUDA library, torch's CUDA and the GPUs: what one of them lacks is said beside it."""
    architectures = library.cuda_architectures()
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if architectures:
        built, mend = f"{', '.join(architectures)} and newer", ""
    else:
        built = "not built: GPUs are used by the models alone"
        mend = library.rebuild_command() if torch.version.cuda else ""
    lines = [Line("CUDA kernels", built, mend=mend)]
    if torch.version.cuda:
        lines.append(Line("CUDA in torch", torch.version.cuda))
    else:
        has_driver = Path("/proc/driver/nvidia/version").is_file()
        mend = "pip install --force-reinstall torch, of a build with CUDA" if has_driver else ""
        lines.append(Line("CUDA in torch", "none, a build for CPUs", mend=mend))
    return lines + ([_one_gpu(i) for i in range(num_gpus)] or [Line("GPU", "none seen by torch")])


def _one_gpu(index: int) -> Line:
    major, minor = torch.cuda.get_device_capability(index)
    name = f"{torch.cuda.get_device_name(index)}, sm_{major}{minor}"
    oldest = min((int(a[3:]) for a in library.cuda_architectures()), default=0)
    if 10 * major + minor >= oldest:
        return Line("GPU", name)
    mend = f"CMAKE_ARGS=-DVTCD_CUDA_ARCHITECTURES={major}{minor} {library.rebuild_command()}"
    return Line("GPU", f"{name}: the CUDA kernels were not built for it", mend=mend)


def _operators() -> list[OperatorLine]:
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("vtcd::")]
    public = sorted(name for name in names if not name.startswith("vtcd::_"))
    return [_operator(name) for name in public]


def _operator(name: str) -> OperatorLine:
    devices = [device for device in DEVICES if has_kernel(name, device)]
    if has_kernel(name, "CompositeExplicitAutograd"):  # takes no tensor; makes one on the CPU
        devices.append("CPU")
    # an operator that adds in place has an autograd kernel too, which refuses what needs a gradient
    differentiable = has_kernel(name, "Autograd") and not _changes_its_input(name)
    return OperatorLine(name.removeprefix("vtcd::"), tuple(devices), differentiable)


def _changes_its_input(name: str) -> bool:
    [schema] = torch._C._jit_get_schemas_for_operator(name)
    return bool(schema.is_mutable)


def _package(module: str, distribution: str, purpose: str, command: str) -> Line:
    if find_spec(module) is None:
        return Line(distribution, f"missing, needed to {purpose}", good=False, mend=command)
    try:
        return Line(distribution, version(distribution))
    except PackageNotFoundError:
        return Line(distribution, "present, of unknown version")


def _adapter(point: EntryPoint) -> Line:
    info = describe(point)
    if info.problem is not None:
        package = point.dist.name if point.dist else point.module
        mend = f"pip install --force-reinstall --no-deps {_integration(package)}"
        return Line(info.family, f"{package} fails: {info.problem}", good=False, mend=mend)
    reads = ", ".join(info.model_types)
    found = [info.package, f"reads {reads}" if reads else f"by name alone, {info.family}:MODEL"]
    if info.bundled:
        found.append(f"bundled: {', '.join(f'{info.family}:{name}' for name in info.bundled)}")
    return Line(info.family, "; ".join(found))


def _integration(package: str) -> str:
    """Return what pip installs a family of models from: its folder in the checkout, or its name."""
    source = library.checkout()
    folder = source and source / "integrations" / package.removeprefix("vtcd-").replace("-", "_")
    return str(folder) if folder and folder.is_dir() else package


def render(diagnosis: Diagnosis) -> str:
    """Put a diagnosis into words for a terminal; `typer.echo` drops the colours elsewhere."""
    parts = [
        _section("Versions", diagnosis.versions),
        _section("Machine", diagnosis.machine),
        _operator_table(diagnosis.operators),
        _section("Optional packages", diagnosis.packages),
        render_adapters(diagnosis.adapters),
        _verdict(diagnosis),
    ]
    return "\n\n".join(parts)


def render_adapters(adapters: list[Line]) -> str:
    """Put the installed families of models into words."""
    if not adapters:
        mend = f"pip install {_integration('vtcd-hf-videomae')}"
        lines = [Line("none", "no family of models is installed", good=False, mend=mend)]
        return _section("Models", lines)
    return _section("Models", adapters)


def _section(title: str, lines: Iterable[Line]) -> str:
    rows = [_bold(title)]
    for line in lines:
        mend = f"\n  {'':19}→ {line.mend}" if line.mend else ""
        rows.append(f"  {_mark(line.good)} {line.name:<17}{line.found}{mend}")
    return "\n".join(rows)


def _operator_table(operators: list[OperatorLine]) -> str:
    heading = f"{'Operators':<21}" + "".join(f"{device:<6}" for device in DEVICES) + "gradient"
    rows = [_bold(heading)]
    for line in operators:
        cells = "".join(f"{'yes' if device in line.devices else '–':<6}" for device in DEVICES)
        gradient = "yes" if line.differentiable else "–"
        rows.append(f"  {_mark(bool(line.devices))} {line.name:<17}{cells}{gradient}")
    return "\n".join(rows)


def _bold(text: str) -> str:
    return typer.style(text, bold=True)


def _mark(good: bool) -> str:
    return typer.style("✓", fg="green") if good else typer.style("✗", fg="red", bold=True)


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.broken:
        said = [f"Broken: {', '.join(diagnosis.broken)}."]
        if any(not line.good for line in diagnosis.adapters):
            said.append(
                "A family of models that is listed as installed cannot be imported: run the "
                "command below its line, or pip uninstall its package; the other families work."
            )
        if not all(line.devices for line in diagnosis.operators):
            said.append(f"To rebuild the operators: {library.rebuild_command()}")
        return " ".join(said)
    missing = [line.name for line in diagnosis.packages if not line.good]
    if missing:
        return f"Works. Optional packages that are missing: {', '.join(missing)}."
    return "Works. Nothing is missing."


def doctor() -> int:
    """Print the diagnosis and return the exit status: 1 where something installed is broken."""
    diagnosis = diagnose()
    typer.echo(render(diagnosis))
    return int(bool(diagnosis.broken))


def adapters() -> int:
    """Print the installed families of models and return the exit status."""
    lines = diagnose().adapters
    typer.echo(render_adapters(lines))
    return int(not lines or not all(line.good for line in lines))
