"""A model whose concepts can be removed, as an AOTInductor package that needs no Python of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.edit import edit
from vtcd_ops.common.errors import InputError, first_line
from vtcd_ops.ops import concept_mask

__all__ = ["masked_module", "package_masked_model"]


class _Masked(nn.Module):
    """A model with masks among its arguments."""

    def __init__(self, adapter: Adapter, layers: list[int], part: str) -> None:
        super().__init__()
        self.model = adapter.model
        self._adapter, self._layers, self._part = adapter, layers, part

    def forward(self, clips: Tensor, assign: Tensor, keep: Tensor) -> Tensor:
        """Return the answer to clips [B, T, 3, H', W'] under masks, see `masked_module`."""

        def visit(part: str, layer: int, features: Tensor) -> Tensor:
            mine = assign[self._layers.index(layer)]
            return concept_mask(features, mine, keep, self._adapter.num_prefix_tokens)

        with edit(self._adapter, visit, layers=self._layers, parts=(self._part,)):
            answer = self._adapter.predict(clips)
        return next(iter(answer.values()))


def masked_module(adapter: Adapter, layers: Sequence[int], part: str = "keys") -> nn.Module:
    """Return a module that is the model with masks of concepts among its arguments.

    Its forward takes clips [B, T, 3, H', W']; assign, int32 [layers, B or 1, A, t*h*w], the unit of
    every token (`Run.tokens` with the units of a run numbered), -1: never removed; and keep [B, U].
    It returns the first of the answers that `adapter.predict` gives.

    >>> import torch
    >>> from vtcd_ops.adapters import example_adapter
    >>> from vtcd_ops.bridges import masked_module
    >>> model = masked_module(example_adapter(), layers=[1, 2])
    >>> clips, assign = torch.rand(2, 4, 3, 32, 32), torch.zeros(2, 1, 2, 32, dtype=torch.int32)
    >>> model(clips, assign, torch.tensor([[True], [False]])).shape
    torch.Size([2, 5])

    Args:
        adapter: the model.
        layers: in which units are removed.
        part: "queries", "keys", "values" or "outputs": where.
    """
    return _Masked(adapter, list(layers), part).eval()


def package_masked_model(
    adapter: Adapter,
    path: str | Path,
    layers: Sequence[int],
    *,
    part: str = "keys",
    batch: int = 1,
    num_units: int = 64,
) -> Path:
    """Compile the module of `masked_module` ahead of time into a package of AOTInductor.

    `torch._inductor.aoti_load_package` loads it, in Python after `import vtcd_ops`, or C++ with the
    library of operators loaded; it takes what the module takes, in exactly these shapes. A C++
    compiler is needed to make it.

    Args:
        adapter: the model, whose dtype and device it keeps.
        path: the `.pt2` file to write.
        layers, part: see `masked_module`.
        batch: B, the masks of one forward, each with its clip.
        num_units: U, columns of keep.

    Returns:
        The path.

    Raises:
        InputError: the model cannot be exported or compiled, with the reason.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise InputError(f"package_masked_model: path expected to end in .pt2, got {path.name!r}")
    module = masked_module(adapter, layers, part)
    parameter = next(adapter.model.parameters())
    t, h, w = adapter.token_grid
    frames = adapter.preprocess(torch.zeros(adapter.num_frames, 64, 64, 3, dtype=torch.uint8))
    clips = frames.to(parameter).expand(batch, *frames.shape).contiguous()
    assign = torch.zeros(
        len(layers), batch, adapter.num_heads, t * h * w, dtype=torch.int32, device=parameter.device
    )
    keep = torch.ones(batch, num_units, dtype=torch.bool, device=parameter.device)
    try:
        with torch.no_grad():
            program = torch.export.export(module, (clips, assign, keep), strict=False)
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:  # of a model, its code's or a compiler's
        raise InputError(
            f"package_masked_model: {adapter.name} could not be compiled: {first_line(error)}"
        ) from error
    return path
