"""Keras files: archives, older versions, layers of unknown classes and odd configurations."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    ExcessiveSize,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.keras import open_file
from tests.weights.formats.keras_models import SUFFIXES, read_all, saved

pytestmark = pytest.mark.filterwarnings("ignore")


def network() -> keras.Model:
    """Nested networks, wrappers, shared layers, names of our own; trained a step, so that it has optimiser state."""
    inner = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, name="first"), layers.Dense(3)], name="inner"
    )
    inputs = keras.Input((6, 6, 2))
    x = layers.Normalization(name="scaled")(inputs)
    x = layers.SeparableConv2D(3, 3)(x)
    x = layers.BatchNormalization(scale=False, epsilon=0.02, name="block_bn")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Conv2D(3, 1, name="head")(x)
    x = layers.Reshape((-1, 3))(x)
    x = layers.TimeDistributed(inner)(x)
    x = layers.MultiHeadAttention(2, 4, name="attend")(x, x)
    shared = layers.Dense(3, name="shared")
    x = shared(shared(x))
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True, name="own"))(x)
    x = layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.LSTMCell(2)]))(x)
    model = keras.Model(inputs, x)
    model.compile("adam", "mse")
    model.fit(np.ones((1, 6, 6, 2)), np.ones((1, 2)), verbose=0)
    return model


NAMES = """
    scaled.mean scaled.variance scaled.count
    separable_conv2d.depthwise.weight separable_conv2d.pointwise.weight separable_conv2d.pointwise.bias
    block_bn.bias block_bn.running_mean block_bn.running_var head.weight head.bias
    time_distributed.first.weight time_distributed.first.bias
    time_distributed.dense.weight time_distributed.dense.bias
    attend.query.weight attend.query.bias attend.key.weight attend.key.bias attend.value.weight
    attend.value.bias attend.attention_output.weight attend.attention_output.bias shared.weight shared.bias
    bidirectional.weight_ih_l0 bidirectional.weight_hh_l0 bidirectional.bias_ih_l0 bidirectional.bias_hh_l0
    bidirectional.weight_ih_l0_reverse bidirectional.weight_hh_l0_reverse bidirectional.bias_ih_l0_reverse
    bidirectional.bias_hh_l0_reverse
    rnn.lstm_cell.weight_ih_l0 rnn.lstm_cell.weight_hh_l0 rnn.lstm_cell.bias_ih_l0
    rnn.lstm_cell_1.weight_ih_l0 rnn.lstm_cell_1.weight_hh_l0 rnn.lstm_cell_1.bias_ih_l0
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    keras.utils.clear_session()
    model, folder = network(), tmp_path_factory.mktemp("network")
    return {suffix: saved(model, folder / f"m{suffix}") for suffix in SUFFIXES}


def test_one_network_in_three_formats(files: dict[str, Path]) -> None:
    first, *others = [read_all(path) for path in files.values()]
    assert sorted(first) == sorted(NAMES.split())
    for other in others:
        assert other.keys() == first.keys()
        assert all(torch.equal(other[name], first[name]) for name in first)


def test_epsilon_is_the_configuration_s_or_keras_default(files: dict[str, Path]) -> None:
    expected = {".keras": 0.02, ".h5": 0.02, ".weights.h5": 1e-3}  # the last has no configuration
    for suffix, eps in expected.items():
        with open_checkpoint([files[suffix]]) as checkpoint:
            assert {name: t.eps for name, t in checkpoint.tensors.items() if t.eps} == {
                "block_bn.running_var": eps
            }


def rezipped(path: Path, to: Path, **changed: bytes) -> Path:
    """A Keras archive with compressed files, some of them changed."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, changed.get(name.split(".")[0], archive.read(name)))
    return to


def test_a_compressed_archive(files: dict[str, Path], tmp_path: Path) -> None:
    found, expected = read_all(rezipped(files[".keras"], tmp_path / "m.keras")), read_all(files[".keras"])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_archives_that_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    def refused(kind: type[UnreadableCheckpoint], reason: str, path: Path) -> None:
        with pytest.raises(kind, match=reason), open_file(path, max_inflated=1 << 20):
            pass

    path = tmp_path / "m.keras"
    refused(ExcessiveSize, "has 2,000,000 bytes", rezipped(files[".keras"], path, model=bytes(2_000_000)))
    refused(CorruptFile, "not a whole HDF5 file", rezipped(files[".keras"], path, model=b"no HDF5"))
    refused(CorruptFile, "its configuration is no JSON", rezipped(files[".keras"], path, config=b"{"))
    refused(CorruptFile, "its configuration is no JSON", rezipped(files[".keras"], path, config=b"[" * 10**6))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    refused(UnsupportedFormat, "a Keras archive without model.weights.h5", path)


@keras.saving.register_keras_serializable("tests")
class OwnConvolution(layers.Conv1D):
    """A convolution in a class that only its network's package knows."""


