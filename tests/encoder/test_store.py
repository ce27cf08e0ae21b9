"""A stored encoder is the same encoder, under a version that names its weights and its training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.lake import Lake
from tests.encoder.encoders import by_key, encoder_of
from tests.networks import networks_of

SMALL = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, learned=8)


def test_a_saved_encoder_is_the_same_encoder(lake: Lake) -> None:
    networks = networks_of("cnn", 2)
    config = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, learned=8, transformer=False)
    encoder = encoder_of(config)
    version = store.save(lake, encoder, {"seed": 0})
    found, loaded = store.load(lake)
    assert found == version == store.current_version(lake)
    assert (loaded.config, loaded.training) == (config, False)
    before, after = by_key(encoder, networks), by_key(loaded, networks)
    assert all(np.array_equal(before[key].network, after[key].network) for key in before)


def test_versions_name_weights_and_training(lake: Lake) -> None:
    config = SMALL
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


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """The folder of an encoder that a package ships."""
    maker = Lake.open(tmp_path / "maker")
    version = store.save(maker, encoder_of(SMALL, seed=9), {"seed": 9})
    return (maker.encoders / version).rename(tmp_path / "packaged")


def test_without_its_own_a_lake_uses_the_packaged_encoder(lake: Lake, packaged: Path) -> None:
    version = store.packaged_version(packaged)
    assert version == store.current_version(lake, packaged) != store.own_version(lake)
    found, encoder = store.load(lake, packaged=packaged)
    assert found == version
    assert not encoder.training
    assert not lake.encoders.exists()
    own = store.save(lake, encoder_of(SMALL), {})
    assert store.current_version(lake, packaged) == store.load(lake, packaged=packaged)[0] == own
    assert store.load(lake, version, packaged)[0] == version


def test_what_the_packaged_encoder_made_can_be_searched_when_another_is_packaged(
    lake: Lake, packaged: Path, tmp_path: Path
) -> None:
    version = store.packaged_version(packaged)
    assert version
    store.keep(lake, version, packaged)
    store.keep(lake, version, packaged)
    assert [path.name for path in lake.encoders.iterdir()] == [version]
    assert store.own_version(lake) is None
    assert store.load(lake, version, tmp_path / "nowhere")[0] == version
    store.keep(lake, store.save(lake, encoder_of(SMALL), {}), packaged)
    assert len(list(lake.encoders.iterdir())) == 3


def test_an_encoder_of_another_format_counts_as_none(lake: Lake, packaged: Path, tmp_path: Path) -> None:
    version = store.save(lake, encoder_of(SMALL), {})
    config = lake.encoders / version / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format": 1}))
    assert store.current_version(lake, tmp_path / "nowhere") is None
    assert store.current_version(lake, packaged) == store.packaged_version(packaged)
    with pytest.raises(store.NoEncoder, match=f"encoder {version} is neither"):
        store.load(lake, version, packaged)


def test_no_encoder_anywhere(lake: Lake, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert store.current_version(lake, nowhere) is store.packaged_version(nowhere) is None
    with pytest.raises(store.NoEncoder, match="no encoder in"):
        store.load(lake, packaged=nowhere)


def test_what_the_package_ships_is_whole_and_small() -> None:
    names = {path.name for path in store.PACKAGED.iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    assert (store.PACKAGED / "model.safetensors").stat().st_size <= 8 * 2**20
    assert store.packaged_version()


def test_another_encoder_can_be_used_again(lake: Lake, packaged: Path) -> None:
    first, second = (store.save(lake, encoder_of(SMALL, seed=seed), {"seed": seed}) for seed in range(2))
    shipped = store.packaged_version(packaged)
    assert {*store.versions(lake, packaged)} == {shipped, first, second}
    assert store.versions(lake, packaged)[0] == shipped
    assert store.use(lake, first, packaged) == first == store.current_version(lake, packaged)
    for name in ("pretrained", shipped, "pretrained"):
        assert store.use(lake, name or "", packaged) == shipped == store.current_version(lake, packaged)
        assert store.own_version(lake) is None
    with pytest.raises(store.NoEncoder, match="nope is neither"):
        store.use(lake, "nope", packaged)
    assert store.use(lake, second, packaged) == store.own_version(lake)
