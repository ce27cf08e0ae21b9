"""Claims that a module refutes are dropped."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SCALE
from peace_pipeline.symmetry.wiring.tracing import trace
from peace_pipeline.symmetry.wiring.tracing.modules import Example
from peace_pipeline.symmetry.wiring.tracing.shrinking import narrower, smaller
from peace_pipeline.symmetry.wiring.tracing.trying import UNTRIED, tried, without
from peace_pipeline.symmetry.wiring.types import Wiring


def module() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).double()


def claiming_more() -> Wiring:
    wiring = trace(module(), torch.zeros(1, 3))
    return replace(
        wiring,
        groups={name: replace(group, actions=(PERMUTE, SCALE)) for name, group in wiring.groups.items()},
    )


def test_what_a_module_refutes_is_dropped() -> None:
    names = {name: name for name in module().state_dict()}
    found = tried(claiming_more(), module, [Example((torch.randn(4, 3),))], {}, names)
    assert {name: group.actions for name, group in found.groups.items()} == {
        name: group.actions for name, group in trace(module(), torch.zeros(1, 3)).groups.items()
    }
    assert not found.assumes
    assert found.notes[1] == "“scale” of #.in (1), #.out (2) was tried and changed what the module gives"
    assert Wiring.from_json(found.to_json()) == found


def test_a_module_that_cannot_be_tried_is_assumed_to_hold() -> None:
    found = tried(claiming_more(), module, [Example((torch.randn(4, 5),))], {}, {"0.weight": "0.weight"})
    assert found.groups == claiming_more().groups
    assert found.assumes


def test_a_claim_that_takes_too_long_to_try_is_no_refuted_one() -> None:
    names = {name: name for name in module().state_dict()}
    found = tried(claiming_more(), module, [Example((torch.randn(4, 3),))], {}, names, seconds=0)
    assert found.groups == claiming_more().groups
    assert found.assumes == (
        "the module does what it was seen to do, which could not be tried: TimeoutError",
    )


def test_a_claim_that_the_smaller_network_lacks_is_assumed() -> None:
    more, less = claiming_more(), trace(module(), torch.zeros(1, 3))
    assert without(more, less, less).assumes == (UNTRIED,)
    assert without(less, more, more).assumes == ()


def test_what_a_block_refutes_holds_in_none() -> None:
    more = claiming_more()
    less = trace(module(), torch.zeros(1, 3))
    assert without(more, more, less).groups["0.out"].actions == (
        PERMUTE,
        SCALE,
    )  # "2.out" has it, and is alike
    assert without(more, more, less).notes != ()


def test_smaller_configs_keep_kinds_of_blocks_and_tokens_apart() -> None:
    inner = {"bos_token_id": 49_000, "eos_token_id": [3, 49_001], "tie": True, "depth": 9}
    kinds = ["a", "b", "b", "b", "c"]
    settings = {"num_hidden_layers": 5, "layer_types": kinds, "vocab_size": 50_000, "text_config": inner}
    assert smaller(settings) == {
        "num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "vocab_size": 1000,
        "text_config": {"bos_token_id": 999, "eos_token_id": [3, 998], "tie": True, "depth": 2},
    }  # fmt: skip
    assert smaller({"n_layer": 32, "attn_layer_period": 4})["n_layer"] == 4
    assert smaller({"n_layer": 32, "first_k_dense_replace": 3}) == {"n_layer": 2, "first_k_dense_replace": 1}


def test_narrower_configs_keep_heads_where_there_are_several() -> None:
    settings = {
        "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "hidden_sizes": [64, 128], "image_size": 224, "use": True, "intermediate_size": 11008,
    }  # fmt: skip
    found = list(narrower(settings))
    assert found[0] == settings | {
        "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 4, "hidden_sizes": [32, 64],
        "intermediate_size": 5504,
    }  # fmt: skip
    heads = [
        (each["num_attention_heads"], each["num_key_value_heads"])
        for each in found
        if each["hidden_size"] == 256
    ]
    assert heads == [(8, 2), (2, 1), (32, 8)]


def test_a_module_under_two_names_is_followed_and_left_as_it_was() -> None:
    twice = nn.Linear(6, 6)
    shared = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), twice, nn.ReLU(), twice, nn.ReLU(), nn.Linear(6, 2))
    inputs = torch.randn(4, 3)
    wiring = trace(shared, inputs)
    assert {group.actions for group in wiring.groups.values()} == {(), (PERMUTE, SCALE)}
    assert shared(inputs).shape == (4, 2)


def test_a_module_some_of_whose_weights_are_computed_is_tried() -> None:
    def normed() -> nn.Sequential:
        return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 8)), *module()[1:]).double()

    inputs = torch.randn(4, 3).double()
    wiring = trace(normed(), inputs)
    found = tried(wiring, normed, [Example((inputs,))], {}, {name: name for name in normed().state_dict()})
    assert found == wiring
    assert [group.actions for group in found.groups.values() if group.actions] == [(PERMUTE, SCALE)]
