"""A fixed sketch of what a network answers: one vector for any number of outputs.

Answers are compared as the square roots of probabilities (Hellinger 1909), each network's less their mean over its own
probes. Of the probes count a few directions, those in which networks of different tasks differ and networks of one task
agree (linear discriminants; Fisher 1936): they are shipped, and were fitted to networks of other kinds of data than
those that figures are of (``benchmarks/sketch.py`` makes them and compares what else there is). Directions and outputs
share the coordinates by a count sketch (Charikar et al. 2002), so that inner products are kept for any number of
outputs; up to ten outputs don't meet in the first directions.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.standard import KINDS, READ_AS, SKETCH

DIRECTIONS = Path(__file__).with_name("directions.safetensors")
"""Kind of input → (PROBES, directions), the first ones first."""
_SEED = 20_242
_APART = 10
"""Coordinates between two directions: so many outputs lie side by side."""
_LEAST = 0.01
"""Norm of answers below which they don't differ by more than rounding."""


def sketch(answers: Answers, directions: torch.Tensor | None = None) -> torch.Tensor:
    """Unit vectors (networks, SKETCH); zeros where all probes are answered alike. A single output counts as two.

    ``directions`` (PROBES, …) stand in for those of the package. Kinds of inputs are about orthogonal.
    """
    if directions is None:
        directions = torch.from_numpy(_directions()[READ_AS[answers.kind]])
    told = torch.einsum("npo,pd->nod", roots(answers.outputs), directions.to(answers.outputs))
    signs = torch.from_numpy(_signs(KINDS.index(answers.kind), *told.shape[1:])).to(told)
    places, numbers = (torch.arange(size, device=told.device) for size in told.shape[1:])
    coordinates = (places[:, None] + _APART * numbers) % SKETCH
    joined = told.new_zeros(len(told), SKETCH)
    joined = joined.index_add(1, coordinates.flatten(), (told * signs).flatten(1))
    norms = joined.norm(dim=1, keepdim=True)
    return joined / norms.clamp(min=_LEAST) * (norms > _LEAST)


def roots(outputs: torch.Tensor) -> torch.Tensor:
    """Square roots of the probabilities of logits (networks, probes, outputs), less their mean over the probes."""
    if outputs.shape[2] == 1:
        outputs = torch.cat([outputs, torch.zeros_like(outputs)], 2)
    likely = outputs.softmax(2).sqrt()
    return likely - likely.mean(1, keepdim=True)


@lru_cache(maxsize=1)
def _directions() -> dict[str, np.ndarray]:
    return load_file(DIRECTIONS)


@lru_cache(maxsize=32)
def _signs(kind: int, outputs: int, directions: int) -> np.ndarray:
    """Of each output and direction of a kind of input; the first outputs have the same however many follow."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((_SEED, kind))))
    return np.sign(generator.standard_normal((outputs, directions)))
