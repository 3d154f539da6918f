"""A training loop around `concept_mask`: which of many units does a task need?

    python examples/learn_a_mask.py

Tokens belong to 24 units; the label of a sample depends on 6 of them. Random units are dropped in
training, differently for every sample and step (a bool mask), and a gate for every unit is learnt
together with the classifier under a penalty on open gates (a floating mask). The step is compiled
once, though the masks change in each.
"""

import sys

import torch
from torch import Tensor, nn

import vtcd_ops  # noqa: F401  (registers torch.ops.vtcd)

HEADS, TOKENS, CHANNELS, UNITS, NEEDED = 4, 36, 8, 24, 6


class GatedClassifier(nn.Module):
    """Mean of masked and gated tokens of each head, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_logits = nn.Parameter(torch.zeros(UNITS))
        self.classify = nn.Linear(HEADS * CHANNELS, 2)

    def gates(self) -> Tensor:  # [U]
        return self.gate_logits.sigmoid()

    def forward(self, x: Tensor, assign: Tensor, keep: Tensor) -> Tensor:
        # x [B, A, N, C], assign [1, A, N], keep bool [B, U]
        dropped = torch.ops.vtcd.concept_mask(x, assign, keep)
        gates = self.gates().expand(len(x), -1)
        gated = torch.ops.vtcd.concept_mask(dropped, assign, gates)
        return self.classify(gated.mean(2).flatten(1))


def make_batch(assign: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw features [B, A, N, C] whose units 0 to 5 carry the label in their first channel."""
    label = torch.randint(0, 2, (size,), generator=generator)
    x = torch.randn(size, HEADS, TOKENS, CHANNELS, generator=generator)
    signal = (assign < NEEDED) * (2.0 * label[:, None, None] - 1)
    x[..., 0] += signal
    return x, label


def train(steps: int = 300, backend: str = "inductor") -> tuple[GatedClassifier, list[float]]:
    """Return the trained classifier and its loss at every step."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    assign = (torch.arange(HEADS * TOKENS) % UNITS).int().reshape(1, HEADS, TOKENS)
    model = GatedClassifier()
    step = torch.compile(model, fullgraph=True, backend=backend)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(steps):
        x, label = make_batch(assign, 64, generator)
        keep = torch.rand(64, UNITS, generator=generator) > 0.2
        loss = nn.functional.cross_entropy(step(x, assign, keep), label)
        (loss + 0.01 * model.gates().sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return model, losses


def main() -> None:
    model, losses = train(backend=sys.argv[1] if len(sys.argv) > 1 else "inductor")
    gates = model.gates().detach()
    print(f"loss: {losses[0]:.3f} at first, {sum(losses[-20:]) / 20:.3f} at last")
    print(f"gates of the units that carry the label: {gates[:NEEDED].mean():.2f} on average")
    print(f"gates of the others: {gates[NEEDED:].mean():.2f}")


if __name__ == "__main__":
    main()
