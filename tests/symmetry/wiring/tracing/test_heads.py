"""Attention heads of traced networks, proven by running them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from peace_pipeline.symmetry.testing import assert_module_invariant
from peace_pipeline.symmetry.wiring.symmetries import MIX, PERMUTE
from peace_pipeline.symmetry.wiring.tracing import trace
from peace_pipeline.symmetry.wiring.types import Group, Wiring

WIDTH, HEADS, HEAD = 12, 4, 3


def turned(x: Tensor) -> Tensor:
    """The first two entries turned by their position, as rotary positions are."""
    (first, second), rest = x[..., :2].chunk(2, -1), x[..., 2:]
    angle = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None]
    pairs, swapped = torch.cat([first, second], -1), torch.cat([-second, first], -1)
    return torch.cat([pairs * angle.cos() + swapped * angle.sin(), rest], -1)


class Attention(nn.Module):
    """Attention of ``HEADS`` heads, ``keys`` of which have their own keys and values; what ``kind`` says is done to
    queries and keys, to scores, or to values."""

    def __init__(self, kind: str, keys: int = HEADS) -> None:
        super().__init__()
        self.kind, self.keys = kind, keys
        self.embed = nn.Linear(5, WIDTH)
        if kind in ("fused", "stacked"):
            self.qkv = nn.Linear(WIDTH, 3 * HEADS * HEAD)
        else:
            self.q, self.k = nn.Linear(WIDTH, HEADS * HEAD), nn.Linear(WIDTH, keys * HEAD)
            self.v = nn.Linear(WIDTH, keys * HEAD)
        self.o = nn.Linear(HEADS * HEAD, WIDTH)
        if kind == "normed":
            self.gain = nn.Parameter(torch.ones(HEAD))
        if kind == "talking":
            self.talk = nn.Linear(HEADS, HEADS)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.kind == "stacked":
            q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, HEAD)).permute(2, 0, 3, 1, 4)
        else:
            fused = self.kind == "fused"
            q, k, v = self.qkv(x).chunk(3, -1) if fused else (self.q(x), self.k(x), self.v(x))
            q, k, v = (each.unflatten(-1, (-1, HEAD)).transpose(1, 2) for each in (q, k, v))
        if self.kind == "normed":
            q, k = (each * each.square().mean(-1, keepdim=True).rsqrt() * self.gain for each in (q, k))
        if self.kind == "positions":
            places = torch.arange(1.0, HEAD + 1, dtype=q.dtype, device=q.device)
            q, k = q * places, k * places.reciprocal().sqrt()
        if self.kind == "turned":
            q, k = turned(q), turned(k)
        shared = HEADS // self.keys
        k, v = (each[:, :, None].expand(-1, -1, shared, -1, -1).flatten(1, 2) for each in (k, v))
        scores = q @ k.transpose(2, 3) * HEAD**-0.5
        if self.kind == "slopes":
            scores = scores + torch.arange(1.0, HEADS + 1, device=q.device, dtype=q.dtype)[:, None, None]
        scores = scores.softmax(-1)
        if self.kind == "talking":
            scores = self.talk(scores.movedim(1, -1)).movedim(-1, 1)
        values = torch.relu(v) if self.kind == "relu" else v
        out = scores @ values
        if self.kind == "meeting":
            out = out + out.mean(1, keepdim=True)
        return self.head(x + self.o(out.transpose(1, 2).flatten(2)))


def of_heads(wiring: Wiring) -> tuple[list[Group], int]:
    """The permutable groups of heads, and how many groups of their entries are mixed."""
    entries = [group for group in wiring.groups.values() if group.width > 1]
    over = {group.along: wiring.groups[group.along] for group in entries if group.along}
    return [group for group in over.values() if PERMUTE in group.actions], sum(
        MIX in group.actions for group in entries
    )


CASES = {
    "plain": (True, 2), "normed": (True, 1), "positions": (True, 1), "slopes": (False, 2), "talking": (True, 2),
    "relu": (True, 1), "meeting": (True, 1), "fused": (True, 2), "stacked": (True, 2), "turned": (True, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_heads_have_what_is_done_to_each_alike(kind: str) -> None:
    torch.manual_seed(0)
    module, inputs = Attention(kind).double(), torch.randn(4, 6, 5, dtype=torch.float64)
    wiring = trace(module, inputs)
    heads, mixed = of_heads(wiring)
    assert (bool(heads), mixed) == CASES[kind]
    assert all((group.size, group.bundle) == (HEADS, 1) for group in heads)
    assert all({*group.actions} <= {MIX} for group in wiring.groups.values() if group.width > 1)
    assert_module_invariant(module, wiring, inputs)


def test_heads_that_share_keys_stay_together() -> None:
    torch.manual_seed(0)
    module, inputs = Attention("plain", 2).double(), torch.randn(4, 6, 5, dtype=torch.float64)
    wiring = trace(module, inputs)
    (heads,), mixed = of_heads(wiring)
    assert (heads.size, heads.bundle, mixed) == (HEADS, 2, 2)
    assert_module_invariant(module, wiring, inputs)
