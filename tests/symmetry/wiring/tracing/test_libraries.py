"""Checkpoints of a library's classes, and configs that don't fit them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.inference import explained_wiring, infer_wiring
from peace_pipeline.symmetry.wiring.tracing.libraries import wiring_in_library
from peace_pipeline.symmetry.wiring.types import WiringMismatch
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.tensors import TensorInfo
from tests.specimens.running import Saved
from tests.specimens.specimen import Config
from tests.symmetry.wiring.tracing.networks import CLAIMS, LIBRARY, claims

HOSTILE: dict[str, Config] = {
    "layers": {"depths": [2, 10**9]},
    "width": {"hidden_sizes": [8, 10**12]},
    "another class": {"architectures": ["BertModel"]},
    "no model": {"architectures": ["Trainer"]},
    "no kind": {"model_type": ["regnet"]},
    "another shape": {"num_labels": 6},
    "words": {"depths": "many"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_configs_that_do_not_fit_are_refused_soon(case: str) -> None:
    specimen = LIBRARY["regnet"]
    shapes = {
        name: tuple(x.shape) for name, x in specimen.make().state_dict().items() if x.is_floating_point()
    }
    start = time.monotonic()
    with pytest.raises(WiringMismatch):
        wiring_in_library(shapes, specimen.config() | HOSTILE[case])
    assert time.monotonic() - start < 10


def test_checkpoints_of_a_library_are_traced(tmp_path: Path) -> None:
    saved = Saved.build(LIBRARY["regnet"], tmp_path)
    assert (saved.wiring.method, claims(saved.wiring)) == ("traced", CLAIMS["regnet"])
    with open_checkpoint(saved._weights) as checkpoint:
        network = OpenNetwork.of(checkpoint, {}).logical
        remote = {"auto_map": {"AutoModel": "code.Model"}, "architectures": ["Model"], "model_type": "other"}
        assert infer_wiring(network.tensors.values(), remote).method != "traced"


CHAIN = [
    TensorInfo(f"layers.{n}.weight", shape, "float32") for n, shape in enumerate([(8, 3), (7, 8), (2, 7)])
]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"architectures": ["RegNetModel"], "model_type": "regnet"},
            "RegNetModel of transformers was not followed: the config gives more parameters",
        ),
        ({"architectures": ["BertModel"], "model_type": "regnet"}, "BertModel is no regnet"),
        ({"architectures": ["OwnModel"], "auto_map": {"AutoModel": "own.Model"}}, "OwnModel is no model"),
    ],
)
def test_what_is_of_a_class_is_never_guessed_to_be_a_chain(config: Config, says: str) -> None:
    wiring, reason = explained_wiring(CHAIN, config)
    assert (wiring.method, says in reason) == ("independent", True)
    assert infer_wiring(CHAIN, {"architectures": ["MLP"], "model_type": "unheard-of"}).method == "chain"
