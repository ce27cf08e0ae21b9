"""Networks are stacked by signature, and a stack is taken apart and put together again."""

from __future__ import annotations

import torch

from peace_pipeline.symmetry.network import Network, Stack, stacked
from tests.networks import networks_of


def rows_are(stack: Stack, networks: list[Network]) -> bool:
    """Whether a stack holds these networks, in this order."""
    return stack.keys == tuple(network.key for network in networks) and all(
        torch.equal(tensor[row], network.tensors[name])
        for name, tensor in stack.tensors.items()
        for row, network in enumerate(networks)
    )


def test_equal_signatures_make_one_stack_in_order() -> None:
    first, second, third = networks_of("mlp", 3), networks_of("cnn", 2), networks_of("mlp", 2, seed=9)
    mlps, cnns = stacked([*first, *second, *third])
    assert rows_are(mlps, [*first, *third])
    assert rows_are(cnns, second)
    assert stacked([]) == []


def test_a_stack_is_of_the_signature_of_its_networks() -> None:
    networks = networks_of("resnet", 2)
    (stack,) = stacked(networks)
    assert stack.wiring.signature == networks[0].wiring.signature
    assert set(stack.tensors) == {
        name for wired in stack.wiring.layers for name in wired.layer.tensors.values()
    }


def test_selected_cut_and_joined() -> None:
    networks = networks_of("mlp", 5)
    (stack,) = stacked(networks)
    assert rows_are(stack.select([3, 0]), [networks[3], networks[0]])
    pieces = list(stack.cut(2))
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert rows_are(Stack.joined(pieces), networks)


def test_of_another_dtype() -> None:
    (network,) = networks_of("mlp", 1, dtype=torch.float32)
    (stack,) = stacked([network])
    assert {tensor.dtype for tensor in stack.tensors.values()} == {torch.float32}
    assert {tensor.dtype for tensor in stack.to(torch.float64).tensors.values()} == {torch.float64}
    assert network.size == sum(tensor.numel() for tensor in stack.tensors.values())
