"""What is said of layers that names and shapes leave open."""

from dataclasses import replace

import pytest
from torch import nn

from peace_pipeline.symmetry.wiring.ambiguities import left_open
from peace_pipeline.symmetry.wiring.couplings import Couplings
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import views_of
from tests.networks import infos, infos_of

CASES = {
    "squares": (
        {"fc1": (16, 6), "fc2": (16, 16), "fc3": (16, 16), "fc4": (3, 16)},
        "fc2 and fc3 have 16 inputs and outputs and may stand one after the other or side by side",
    ),
    "two readers": (
        {"fc1": (16, 6), "fc2": (4, 16), "fc3": (5, 16)},
        "fc2 and fc3 could each read the 16 units of fc1",
    ),
    "two writers": (
        {"fc1": (16, 6), "fc2": (16, 5), "fc3": (3, 16)},
        "fc1 and fc2 could each write the 16 units that fc3 reads",
    ),
    "joined": (
        {"left": (8, 6), "right": (8, 7), "out": (3, 16)},
        "the 16 inputs of out may be 2 times the 8 units of left or right, in which order is not known",
    ),
    "alone": ({"a": (5, 7), "b": (3, 4)}, "no layer is seen to read as many units as another writes"),
    "known": ({"fc1": (16, 6), "fc2": (3, 16)}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_which_layers_are_left_open(case: str) -> None:
    shapes, expected = CASES[case]
    layers = layers_of(infos(**{f"{name}.weight": shape for name, shape in shapes.items()}))
    assert left_open(layers, Couplings(layers)) == expected


def test_the_states_of_a_recurrent_module() -> None:
    module = nn.ModuleDict({"rnn": nn.LSTM(6, 8), "fc": nn.Linear(9, 3)})
    views = views_of(infos_of(module.state_dict()), {})
    layers = layers_of(replace(view.info, name=name) for name, view in views.items())
    assert (
        left_open(layers, Couplings(layers))
        == "what reads the states of rnn beside the next step is not certain"
    )


def test_a_long_list_is_cut() -> None:
    shapes = {f"{width}.{name}": (width, width) for width in range(4, 12) for name in "ab"}
    layers = layers_of(infos(**{f"{name}.weight": shape for name, shape in shapes.items()}))
    found = left_open(layers, Couplings(layers))
    assert found.endswith("; so it is of 5 more widths")
    assert found.count(";") == 3
