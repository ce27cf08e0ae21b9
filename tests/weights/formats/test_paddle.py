"""State dictionaries of Paddle are laid out as PyTorch's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peace_pipeline.weights.errors import UnsupportedFormat
from tests.weights.formats.pickled import read_all, refusal

STATE = {
    "embed.weight": np.arange(8, dtype=np.float32).reshape(4, 2),
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.bias": np.ones(3, np.float32),
    "conv.weight": np.ones((4, 3, 2, 2), np.float32),
    "norm.weight": np.ones(3, np.float32),
    "norm._mean": np.zeros(3, np.float32),
    "norm._variance": np.ones(3, np.float32),
}
PARAMETERS = {"embed.weight": "embedding_0.w_0", "fc.weight": "linear_0.w_0"}
NAMES = "StructuredToParameterName@@"


def written(path: Path, content: dict[str, Any]) -> Path:
    path.write_bytes(pickle.dumps(content, 2))
    return path


def test_linear_layers_are_out_in(tmp_path: Path) -> None:
    for path, content in (
        (tmp_path / "m.pdparams", STATE),
        (tmp_path / "m.pdparams", STATE | {NAMES: PARAMETERS}),
        (tmp_path / "m.pkl", STATE | {NAMES: PARAMETERS}),
    ):
        found = read_all(written(path, content))
        assert torch.equal(found["fc.weight"], torch.from_numpy(STATE["fc.weight"].T.copy()))
        assert torch.equal(found["embed.weight"], torch.from_numpy(STATE["embed.weight"]))
        assert found["conv.weight"].shape == (4, 3, 2, 2)
        assert {"norm.running_mean", "norm.running_var"} < found.keys()
        assert len(found) == len(STATE)


def test_what_paddle_calls_a_parameter_counts_more_than_its_name(tmp_path: Path) -> None:
    names = {NAMES: {"embed.weight": "linear_3.w_0", "fc.weight": "embedding_1.w_0"}}
    state = {name: value for name, value in STATE.items() if name != "fc.bias"}
    found = read_all(written(tmp_path / "m.pdparams", state | names))
    assert (found["embed.weight"].shape, found["fc.weight"].shape) == ((2, 4), (2, 3))


def test_layers_of_any_name_are_turned_as_their_biases_tell(tmp_path: Path) -> None:
    content = {
        "q.weight": np.ones((2, 3), np.float32),
        "q.bias": np.ones(3, np.float32),
        "up.weight": np.ones((3, 4), np.float32),
        "table.weight": np.ones((9, 2), np.float32),
        "own.weight": np.ones((4, 5), np.float32),
    }
    names = {
        "q.weight": "my_q_w",
        "up.weight": "column_parallel_linear_0.w_0",
        "table.weight": "vocab_parallel_embedding_0.w_0",
        "own.weight": "my_own_w",
    }
    found = read_all(written(tmp_path / "m.pdparams", content | {NAMES: names}))
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    assert shapes == {
        "q.weight": (3, 2), "q.bias": (3,), "up.weight": (4, 3), "table.weight": (9, 2), "own.weight": (5, 4)
    }  # fmt: skip


def test_bfloat16_is_stored_as_its_bits(tmp_path: Path) -> None:
    values = torch.tensor([[1.0, -2.5], [0.5, 3.0]]).bfloat16()
    content = {"fc.weight": values.view(torch.uint16).numpy(), "fc.bias": np.ones(2, np.float32)}
    found = read_all(written(tmp_path / "m.pdparams", content))
    assert torch.equal(found["fc.weight"], values.T)


def test_biases_tell_where_matrices_are_out_in(tmp_path: Path) -> None:
    state = {name: STATE[name].T if name == "fc.weight" else STATE[name] for name in ("fc.weight", "fc.bias")}
    found = read_all(written(tmp_path / "m.pdparams", state))
    assert torch.equal(found["fc.weight"], torch.from_numpy(state["fc.weight"].copy()))


def test_other_pickles_stay_as_they_are(tmp_path: Path) -> None:
    found = read_all(written(tmp_path / "m.pkl", STATE))
    assert found["fc.weight"].shape == (2, 3)
    assert "norm._mean" in found


def test_arrays_in_pieces_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.pdparams", STATE | {"UnpackBigParamInfor@@": {"fc.weight": {}}})
    assert "arrays of Paddle in pieces" in refusal(path, UnsupportedFormat)
