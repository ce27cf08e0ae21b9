"""A stored encoder is the same encoder, under a version that names its weights and its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.lake import Lake
from tests.encoder.encoders import by_key, encoder_of
from tests.networks import networks_of


def test_a_saved_encoder_is_the_same_encoder(lake: Lake) -> None:
    networks = networks_of("cnn", 2)
    config = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, dimension=8, transformer=False)
    encoder = encoder_of(config)
    version = store.save(lake, encoder, {"seed": 0})
    found, loaded = store.load(lake)
    assert found == version == store.current_version(lake)
    assert (loaded.config, loaded.training) == (config, False)
    before, after = by_key(encoder, networks), by_key(loaded, networks)
    assert all(np.array_equal(before[key].network, after[key].network) for key in before)


def test_versions_name_weights_and_training(lake: Lake) -> None:
    config = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, dimension=8)
    first = store.save(lake, encoder_of(config), {"seed": 0})
    second = store.save(lake, encoder_of(config, seed=1), {"seed": 0})
    third = store.save(lake, encoder_of(config), {"seed": 1})
    fourth = store.save(lake, encoder_of(replace(config, transformer=False)), {"seed": 0})
    assert len({first, second, third, fourth}) == 4
    assert store.current_version(lake) == fourth
    assert store.save(lake, encoder_of(config), {"seed": 0}) == first == store.current_version(lake)
    assert store.load(lake, second)[0] == second
    assert sorted(path.name for path in lake.encoders.iterdir()) == sorted(
        [first, second, third, fourth, "current"]
    )


def test_a_lake_without_an_encoder(lake: Lake) -> None:
    assert store.current_version(lake) is None
    with pytest.raises(store.NoEncoder, match="64 small networks"):
        store.load(lake)
