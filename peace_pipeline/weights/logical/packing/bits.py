"""Small numbers out of words: integers of 1 to 8 bits, and floats of 4."""

from __future__ import annotations

import torch

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""Code → value of a 4-bit float (OCP Microscaling Formats 1.0, table 5)."""
_OF_AWQ = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in a word of AWQ the eight values lie."""


def integers(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The integers of ``bits`` bits without a sign that lie one after the other in the words of the last axis, the
    lowest bits first: (…, words) → (…, words · width of a word / bits)."""
    octets = words.contiguous().view(torch.uint8)
    if bits == 8:
        return octets
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
        return ((octets.unsqueeze(-1) >> shifts) & (2**bits - 1)).flatten(-2)
    groups = octets.unflatten(-1, (-1, bits)).long()  # eight integers in as many octets as one has bits
    joined = (groups << torch.arange(0, 8 * bits, 8)).sum(-1, keepdim=True)
    return ((joined >> torch.arange(0, 8 * bits, bits)) & (2**bits - 1)).flatten(-2).to(torch.uint8)


def integers_of_awq(words: torch.Tensor) -> torch.Tensor:
    """The 4-bit integers in words of 32 bits as AWQ orders them: (…, words) → (…, 8 · words)."""
    return integers(words, 4).unflatten(-1, (-1, 8))[..., _OF_AWQ].flatten(-2)


def floats(
    octets: torch.Tensor, values: torch.Tensor | None = None, *, is_high_first: bool = False
) -> torch.Tensor:
    """What two 4-bit codes an octet stand for (by default those of :data:`E2M1`): (…, octets) → (…, 2 · octets)."""
    table = torch.tensor(E2M1) if values is None else values.float()
    codes = integers(octets, 4)
    if is_high_first:
        codes = codes.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return table[codes.int()]


def powers(exponents: torch.Tensor) -> torch.Tensor:
    """The powers of two that octets stand for as exponents with a bias of 127 (E8M0)."""
    return exponents.view(torch.float8_e8m0fnu).float()
