"""The whole files that are damaged: small, and between them of everything that a reader has code for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import h5py
import numpy as np
import torch
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from peace_pipeline.weights.tensors import dtype_name
from tests.weights import corpus
from tests.weights.formats.fasttext_files import fasttext
from tests.weights.fuzzing.worker import BESIDE
from tests.weights.networks import NETWORKS


def samples(name: str) -> list[bytes]:
    """Files of a format, each of a few kilobytes: networks, tensors of every type, and what is the format's own."""
    if name in corpus.OWN:
        return [write(Path()) for write in _OWN[name]]
    form = corpus.FORMATS[name]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"m{form.suffix}"
        networks = [form.network(make(), path).read_bytes() for make in NETWORKS.values()]
        types = {f"of_{dtype_name(dtype)}.weight": torch.ones(2, 3, dtype=dtype) for dtype in form.dtypes}
        others = {"empty": torch.ones(0, 3), "steps": torch.tensor([4])}
        own = [write(path) for write in _OWN.get(name, ())]
        return [*networks, form.state(types | others, path).read_bytes(), *own]


def _odd_tensors(path: Path) -> bytes:
    """Quantised, transposed and shared tensors of PyTorch, and arrays, in a training's checkpoint."""
    weight = torch.arange(12.0).view(3, 4) / 4
    scales, zeros = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # newer versions may not write them any more
        whole = torch.quantize_per_tensor(weight, 0.1, 3, torch.quint8)
        by_row = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    state = {
        "a.weight": whole,
        "b.weight": by_row,
        "c.weight": weight.T,
        "d.weight": weight,
        "e.weight": torch.nn.Parameter(weight[1:, ::2]),
        "f.weight": np.ones((2, 2), np.float32),
    }
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}, path)
    return path.read_bytes()


def _external(path: Path) -> bytes:
    """An ONNX model of which one tensor lies in another file."""
    state = {"weight": torch.ones(4, 8), "bias": torch.ones(4)}
    model = ModelProto.FromString(corpus.onnx(state, path).read_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    place = {"location": BESIDE, "offset": "1024", "length": "128"}
    tensor.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in place.items())
    return model.SerializeToString()


def _quantised(_: Path) -> bytes:
    """An ONNX model of integers with scales, a transposed product, a constant node and values one by one."""
    integers = np.arange(12, dtype=np.int8).reshape(3, 4)
    constants = {"w": integers, "s": np.array([1, 2, 3], np.float32), "z": np.array([0, 1, 2], np.int8)}
    constants["v"] = np.ones((3, 2), np.float32)
    tensors = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    tensors.append(helper.make_tensor("h", TensorProto.FLOAT16, (2, 2), [1.0, 2.0, 3.0, 4.0]))
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"], "/fc/MatMul"),
        helper.make_node("MatMul", ["y", "v"], ["p"], "/out/MatMul"),
        helper.make_node("Constant", [], ["c"], value=tensors[-1]),
        helper.make_node("Gemm", ["p", "h", "c"], ["q"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "q")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph).SerializeToString()


def _branched(_: Path) -> bytes:
    """An ONNX model of branches, copies, sums, scopes and a recurrent layer of two directions."""
    values = {"w": (4, 4), "b": (4,), "g": (1, 4, 1), "W": (2, 12, 4), "R": (2, 12, 4), "B": (2, 24)}
    tensors = [numpy_helper.from_array(np.ones(shape, np.float32), key) for key, shape in values.items()]
    inner = [
        helper.make_node(
            "Constant", [], ["k"], value=helper.make_tensor("", TensorProto.FLOAT, (4, 2), [1.0] * 8)
        ),
        helper.make_node("MatMul", ["s", "k"], ["r"], "/inner/MatMul"),
    ]
    branch = helper.make_graph(
        inner, "branch", [], [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "/a/fc/MatMul"),
        helper.make_node("Add", ["b", "y"], ["z"]),
        helper.make_node("Identity", ["w"], ["i"]),
        helper.make_node("MatMul", ["z", "i"], ["s"], "/b/fc/MatMul"),
        helper.make_node("PRelu", ["s", "g"], ["p"], "/act/PRelu"),
        helper.make_node(
            "GRU", ["p", "W", "R", "B"], ["q"], "/gru/GRU", hidden_size=4, direction="bidirectional"
        ),
        helper.make_node("If", ["c"], ["t"], then_branch=branch, else_branch=branch),
    ]
    scopes = StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value="['', 'b', 'b.fc', 'linear']")
    nodes[3].metadata_props.append(scopes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "t")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph).SerializeToString()


def _chunked(path: Path) -> bytes:
    """Datasets in chunks, packed, resizable, with links, in the library's newest structures."""
    with h5py.File(path, "w", libver="latest") as file:
        values = np.arange(60, dtype=np.float32).reshape(12, 5)
        file.create_dataset(
            "a/weight", data=values, chunks=(4, 3), compression="gzip", shuffle=True, fletcher32=True
        )
        file.create_dataset("b/weight", data=values, chunks=(5, 5), maxshape=(None, None))
        file["c"], file["d"] = h5py.SoftLink("/a/weight"), file["b/weight"]
        file["a"].attrs["name"] = "text"
    return path.read_bytes()


def _of_llama(path: Path) -> bytes:
    """Quantised blocks, settings and a vocabulary, as llama.cpp's converter writes them."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_scores([0.0, 1.0, 2.0])
    values = np.linspace(-1, 1, 8 * 32, dtype=np.float32).reshape(8, 32)
    for name, kind in {
        "blk.0.attn_q.weight": gguf.GGMLQuantizationType.Q8_0,
        "blk.0.attn_k.weight": gguf.GGMLQuantizationType.Q4_0,
        "blk.0.ffn_up.weight": gguf.GGMLQuantizationType.Q5_1,
    }.items():
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def _of_fasttext(_: Path) -> bytes:
    return fasttext(np.ones((6, 4), np.float32), np.ones((2, 4), np.float32), ["a", "the", "__label__b"])


_OWN: dict[str, tuple[Callable[[Path], bytes], ...]] = {
    "pytorch": (_odd_tensors,),
    "onnx": (_external, _quantised, _branched),
    "hdf5": (_chunked,),
    "gguf": (_of_llama,),
    "fasttext": (_of_fasttext,),
}
