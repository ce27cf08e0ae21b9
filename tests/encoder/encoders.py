"""Untrained encoders, and what they make of networks."""

from __future__ import annotations

import numpy as np
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.embed import Embedding, embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.symmetry.network import Network

SYMMETRIC = ["mlp", "cnn", "resnet", "bottleneck"]
ARCHITECTURES = [*SYMMETRIC, "independent"]


def encoder_of(config: EncoderConfig | None = None, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(config).eval()


def by_key(
    encoder: Encoder, networks: list[Network], dtype: torch.dtype = torch.float32
) -> dict[str, Embedding]:
    found = list(embed(encoder, networks, dtype))
    assert len(found) == len(networks)
    return {embedding.key: embedding for embedding in found}


def close(a: Embedding, b: Embedding, tolerance: float = 1e-5) -> bool:
    return bool(
        np.abs(a.network - b.network).max() <= tolerance and np.abs(a.layers - b.layers).max() <= tolerance
    )
