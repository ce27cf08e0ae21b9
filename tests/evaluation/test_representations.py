"""What methods tell of networks, as vectors of one length."""

from __future__ import annotations

import numpy as np
import torch

from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.embedder import Embedder
from peace_pipeline.evaluation.representations import (
    CARDS,
    RESPONSES,
    SHAPES,
    TITLES,
    in_blocks,
    joined,
    read_all,
    represent,
)
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES, VERSION
from tests.evaluation.conftest import listed, networks_of


def response(key: str, seed: int) -> Response:
    outputs = np.random.default_rng(seed).normal(size=(PROBES, 4)).astype(np.float32)
    return Response(key, NUMBERS, outputs, VERSION, "test")


def test_every_method_gives_unit_vectors_in_the_order_of_the_networks() -> None:
    torch.manual_seed(0)
    networks = [*networks_of("mlp", 4), *networks_of("cnn", 4)]
    embedder = Embedder(Encoder())
    read = read_all(
        [
            listed(each, response(each.key, place) if place % 4 else None, card=f"number {place} of many")
            for place, each in enumerate(networks)
        ],
        embedder,
    )
    twice = joined(read, read)
    vectors = represent(twice, np.arange(16) < 8, seed=0)
    assert vectors.keys() == TITLES.keys()
    for name, matrix in vectors.items():
        assert len(matrix) == 16
        norms = np.linalg.norm(matrix, axis=1)
        silent = np.isclose(norms, 0)
        assert np.allclose(norms[~silent], 1)
        assert silent.tolist() == [name == RESPONSES and place % 4 == 0 for place in range(16)]
        if name != "chance":
            assert np.allclose(matrix[:8], matrix[8:])
    assert vectors["statistics"][0] @ vectors["statistics"][4] == 0
    assert vectors[SHAPES][0] @ vectors[SHAPES][1] == 1
    assert vectors[CARDS][0] @ vectors[CARDS][1] > 0


def test_what_is_learned_is_learned_of_the_training_split() -> None:
    random = np.random.default_rng(0)
    values = [*random.normal(size=(20, 5))]
    train = np.arange(20) < 10
    other = [*values[:10], *(100 * each for each in values[10:])]
    assert np.allclose(in_blocks(values, [0] * 20, train, 0)[:10], in_blocks(other, [0] * 20, train, 0)[:10])