@keras.saving.register_keras_serializable("tests")
class Spline(keras.Layer):
    """A layer that PyTorch has no like of."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(10, 3), name="kernel")
        self.inside = layers.Dense(2)
        self.inside.build((None, 3))

    def call(self, x: Any) -> Any:
        return self.inside(x * keras.ops.mean(self.kernel, 0))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_unknown_classes(suffix: str, tmp_path: Path) -> None:
    inputs = keras.Input((9, 4))
    model = keras.Model(inputs, Spline(name="curve")(OwnConvolution(3, 5, name="c")(inputs)))
    found = read_all(saved(model, tmp_path / f"m{suffix}"))
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    assert shapes.pop({".keras": "curve.0", ".h5": "curve.kernel"}[suffix]) == (10, 3)
    own = {name.rpartition(".")[2]: shape for name, shape in shapes.items() if name.startswith("curve.dense")}
    assert own == {"weight": (2, 3), "bias": (2,)}
    assert shapes["c.weight"] == (3, 4, 5)


def keras_2(
    path: Path, variables: dict[str, dict[str, np.ndarray]], config: Any = None, root: str = "/"
) -> Path:
    """A file as Keras 2 writes it: layer → variable's name → values."""
    with h5py.File(path, "w") as file:
        if config:
            file.attrs["model_config"] = json.dumps(config).encode()
        group = file.require_group(root)
        group.attrs["layer_names"] = [name.encode() for name in variables]
        for layer, values in variables.items():
            own = group.create_group(layer)
            own.attrs["weight_names"] = [name.encode() for name in values]
            for name, value in values.items():
                own[name] = value
        if root != "/":
            file["optimizer_weights/Adam/m:0"] = np.ones((3, 3))
    return path


KERNEL, BIAS = np.arange(12.0, dtype=np.float32).reshape(3, 4), np.ones(4, np.float32)


def test_weights_alone_are_laid_out_by_names_and_shapes(tmp_path: Path) -> None:
    variables = {
        "probs": {"probs/kernel:0": KERNEL, "probs/bias:0": BIAS},
        "block/conv": {"block/conv/kernel:0": np.zeros((5, 3, 4))},
        "deep": {"deep/depthwise_kernel:0": np.zeros((5, 5, 3, 2))},
        "depthwise_conv2d_3": {"depthwise_conv2d_3/kernel:0": np.zeros((5, 5, 3, 2))},
        "bn": {f"bn_7/{name}:0": np.ones(4) for name in ("gamma", "moving_mean", "moving_variance")},
        "words": {"words/embeddings:0": np.zeros((9, 4))},
        "inner": {"dense_1/kernel:0": KERNEL},
        "bidirectional_1": {
            f"bidirectional_1/{way}_gru_1/{name}:0": np.ones(shape)
            for way in ("forward", "backward")
            for name, shape in {"kernel": (2, 9), "recurrent_kernel": (3, 9), "bias": (9,)}.items()
        },
    }
    found = read_all(keras_2(tmp_path / "m.h5", variables))
    assert torch.equal(found["probs.weight"], torch.from_numpy(KERNEL.T))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "probs.weight": (4, 3),
        "probs.bias": (4,),
        "block.conv.weight": (4, 3, 5),
        "deep.weight": (6, 1, 5, 5),
        "depthwise_conv2d_3.weight": (6, 1, 5, 5),
        "bn.weight": (4,),
        "bn.running_mean": (4,),
        "bn.running_var": (4,),
        "words.weight": (9, 4),
        "inner.dense_1.weight": (4, 3),
        **{
            f"bidirectional_1.{name}_l0{suffix}": shape
            for suffix in ("", "_reverse")
            for name, shape in {"weight_ih": (9, 2), "weight_hh": (9, 3), "bias_ih": (9,)}.items()
        },
    }


@pytest.mark.parametrize("as_list", [True, False])
def test_a_whole_model_of_keras_2(as_list: bool, tmp_path: Path) -> None:
    dense = {"class_name": "Dense", "config": {"name": "d"}}
    inner = {"class_name": "Model", "config": {"name": "inner", "layers": [dense]}}
    depthwise = {"class_name": "DepthwiseConv2D", "config": {"name": "deep"}}
    norm = {"class_name": "BatchNormalization", "config": {"name": "bn", "epsilon": 1e-5}}
    held = [inner, depthwise, norm]
    config = {"class_name": "Sequential", "config": held if as_list else {"name": "s", "layers": held}}
    variables = {
        "inner": {"d/kernel:0": KERNEL, "d/bias:0": BIAS},
        "deep": {"deep_5/depthwise_kernel:0": np.zeros((5, 5, 3, 2))},
        "bn": {"bn/moving_variance:0": BIAS},
    }
    path = keras_2(tmp_path / "m.h5", variables, config, "model_weights")
    assert read_all(path).keys() == {"inner.d.weight", "inner.d.bias", "deep.weight", "bn.running_var"}
    with open_checkpoint([path]) as checkpoint:
        assert checkpoint.tensors["bn.running_var"].eps == 1e-5


