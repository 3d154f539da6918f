"""Where the attention of a model is: its modules, and the projections around them.

One forward shows what every attention module hands to the attention function and what every linear
layer inside it takes and gives. A projection is found by its numbers: the values that it gives are
those that attention gets. Queries and keys that attention gets in another shape than any projection
gives them (rotated by their place, or normalised) are taken at the projection, before that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vtcd_hf_video.auto.tower import Tower
from vtcd_ops.adapters import InputError, Projections
from vtcd_ops.adapters.huggingface import listening

__all__ = ["Attention", "survey"]

_ROLES = ("queries", "keys", "values")
_NAMED = {"queries": r"(^|[._])(q|wq|query)($|_)", "keys": r"(^|[._])(k|wk|key)($|_)"}


@dataclass
class Attention:
    """One attention module that a forward ran.

    Attributes:
        name: of the module in the model.
        heads, head_dim: its own.
        as_given: whether the attention function sees queries, keys and values as projections give
            them, all tokens in one call.
        projections: the modules around it; None when they were not found.
        problem: why its features cannot be taken; None when they can.
    """

    name: str
    heads: int = 0
    head_dim: int = 0
    as_given: bool = False
    projections: Projections | None = None
    problem: str | None = None


@dataclass
class _Seen:
    """What was seen of one module: parts of every call, and (input, output) of linear layers."""

    parts: dict[str, list[Tensor]] = field(default_factory=dict)
    linears: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)


def survey(tower: Tower, clips: Tensor) -> list[Attention]:
    """Return the attention modules that a forward on clips [1, T, 3, H', W'] ran, in order.

    Raises:
        InputError: none of them goes through transformers' attention interface.
    """
    names = {id(module): name for name, module in tower.model.named_modules()}
    seen: dict[str, _Seen] = {}

    def listen(module: nn.Module, part: str, features: Tensor) -> Tensor:
        found = seen.setdefault(names[id(module)], _Seen())
        found.parts.setdefault(part, []).append(features.detach().clone())
        return features

    with torch.no_grad(), listening(tower.model, listen):
        tower.run(clips)  # which modules attend
        for each in seen.values():
            each.parts.clear()
        with _recorded(tower.model, seen):
            tower.run(clips)
    if not seen:
        raise InputError(
            f"auto: {type(tower.model).__name__} does not compute its attention through "
            "transformers' AttentionInterface, so nothing shows its queries, keys and values; "
            "vtcd_ops.adapters.ProjectionAdapter takes them at named modules"
        )
    return [_examined(name, tower.model, found) for name, found in seen.items()]


@contextmanager
def _recorded(model: nn.Module, seen: dict[str, _Seen]) -> Iterator[None]:
    """Record what the linear layers around the modules seen take and give."""
    handles = []
    for name, found in seen.items():
        # Some models have the output projection beside the module that attends, not inside it.
        outer = name.rpartition(".")[0] or name
        for inner, linear in model.get_submodule(outer).named_modules(prefix=outer):
            if isinstance(linear, nn.Linear):

                def hook(
                    _: Any, args: Any, out: Tensor, to: _Seen = found, at: str = inner
                ) -> None:
                    to.linears.setdefault(at, []).append((args[0].detach(), out.detach()))

                handles.append(linear.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _examined(name: str, model: nn.Module, seen: _Seen) -> Attention:
    """Say what one module can be asked for."""
    shapes = {part: calls[0].shape for part, calls in seen.parts.items()}
    query, key = shapes["queries"], shapes["keys"]
    found = Attention(name, heads=query[1], head_dim=query[3])
    if query[2] != key[2]:
        found.problem = f"{query[2]} queries look at {key[2]} tokens, which is no self-attention"
    elif set(shapes.values()) != {query}:
        found.problem = "its keys or values have fewer heads, or other channels, than its queries"
    if found.problem is not None:
        return found
    flat, modules = _matched(name, seen, query[1], query[3])
    one_call = len(seen.parts["queries"]) == 1
    roles = [role for role in seen.parts if role in flat]
    found.as_given = one_call and (
        all(_sorted(seen.parts[role]).equal(_sorted([flat[role]])) for role in roles)
        if len(roles) == len(seen.parts)
        else _from_one_projection(seen)
    )
    if modules:
        found.projections = Projections(
            **{role: model.get_submodule(inner) for role, inner in modules.items()}
        )
    elif not found.as_given:
        calls = "" if one_call else f"it attends {len(seen.parts['queries'])} times a forward; "
        found.problem = (
            f"{calls}what it attends to is no linear layer's output of one call a forward"
        )
    return found


def _matched(
    name: str, seen: _Seen, heads: int, head_dim: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what projections gave and took, by role, and their names, if all were found."""
    width = heads * head_dim
    once = {at: calls[0] for at, calls in seen.linears.items() if len(calls) == 1}
    given = {at: out for at, (_, out) in once.items() if out.shape[-1] == width}
    taken = {at: into for at, (into, _) in once.items() if into.shape[-1] == width}
    lengths = {role: _lengths(calls) for role, calls in seen.parts.items()}

    def match(role: str, among: dict[str, Tensor]) -> str | None:
        for at, tensor in among.items():
            mine = _lengths([tensor.unflatten(-1, (heads, head_dim))])
            if mine.shape == lengths[role].shape and torch.allclose(mine, lengths[role], rtol=1e-4):
                return at
        return None

    output = match("outputs", taken)
    if output is None:
        return {}, {}
    fused = {at: out for at, (_, out) in once.items() if out.shape[-1] == 3 * width}
    for at, out in fused.items():
        thirds = dict(zip(_ROLES, out.chunk(3, dim=-1), strict=True))
        if match("values", {at: thirds["values"]}):
            return {**thirds, "outputs": taken[output]}, {"qkv": at, "outputs": output}
    modules = {"outputs": output}
    for role in _ROLES:
        named = [at for at in given if at.startswith(f"{name}.") and role in _NAMED
                 and re.search(_NAMED[role], at.rpartition(".")[2])]  # fmt: skip
        found = match(role, given) or (named[0] if len(named) == 1 else None)
        if found is None:
            return {}, {}
        modules[role] = found
    if len(set(modules.values())) < len(modules):
        return {}, {}
    return {
        role: (taken if role == "outputs" else given)[at] for role, at in modules.items()
    }, modules


def _from_one_projection(seen: _Seen) -> bool:
    """Whether queries, keys and values are what one layer gives, in whatever order."""
    parts = _sorted([call for role in _ROLES for call in seen.parts[role]])
    return any(
        _sorted([out]).equal(parts)
        for calls in seen.linears.values()
        for _, out in calls
        if len(calls) == 1 and out.numel() == parts.numel()
    )


def _sorted(tensors: list[Tensor]) -> Tensor:
    """All numbers, in order of size: what is the same however it is arranged."""
    return torch.cat([tensor.flatten() for tensor in tensors]).sort().values


def _lengths(tensors: list[Tensor]) -> Tensor:
    """The length of every head's vector at every token, in order: the same after a rotation."""
    return torch.cat([tensor.float().norm(dim=-1).flatten() for tensor in tensors]).sort().values
