"""The weights of a model: their fingerprint, and the untrained control."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.lock import alone_in
from vtcd_ops.common.accelerator import choose_device
from vtcd_ops.common.errors import InputError, first_line

__all__ = [
    "floating_type",
    "like_trained",
    "moved",
    "placed",
    "randomize_weights",
    "weights_sha256",
]

_PIECE = 4096  # bytes that are summed together

#: The sums and the fingerprint of models that were asked for.
_KNOWN: WeakKeyDictionary[nn.Module, tuple[object, str]] = WeakKeyDictionary()


def weights_sha256(model: nn.Module) -> str:
    """Return a fingerprint of a model's parameters and saved buffers.

    It depends on names, shapes, types and every bit of the values, not on the device or the order.
    It is worked out once for a model whose values stay what they are, which sums over them tell.

    >>> import torch
    >>> from vtcd_ops.adapters import weights_sha256
    >>> layer = torch.nn.Linear(2, 2)
    >>> before = weights_sha256(layer)
    >>> len(before), before == weights_sha256(layer)
    (64, True)
    >>> _ = torch.nn.init.zeros_(layer.bias)
    >>> before == weights_sha256(layer)
    False
    """
    state = sorted(model.state_dict().items())
    sums = tuple(_sums(name, tensor) for name, tensor in state)
    known = _KNOWN.get(model)
    if known is not None and known[0] == sums:
        return known[1]
    digest = hashlib.sha256()
    for name, tensor in state:
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor).numpy().data)
    found = digest.hexdigest()
    _KNOWN[model] = (sums, found)
    return found


def _bytes(tensor: Tensor) -> Tensor:
    # Bytes rather than numbers: NumPy has no bfloat16.
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)


def _sums(name: str, tensor: Tensor) -> tuple[object, ...]:
    """What changes with the values of a tensor, however they were changed, at a tenth of the price.

    Versions and addresses do not tell: a change through `.data` leaves both. So all values are
    summed as whole numbers, piece by piece, so that an exchange of pieces shows too.
    """
    plain = _bytes(tensor).numpy()
    whole = len(plain) // _PIECE * _PIECE
    sums = plain[:whole].view(np.int64).reshape(-1, _PIECE // 8).sum(axis=1)
    return name, tensor.dtype, tuple(tensor.shape), sums.tobytes(), plain[whole:].tobytes()


def randomize_weights(adapter: Adapter, seed: int = 0) -> Adapter:
    """Return the same architecture, untrained: the control for everything found in a model.

    The model parameter randomisation test of Adebayo et al., "Sanity Checks for Saliency Maps"
    (NeurIPS 2018, section 4.1): all layers get the weights with which their training starts.
    (Shuffling the trained values instead would keep their distribution, which was learnt.)
    Fixed tables such as sine positions stay, as do the preprocessing and the token grid.

    >>> from vtcd_ops.adapters import example_adapter, randomize_weights, weights_sha256
    >>> trained = example_adapter()
    >>> control = randomize_weights(trained, seed=1)
    >>> control.name
    'example (weights randomised, seed 1)'
    >>> weights_sha256(control.model) == weights_sha256(trained.model)
    False

    Args:
        adapter: the model; it is left alone. It must offer ``untrained_model`` and ``with_model``,
            as the classes of :mod:`vtcd_ops.adapters` do.
        seed: the same seed gives the same weights; torch's global generator is left as it was.
    """
    untrained = getattr(adapter, "untrained_model", None)
    with_model = getattr(adapter, "with_model", None)
    if untrained is None or with_model is None:
        raise InputError(
            f"randomize_weights: {type(adapter).__name__} expected to have untrained_model() and "
            "with_model(); derive it from vtcd_ops.adapters.AttentionAdapter"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = untrained()
    control: Any = with_model(model.eval(), f"{adapter.name} (weights randomised, seed {seed})")
    heads, neurons = (getattr(adapter, f"removed_{what}", {}) for what in ("heads", "neurons"))
    if (heads or neurons) and _shapes(model) != _shapes(adapter.model):  # built anew, with all
        control.removed_heads, control.removed_neurons = frozenset(), {}
        control = control.without(heads, neurons, control.name, inplace=True)
    found: Adapter = control
    return found


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def floating_type(dtype: str | torch.dtype) -> torch.dtype:
    """Return the floating point type of a name.

    >>> floating_type("bfloat16")
    torch.bfloat16

    Raises:
        InputError: no such type.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"load_model: dtype expected float32, bfloat16 or float16, got {dtype!r}")
    return found


def placed(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Return the model on a device, in place.

    Tables that its modules hold as plain tensors, beside parameters and buffers, go there as well:
    left behind, they would be copied in every forward.

    >>> placed(torch.nn.Linear(2, 2), "nowhere")
    Traceback (most recent call last):
    vtcd_ops.common.errors.InputError: load_model: device 'nowhere' cannot be used: ...

    Raises:
        InputError: there is no such device.
    """
    chosen = choose_device("load_model", device)
    try:
        return moved(model, chosen)
    except RuntimeError as error:  # no memory
        reason = first_line(error)
        raise InputError(f"load_model: device {str(device)!r} cannot be used: {reason}") from error


def like_trained(model: nn.Module, trained: nn.Module) -> nn.Module:
    """Return a new model, in place, on the device, of the type and in the mode of a trained one.

    >>> trained = torch.nn.Linear(2, 2).to(torch.float64).eval()
    >>> untrained = like_trained(torch.nn.Linear(2, 2), trained)
    >>> untrained.weight.dtype, untrained.training
    (torch.float64, False)
    """
    first = next(trained.parameters())
    return moved(model.to(first.dtype), first.device).train(trained.training)


def moved(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model on a device that there is, in place; see :func:`placed`."""
    with alone_in(model):
        model.to(device)
        for module in model.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, Tensor) and value.is_floating_point():
                    setattr(module, name, value.to(device))
    return model
