"""Build the operator libraries with CMake; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT / "build_tools"))

from vtcd_locate import cuda_environment, find_eigen, find_torch  # noqa: E402


class CMakeBuild(build_ext):
    """Compile the libraries of every instruction set into the package folder."""

    def run(self) -> None:
        """Configure and build; an in-place build keeps its folder and so is incremental."""
        torch_dir, eigen_dir = find_torch(), find_eigen()
        if torch_dir is None:
            raise SystemExit(
                "PyTorch >= 2.10 not found: `pip install torch`, or set VTCD_TORCH_DIR"
            )
        if eigen_dir is None:
            raise SystemExit(
                "Eigen 3.4 not found: `apt install libeigen3-dev` or `pip install cmeel-eigen`"
            )
        build_dir = ROOT / "build/inplace" if self.inplace else Path(self.build_temp).resolve()
        build_dir.mkdir(parents=True, exist_ok=True)
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_MAKE_PROGRAM": shutil.which("ninja") or "ninja",
            "VTCD_TORCH_DIR": torch_dir,
            "EIGEN3_INCLUDE_DIR": eigen_dir,
            "VTCD_LIBRARY_DIR": self._package_dir(),
            # a user's newer compiler may know warnings that ours does not
            "VTCD_WERROR": "ON" if self.inplace else "OFF",
        }
        configure = ["cmake", "-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja"]
        configure += [f"-D{name}={value}" for name, value in options.items()]
        configure += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        variables = os.environ | cuda_environment()
        subprocess.check_call(configure, env=variables)
        build = ["cmake", "--build", str(build_dir), "--target", "vtcd_libraries"]
        subprocess.check_call(build, env=variables)

    def _package_dir(self) -> Path:
        return ROOT / "vtcd_ops" if self.inplace else Path(self.build_lib).resolve() / "vtcd_ops"

    def get_outputs(self) -> list[str]:
        """Return the libraries that were built."""
        return sorted(map(str, self._package_dir().glob("_C_*.so")))

    def get_output_mapping(self) -> dict[str, str]:
        """Return nothing to copy: an in-place build writes into the package folder itself."""
        return {}


class AnyPythonWheel(bdist_wheel):
    """A wheel for every Python: the libraries hold no Python symbol."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return py3-none-<platform>."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("vtcd_ops._C", [])],
    cmdclass={"build_ext": CMakeBuild, "bdist_wheel": AnyPythonWheel},
)
