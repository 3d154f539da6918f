"""A clip that a batch of masks repeats is embedded once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["embedding_once"]

#: What embeds patches or tubelets of a clip; each item of a batch by itself.
_EMBEDDINGS = (nn.Conv2d, nn.Conv3d)


@contextlib.contextmanager
def embedding_once(model: nn.Module) -> Iterator[None]:
    """While open, convolutions of one item that `expand` repeats as a batch run once.

    >>> import torch
    >>> layer = nn.Conv3d(3, 2, kernel_size=2)
    >>> clip = torch.rand(1, 3, 4, 4, 4)
    >>> with embedding_once(layer):
    ...     embedded = layer(clip.expand(5, -1, -1, -1, -1))
    >>> embedded.shape[0], embedded.stride(0), torch.equal(embedded[3:4], layer(clip))
    (5, 0, True)
    """
    with contextlib.ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, _EMBEDDINGS):
                repeats: list[int] = []

                def before(module: nn.Module, args: Any, repeats: list[int] = repeats) -> Any:
                    x: Tensor = args[0]
                    repeated = x.dim() > 1 and x.shape[0] > 1 and x.stride(0) == 0
                    repeats.append(x.shape[0] if repeated else 0)
                    return (x[:1], *args[1:]) if repeated else None

                def after(
                    module: nn.Module, args: Any, output: Tensor, repeats: list[int] = repeats
                ) -> Tensor | None:
                    repeat = repeats.pop()
                    return output.expand(repeat, *output.shape[1:]) if repeat else None

                for handle in (
                    module.register_forward_pre_hook(before),
                    module.register_forward_hook(after),
                ):
                    hooks.callback(handle.remove)
        yield
