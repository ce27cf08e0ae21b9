"""A fixed sketch of what a network answers: one vector for any number of outputs, in which nothing is learned.

Its inner products are about those of the probabilities themselves, less chance, over all probes and outputs (a random
projection with signs for the places: Johnson and Lindenstrauss 1984; Charikar et al. 2002, section 3).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.standard import KINDS, PROBES, SKETCH

_SEED = 20_242


def sketch(answers: Answers) -> torch.Tensor:
    """Unit vectors (networks, SKETCH); about orthogonal between kinds of inputs."""
    outputs = answers.outputs
    if outputs.shape[2] == 1:
        outputs = torch.cat([outputs, torch.zeros_like(outputs)], 2)
    likely = outputs.softmax(2) - 1 / outputs.shape[2]
    projection, signs = (
        torch.from_numpy(part).to(outputs)
        for part in _projection(KINDS.index(answers.kind), outputs.shape[2])
    )
    projected = torch.einsum("npo,ps,os->ns", likely, projection, signs)
    return torch.nn.functional.normalize(projected, dim=-1)


@lru_cache(maxsize=32)
def _projection(kind: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """The map of a kind's probes (PROBES, SKETCH), and the signs of the first ``outputs`` places (outputs, SKETCH)."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((_SEED, kind))))
    projection = np.linalg.qr(generator.standard_normal((PROBES, SKETCH)))[0]
    return projection, np.sign(generator.standard_normal((outputs, SKETCH)))
