"""The stages' order: each has a module and an asset, in the order in which the assets depend on each other."""

from __future__ import annotations

from importlib import import_module

import pytest

from peace_pipeline.assets.jobs import keys_from
from peace_pipeline.definitions import defs
from peace_pipeline.stages.order import BATCH_STAGES, STAGES, stages_from


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_module(stage: str) -> None:
    assert import_module(f"peace_pipeline.stages.{stage}").__doc__


def test_a_batch_goes_through_stages_in_the_order_of_their_assets() -> None:
    assert list(BATCH_STAGES) == [stage for stage in STAGES if stage in BATCH_STAGES]
    graph, before = defs.resolve_asset_graph(), set()
    for stage in BATCH_STAGES:
        keys = set(keys_from(stage, has_encoder=True)) - {
            key for later in stages_from(stage)[1:] for key in keys_from(later, has_encoder=True)
        }
        assert keys
        for key in keys:
            assert graph.get(key).parent_keys & before or not before
        before = keys


def test_without_an_encoder_nothing_is_embedded() -> None:
    assert stages_from("extract", has_encoder=False) == ["extract", "layers", "respond"]
    assert stages_from("embed", has_encoder=False) == []
    assert stages_from("layers") == ["layers", "respond", "embed", "index"]
