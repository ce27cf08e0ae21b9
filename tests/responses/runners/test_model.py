"""What runners share: what the last linear layer reads."""

from __future__ import annotations

import weakref

import torch
from torch import nn

from peace_pipeline.responses.runners.model import read_by_last_linear_layer


def test_what_the_last_linear_layer_reads_is_kept_and_all_before_is_let_go() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    before: list[weakref.ref[torch.Tensor]] = []
    module[2].register_forward_pre_hook(lambda _, given: before.append(weakref.ref(given[0])))
    inputs = torch.ones(3, 4)
    with torch.no_grad(), read_by_last_linear_layer(module) as read:
        module(inputs)
    assert torch.equal(read[0], module[:4](inputs))
    assert {each() for each in before} == {None}
    module(inputs.neg())
    assert torch.equal(read[0], module[:4](inputs))


def test_without_linear_layers_nothing_is_kept() -> None:
    module = nn.Conv1d(1, 2, 3)
    with read_by_last_linear_layer(module) as read:
        module(torch.ones(1, 1, 8))
    assert read == []
