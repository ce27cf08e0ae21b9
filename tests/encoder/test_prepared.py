"""Prepared networks come back from their files as they went in, whatever they are together with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.prepared import Prepared
from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.standard import NUMBERS, PROBES
from peace_pipeline.symmetry.network import Stack, stacked
from tests.networks import networks_of


def answers(networks: int, outputs: int = 4, seed: int = 0) -> Answers:
    """Random answers, which a half float holds."""
    chance = torch.Generator().manual_seed(seed)
    return Answers(NUMBERS, torch.randn(networks, PROBES, outputs, generator=chance).half().float())


def stack_of(architecture: str, networks: int) -> Stack:
    (stack,) = stacked(networks_of(architecture, networks, dtype=torch.float32))
    return encoder_input(stack, EncoderConfig())


@pytest.fixture
def added() -> list[tuple[Stack, Answers | None]]:
    mlps, cnns = stack_of("mlp", 6), stack_of("cnn", 3)
    return [
        (mlps.select([0, 1, 2]), answers(3)),
        (cnns, answers(3, outputs=7, seed=1)),
        (mlps.select([3, 4]), None),
        (mlps.select([5]), answers(1, seed=2)),
    ]


def test_what_is_read_is_what_was_added(tmp_path: Path, added: list[tuple[Stack, Answers | None]]) -> None:
    prepared = Prepared(tmp_path / "networks")
    for stack, told in added:
        prepared.add(stack, told)
    assert prepared.keys == [key for stack, _ in added for key in stack.keys]
    place = {key: (stack, told, row) for stack, told in added for row, key in enumerate(stack.keys)}
    wanted = [8, 0, 5, 0, 7, 4, 6]
    held = prepared.select(wanted)
    assert sorted(number for each in held for number in each.numbers) == sorted(wanted)
    assert len(held) == 3, "mlps that were run, mlps that weren't, cnns"
    for each in held:
        for row, number in enumerate(each.numbers):
            stack, told, other = place[prepared.keys[number]]
            assert each.stack.keys[row] == prepared.keys[number]
            assert each.stack.wiring.signature == stack.wiring.signature
            for name, tensor in stack.tensors.items():
                assert torch.equal(each.stack.tensors[name][row], tensor[other])
            assert (each.answers is None) == (told is None)
            if each.answers and told:
                assert torch.equal(each.answers.outputs[row], told.outputs[other])


def test_a_folder_begins_empty(tmp_path: Path) -> None:
    for _ in range(2):
        prepared = Prepared(tmp_path / "networks")
        prepared.add(stack_of("mlp", 2), None)
        assert len(prepared) == 2
        assert (tmp_path / "networks" / "weights-0").stat().st_size == 8 * stack_size(prepared)


def stack_size(prepared: Prepared) -> int:
    """Values of one network."""
    (held,) = prepared.select([0])
    return sum(tensor[0].numel() for tensor in held.stack.tensors.values())