def test_an_older_keras_3_without_names_has_those_of_the_configuration(
    files: dict[str, Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(files[".keras"]) as archive:
        (tmp_path / "inner.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "inner.h5", "a") as file:
        file.visititems(lambda _, thing: thing.attrs.pop("name", None) and None)
    old = rezipped(files[".keras"], tmp_path / "m.keras", model=(tmp_path / "inner.h5").read_bytes())
    assert read_all(old).keys() == read_all(files[".keras"]).keys()


def test_bfloat16(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, dtype="bfloat16", name="d")])
    found = read_all(saved(model, tmp_path / "m.keras"))
    assert found["d.weight"].dtype == torch.bfloat16
    assert torch.equal(found["d.weight"], model.layers[0].kernel.value.detach().T)
    with pytest.raises(UnsupportedFormat, match="of a type of numbers that is not read"):
        read_all(saved(model, tmp_path / "m.h5"))


def test_quantised_layers_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="d")])
    model.quantize("int8")
    with pytest.raises(UnsupportedFormat, match="'d' is quantised to int8"):
        read_all(saved(model, tmp_path / "m.keras"))


def test_long_names_are_refused_before_they_are_put_together(files: dict[str, Path], tmp_path: Path) -> None:
    name = "x" * 1_000_000
    held = [{"class_name": "Dense", "config": {"name": f"d{number}"}} for number in range(100)]
    inner = {"class_name": "Sequential", "config": {"name": name, "layers": held}}
    config = json.dumps({"class_name": "Sequential", "config": {"layers": [inner]}}).encode()
    with h5py.File(tmp_path / "inner.h5", "w") as file:
        for number in range(100):
            file[f"layers/sequential/layers/dense_{number}/vars/0"] = KERNEL
    weights = (tmp_path / "inner.h5").read_bytes()
    path = rezipped(files[".keras"], tmp_path / "m.keras", config=config, model=weights)
    with pytest.raises(ExcessiveSize, match="names of more than"):
        read_all(path)


def test_two_layers_of_one_name_lose_no_tensor(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for place in ("layers", "_layer_checkpoint_dependencies"):
            for number, rows in enumerate((3, 2, 2)):
                file[f"{place}/gru/cell/vars/{number}"] = np.ones((rows, 6), np.float32)
    tensors = read_all(tmp_path / "m.weights.h5")
    assert [tensor.numel() for tensor in tensors.values()] == 2 * [18, 12, 6, 6]


ODD = {
    "no network": [],
    "no names": {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {}}]}},
    "layers that are none": {"class_name": "Sequential", "config": {"layers": [3, None, {"class_name": []}]}},
    "an odd equation": {
        "class_name": "Sequential",
        "config": {
            "layers": [{"class_name": "EinsumDense", "config": {"name": "d", "equation": "a,bcdef->g"}}]
        },
    },
    "settings of odd types": {
        "class_name": "Sequential",
        "config": {
            "layers": [{"class_name": "Dense", "config": {"name": "d", "use_bias": [], "epsilon": {}}}]
        },
    },
    "a loop of wrappers": {
        "class_name": "Bidirectional",
        "config": {"name": "d", "layer": {"class_name": "d"}},
    },
}


@pytest.mark.parametrize("case", ODD)
def test_odd_configurations_lose_no_tensor(case: str, files: dict[str, Path], tmp_path: Path) -> None:
    variables = {"d": {"d/kernel:0": KERNEL, "d/bias:0": np.float32(1), "d/gamma:0": BIAS}}
    assert len(read_all(keras_2(tmp_path / "m.h5", variables, ODD[case]))) == 3
    expected = len(read_all(files[".keras"]))
    path = rezipped(files[".keras"], tmp_path / "m.keras", config=json.dumps(ODD[case]).encode())
    assert len(read_all(path)) == expected


def test_layers_of_shards_are_called_as_in_one_file(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((40,)), *(layers.Dense(40, name=f"own{n}") for n in range(4))])
    model.save_weights(tmp_path / "one.weights.h5")
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=0.000007)
    shards = sorted(tmp_path.glob("m_*.h5"))
    assert len(shards) > 2
    with open_checkpoint(shards) as several, open_checkpoint([tmp_path / "one.weights.h5"]) as one:
        assert [*several.tensors] == [*one.tensors]
        for name in one.tensors:
            assert torch.equal(several.read(name), one.read(name))
