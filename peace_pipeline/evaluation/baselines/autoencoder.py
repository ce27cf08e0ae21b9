"""Codes of an autoencoder of the weights of a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor, nn
from torch.nn import functional as F

from peace_pipeline.evaluation.baselines.flattened import values
from peace_pipeline.evaluation.baselines.registry import Similarity, baseline, within_signature
from peace_pipeline.evaluation.readings import Readings
from peace_pipeline.threads import one_thread

HIDDEN, CODE, STEPS, BATCH = 64, 32, 60, 64


@baseline("Flattened weights, autoencoder", reads=values)
@within_signature
def autoencoder(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of the codes (32 numbers) of an autoencoder of all weights in one vector (of more than 16,384 so many at
    even distances), standardised, one for each signature, trained on the training split for 60 steps (on the gallery,
    where the split has fewer than two such networks)."""
    codes = _encoder((train if len(train) > 1 else gallery).matrix)
    return cosine_similarity(codes(queries.matrix), codes(gallery.matrix))


def _encoder(known: NDArray[np.floating]) -> Callable[[NDArray[np.floating]], NDArray[np.float32]]:
    """What gives codes (networks, code) of vectors (networks, values), learned from those ``known``."""
    mean, deviation = known.mean(0), known.std(0)
    scale = np.where(deviation > 0, deviation, 1)

    def scaled(vectors: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(((vectors - mean) / scale).astype(np.float32))

    size = known.shape[1]
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(0)
        encode = nn.Sequential(nn.Linear(size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE))
        decode = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size))
        optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], 1e-3)
        inputs = scaled(known)
        for _ in range(STEPS):
            batch = inputs[torch.randperm(len(inputs))[:BATCH]]
            optimizer.zero_grad()
            F.mse_loss(decode(encode(batch)), batch).backward()
            optimizer.step()

    @torch.inference_mode()
    def codes(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        return encode(scaled(vectors)).numpy()

    return codes
