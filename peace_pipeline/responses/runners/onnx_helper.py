"""The helper process of ``onnx``: forks a confined process for each ONNX graph, which onnxruntime runs there.

Such a process reads the model and the files of its external data, which it is handed open, before it confines itself:
afterwards onnxruntime can open nothing, neither other files nor libraries of operators.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
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
        session = _session(model, json.loads(connection.recv_bytes()), files)
        connection.send_bytes(json.dumps(_described(session)).encode())
        while True:
            _answer(session, connection)
    except EOFError:
        return
    except Exception as error:  # whatever onnxruntime says of the graph
        said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        connection.send_bytes(json.dumps({"error": said}).encode())


def _session(model: bytes, external: list[Any], files: list[mmap.mmap]) -> Session:
    """The graph, ready to run; ``external`` says of its tensors in ``files`` [name, file, offset, dtype, shape]."""
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
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


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
    """Run the graph once: one output, for the inputs that are sent, each with its type and shape."""
    request = json.loads(connection.recv_bytes())
    feeds = {
        name: np.frombuffer(connection.recv_bytes(), dtype).reshape(shape)
        for name, dtype, shape in request["inputs"]
    }
    allow(MAX_SECONDS)
    (found,) = session.run([request["output"]], feeds)
    allow(0)
    found = _flat(np.asarray(found, np.float32), np.array(request["last"]))
    connection.send_bytes(json.dumps({"shape": found.shape}).encode())
    connection.send_bytes(np.ascontiguousarray(found).tobytes())


def _flat(values: Array, last: Array) -> Array:
    """One vector an input: at the ``last`` token of a sequence, else on average over all axes but the first two."""
    if values.ndim == 3 and len(last):
        return values[np.arange(len(values)), last]
    return values.mean(tuple(range(2, values.ndim))) if values.ndim > 2 else values


if __name__ == "__main__":
    main()
