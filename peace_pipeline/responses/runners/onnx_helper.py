"""The helper process of ``onnx``: forks a confined process for each ONNX graph, which onnxruntime runs there.

Such a process reads the model and the files of its external data, which it is handed open, before it confines itself:
afterwards onnxruntime can open nothing, neither other files nor libraries of operators.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

from peace_pipeline.confinement import allow, confine, serve

MAX_SECONDS = 60
"""Of computing, for preparing a graph or for one request."""
MAX_MEMORY, COPIES = 2 << 30, 4
"""Bytes that a process may have beside so many copies of its model's files."""
WIDEST, MOST_READ = 1 << 15, 1 << 22
"""Values that the last linear layer may read of an input, and of all inputs at once, so that they are told."""
_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
_QUIET = 4
_LONGEST_REASON = 300

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Session: TypeAlias = Any


def main() -> None:
    """Fork a process for each graph until the other end of standard input is closed."""
    serve(_handle)


def _handle(_: bytes, descriptors: list[int]) -> None:
    link, own, *others = descriptors
    connection = Connection(link)
    with mmap.mmap(own, 0, prot=mmap.PROT_READ) as file:
        model = file[:]
    files = [mmap.mmap(each, 0, prot=mmap.PROT_READ) for each in others]
    for each in (own, *others):
        os.close(each)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    confine(resource.RLIMIT_AS, used + MAX_MEMORY + (COPIES - 1) * (len(model) + sum(map(len, files))))
    try:
        allow(MAX_SECONDS)
        wanted = json.loads(connection.recv_bytes())
        session = _session(model, wanted["external"], wanted["shown"], files)
        connection.send_bytes(json.dumps(_described(session)).encode())
        while True:
            _answer(session, connection)
    except EOFError:
        return
    except Exception as error:  # whatever onnxruntime says of the graph
        said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        connection.send_bytes(json.dumps({"error": said}).encode())


def _session(model: bytes, external: list[Any], shown: list[str], files: list[mmap.mmap]) -> Session:
    """The graph, ready to run; ``external`` says of its tensors in ``files`` [name, file, offset, dtype, shape].

    The values ``shown`` are outputs too, where onnxruntime can give them.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.enable_cpu_mem_arena = False
    values = [
        onnxruntime.OrtValue.ortvalue_from_numpy(
            np.frombuffer(files[file], dtype, int(np.prod(shape)), offset).reshape(shape)
        )
        for _, file, offset, dtype, shape in external
    ]
    if external:
        options.add_external_initializers([name for name, *_ in external], values)
    with suppress(Exception):
        return _opened(model + b"".join(map(_as_output, shown)), options)
    return _opened(model, options)


def _opened(model: bytes, options: Any) -> Session:
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _as_output(name: str) -> bytes:
    """What makes a value an output where it follows a model: messages that follow each other are merged (Protocol
    Buffers, "Encoding"). ModelProto.graph is field 7, GraphProto.output 12, ValueInfoProto.name 1."""
    message = name.encode()
    for number in (1, 12, 7):
        size, length = len(message), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        message = bytes([number << 3 | 2, *length, size]) + message
    return message


def _described(session: Session) -> dict[str, Any]:
    """Its inputs and outputs: [name, numpy type or none, shape, of which unknown sizes are none]."""
    return {
        kind: [
            [each.name, _TYPES.get(each.type), [n if type(n) is int and n > 0 else None for n in each.shape]]
            for each in values
        ]
        for kind, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }


def _answer(session: Session, connection: Connection) -> None:
    """Run the graph once, for the inputs that are sent, each with its type and shape: one output, and one more where
    ``read`` names it."""
    request = json.loads(connection.recv_bytes())
    feeds = {
        name: np.frombuffer(connection.recv_bytes(), dtype).reshape(shape)
        for name, dtype, shape in request["inputs"]
    }
    last = np.array(request["last"])
    batch = next(iter(feeds.values())).shape[: 2 if len(last) else 1]
    allow(MAX_SECONDS)
    answered, *read = session.run([request["output"], *request["read"]], feeds)
    allow(0)
    found = [_flat(np.asarray(answered, np.float32), last), *(_vectors(each, batch, last) for each in read)]
    connection.send_bytes(json.dumps({"shapes": [each.shape for each in found]}).encode())
    for each in found:
        connection.send_bytes(np.ascontiguousarray(each).tobytes())


def _vectors(values: Any, batch: tuple[int, ...], last: Array) -> Array:
    """What is read of each input (inputs, width), in single precision: of sequences at the ``last`` token. Empty where
    it isn't one vector for each input, or token, of the ``batch``, or may be one for each token and input instead, or
    is too large."""
    inputs, tokens = batch[:1], batch if len(set(batch)) == len(batch) else batch[:1]
    if not isinstance(values, np.ndarray) or values.shape[:-1] not in (inputs, tokens):
        return np.zeros((*inputs, 0), np.float32)
    if values.shape[-1] > WIDEST or values.size > MOST_READ:
        return np.zeros((*inputs, 0), np.float32)
    if values.ndim == 3:
        values = values[np.arange(len(values)), last]
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _flat(values: Array, last: Array) -> Array:
    """One vector an input: at the ``last`` token of a sequence, else on average over all axes but the first two."""
    if values.ndim == 3 and len(last):
        return values[np.arange(len(values)), last]
    return values.mean(tuple(range(2, values.ndim))) if values.ndim > 2 else values


if __name__ == "__main__":
    main()
