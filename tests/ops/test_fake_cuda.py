"""CUDA without a GPU: which operators have a kernel, and what they promise of tensors there.

A fake tensor has a device, but no memory: `torch.compile` traces with such ones.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from ops.test_wrong_calls import KERNELS
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.ops import library
from vtcd_ops.ops.library import has_kernel

IS_BUILT = library.library_path("cuda").is_file()


def all_names() -> set[str]:
    names = torch._C._dispatch_get_all_op_names()
    return {name.removeprefix("vtcd::") for name in names if name.startswith("vtcd::")}


def test_every_operator_is_tried_here() -> None:
    assert KERNELS.keys() == all_names()


@pytest.mark.skipif(not IS_BUILT, reason="no CUDA compiler: the CUDA kernels were NOT built")
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_cuda_kernel_is_registered(name: str) -> None:
    # cris_sample has no tensor among its arguments by which a kernel could be chosen
    key = "CompositeExplicitAutograd" if name == "cris_sample" else "CUDA"
    assert has_kernel(f"vtcd::{name}", key)


def fake(value: Any, device: str) -> Any:
    """A tensor like another one on a device, made under the mode that is active."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty(value.shape, dtype=value.dtype, device=device)


def as_list(outputs: Any) -> list[Tensor]:
    if outputs is None:
        return []
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_outputs_of_fake_tensors_are_on_their_device(name: str) -> None:
    arguments = KERNELS[name]()
    if name == "cris_sample":
        arguments["device"] = "cuda"
    operator = getattr(torch.ops.vtcd, name)
    on_cpu = {key: value for key, value in arguments.items() if key != "device"}
    expected = as_list(operator(**copy.deepcopy(on_cpu)))
    with FakeTensorMode(shape_env=ShapeEnv()):
        found = as_list(operator(**{k: fake(v, "cuda") for k, v in arguments.items()}))
    assert len(found) == len(expected)
    for promised, real in zip(found, expected, strict=True):
        assert promised.device.type == "cuda"
        assert promised.dtype == real.dtype
        for size, wanted in zip(promised.shape, real.shape, strict=True):
            assert isinstance(size, torch.SymInt) or size == wanted  # known from values alone


def test_small_arguments_may_stay_on_the_cpu() -> None:
    beside = {"offsets", "k", "videos", "models"}
    for name in ("cnmf", "kmeans", "silhouette", "rosetta_search", "rosetta_ratios"):
        arguments = KERNELS[name]()
        with FakeTensorMode(shape_env=ShapeEnv()):
            outputs = as_list(
                getattr(torch.ops.vtcd, name)(
                    **{
                        key: fake(value, "cpu" if key in beside else "cuda")
                        for key, value in arguments.items()
                    }
                )
            )
        assert {output.device.type for output in outputs} == {"cuda"}, name


# By which tensor an operator goes; the others have to be where it is.
FIRST = {"_concept_mask_backward": "x"}
OTHERS = [
    (name, argument)
    for name, good in sorted(KERNELS.items())
    for tensors in [[key for key, value in good().items() if isinstance(value, Tensor)]]
    for argument in tensors
    if argument != FIRST.get(name, tensors[0])
]


@pytest.mark.parametrize(("name", "argument"), OTHERS)
def test_an_argument_on_a_gpu_beside_a_first_one_on_the_cpu_is_refused(
    name: str, argument: str
) -> None:
    arguments = KERNELS[name]()
    with FakeTensorMode(shape_env=ShapeEnv()):
        mixed = {
            key: fake(value, "cuda" if key == argument else "cpu")
            for key, value in arguments.items()
        }
        with pytest.raises(ValueError, match=f"^{name}: {argument} expected on cpu, got cuda"):
            getattr(torch.ops.vtcd, name)(**mixed)


@pytest.mark.skipif(not IS_BUILT, reason="no CUDA compiler: the CUDA kernels were NOT built")
@pytest.mark.parametrize(("name", "argument"), OTHERS)
def test_the_kernel_refuses_it_too_before_it_asks_for_the_device_of_the_first(
    name: str, argument: str
) -> None:
    # the dispatcher would take the CUDA kernel for an argument there; "meta" is elsewhere as well
    arguments = KERNELS[name]()
    arguments[argument] = arguments[argument].to("meta")
    cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(RuntimeError, match=f"^{name}: {argument} expected on cpu, got "):
        getattr(torch.ops.vtcd, name).default.redispatch(cuda, **arguments)


def to_fake_gpu(model: torch.nn.Module) -> None:
    """Put weights that nothing is known of in the place of a model's; `Module.to` would copy."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            weights = torch.nn.Parameter(fake(weight, "cuda"), requires_grad=False)
            module.register_parameter(name, weights)


def answer(adapter: Any, clips: Tensor, keep: Tensor) -> Tensor:
    """What the model answers with concepts removed from its keys."""
    assign = torch.zeros(1, 2, 32, dtype=torch.int32, device=clips.device)

    def remove(_part: str, layer: int, features: Tensor) -> Tensor:
        return vtcd_ops.concept_mask(features, assign + layer, keep)

    with vtcd_ops.edit(adapter, remove):
        answer: Tensor = adapter.forward(clips)
    return answer


def arguments_of_a_masked_model() -> tuple[Any, Tensor, Tensor]:
    adapter = example_adapter()
    with FakeTensorMode():
        to_fake_gpu(adapter.model)
        clips = torch.empty(2, 4, 3, 32, 32, device="cuda")
        return adapter, clips, torch.empty(2, 6, dtype=torch.bool, device="cuda")


def check_graph(graph: torch.fx.Graph) -> None:
    """Every step is on the GPU, and concepts are removed in each of three layers."""
    calls = [node.target for node in graph.nodes if node.op == "call_function"]
    assert calls.count(torch.ops.vtcd.concept_mask.default) == 3
    values = [node.meta["val"] for node in graph.nodes if "val" in node.meta]
    tensors = [value for value in values if isinstance(value, Tensor)]
    assert len(tensors) > 20
    assert {tensor.device.type for tensor in tensors} == {"cuda"}


# The derivative cannot be traced here: autograd asks the driver for the stream of a CUDA tensor.
@torch.no_grad()
def test_an_edited_model_is_traced_on_a_fake_gpu() -> None:
    adapter, clips, keep = arguments_of_a_masked_model()
    with detect_fake_mode([clips]):
        traced = make_fx(lambda clips, keep: answer(adapter, clips, keep), tracing_mode="fake")
        check_graph(traced(clips, keep).graph)


@torch.no_grad()
def test_an_edited_model_compiles_on_a_fake_gpu() -> None:
    adapter, clips, keep = arguments_of_a_masked_model()
    graphs: list[torch.fx.Graph] = []

    def keep_graph(module: torch.fx.GraphModule, _inputs: object) -> Any:
        graphs.append(module.graph)
        return make_boxed_func(module.forward)

    compiled = torch.compile(adapter.predict, backend=aot_autograd(fw_compiler=keep_graph))
    with detect_fake_mode([clips]):
        assign = torch.empty(1, 2, 32, dtype=torch.int32, device="cuda")
        with vtcd_ops.edit(adapter, lambda _p, _l, x: vtcd_ops.concept_mask(x, assign, keep)):
            found = compiled(clips)
    [graph] = graphs
    check_graph(graph)
    assert found["logits"].device.type == "cuda"
