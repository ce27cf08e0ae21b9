"""Tensors pass by in chunks; what is read comes back in the order of the networks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from peace_pipeline.evaluation.population import Cohort, Listed
from peace_pipeline.evaluation.readings import read

from .conftest import listed, networks_of


def first_bias(cohort: Cohort) -> np.ndarray:
    """The first bias of each network: (networks, 1)."""
    return cohort.stack.tensors["0.bias"][:, :1].numpy()


def interleaved() -> list[Listed]:
    """Networks of two signatures by turns."""
    pairs = zip(networks_of("mlp", 6), networks_of("cnn", 6), strict=True)
    return [listed(network) for pair in pairs for network in pair]


def test_readings_keep_the_order_of_the_networks() -> None:
    networks = interleaved()
    found = read(networks, {"bias": first_bias, "nothing": None})
    assert [member.listing for member in found["bias"].members] == [each.listing for each in networks]
    expected = [float(each.network.tensors["0.bias"][0]) for each in networks]
    assert [float(vector[0]) for vector in found["bias"].vectors] == expected
    assert found["nothing"].vectors == ()
    assert len(found["nothing"]) == 12


def test_one_reader_under_two_names_reads_once() -> None:
    seen: list[int] = []

    def reader(cohort: Cohort) -> np.ndarray:
        seen.append(len(cohort))
        return first_bias(cohort)

    found = read(interleaved(), {"a": reader, "b": reader})
    assert seen == [6, 6]
    assert np.array_equal(found["a"].matrix, found["b"].matrix)


def test_selected_networks_and_those_of_one_signature() -> None:
    readings = read(interleaved(), {"bias": first_bias})["bias"]
    assert sorted(readings.by_signature().values()) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    chosen = readings.select([3, 1])
    assert [member.listing.model_id for member in chosen.members] == ["cnn-1", "cnn-0"]
    assert np.array_equal(chosen.matrix, readings.matrix[[3, 1]])


def test_tensors_are_let_go_chunk_by_chunk() -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def passing() -> Iterator[Listed]:
        nonlocal most
        for seed in range(800):
            (network,) = networks_of("mlp", 1, seed)
            alive.add(network.tensors["0.weight"])
            most = max(most, len(alive))
            yield listed(replace(network, key=f"{seed}"))

    assert len(read(passing(), {"bias": first_bias})["bias"]) == 800
    assert 256 <= most <= 2 * 256 + 2
