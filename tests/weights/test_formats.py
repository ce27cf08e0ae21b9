"""What holds for every format: what was written is read, a part like the whole, and nothing else than its reason is
raised where it can't be."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    FileChanged,
    ForbiddenPath,
    NoTensors,
    NotFinite,
    UnreadableCheckpoint,
)
from peace_pipeline.weights.formats.registry import READERS
from peace_pipeline.weights.inventory import Inventory, take_inventory
from tests.weights import corpus
from tests.weights.corpus import FORMATS, Format
from tests.weights.keras_corpus import keras_variables
from tests.weights.networks import NETWORKS, Modules, State, cnn, state_of

STATE = {
    "a.weight": torch.arange(15.0).view(5, 3) / 8,
    "a.bias": torch.linspace(-2, 2, 5),
    "b.kernel": torch.linspace(-1, 1, 48).view(4, 2, 3, 2),
}

BY_POSITION = {name: form for name, form in FORMATS.items() if not form.in_memory}
every_format = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint([path]) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


def inventory_of(form: Format, folder: Path, state: State = STATE) -> Inventory:
    folder.mkdir()
    with open_checkpoint([written(form, folder, state)]) as checkpoint:
        return take_inventory(checkpoint)


def refusal(path: Path, kind: type[UnreadableCheckpoint] = UnreadableCheckpoint) -> str:
    with pytest.raises(kind) as error:
        read_all(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value)
        for name, value in expected.items()
    )


def written(form: Format, folder: Path, state: State = STATE) -> Path:
    return form.state(state, folder / f"m{form.suffix}")


def test_every_reader_has_samples() -> None:
    own = {reader for reader, _ in corpus.OWN.values()}
    assert {form.reader for form in FORMATS.values()} | own == READERS.keys()


@every_format
def test_names_shapes_and_values_are_those_written(form: Format, tmp_path: Path) -> None:
    path = written(form, tmp_path)
    assert same(read_all(path), STATE)
    with open_checkpoint([path]) as checkpoint:
        listed = {name: (info.shape, info.dtype) for name, info in checkpoint.tensors.items()}
        assert listed == {name: (tuple(value.shape), "float32") for name, value in STATE.items()}
        assert checkpoint.parameters == 15 + 5 + 48


@every_format
def test_every_floating_type(form: Format, tmp_path: Path) -> None:
    for dtype in form.dtypes:
        state = {"a.weight": torch.tensor([[0.5, -2.0], [1.0, 0.0]]).to(dtype)}
        path = written(form, tmp_path, state)
        assert same(read_all(path), state), dtype
        with open_checkpoint([path]) as checkpoint:
            assert torch.equal(checkpoint.read("a.weight"), state["a.weight"].float())


@every_format
def test_rows_are_those_of_the_whole(form: Format, tmp_path: Path) -> None:
    with open_checkpoint([written(form, tmp_path)]) as checkpoint:
        for name, value in STATE.items():
            for start in range(len(value)):
                for stop in range(start + 1, len(value) + 1):
                    rows = checkpoint.read(name, None, (start, stop))
                    assert torch.equal(rows, value[start:stop]), (name, start, stop)


@every_format
@pytest.mark.parametrize("network", NETWORKS)
def test_rows_of_what_lies_otherwise_in_the_file(form: Format, network: str, tmp_path: Path) -> None:
    with open_checkpoint([form.network(NETWORKS[network](), tmp_path / f"m{form.suffix}")]) as checkpoint:
        for name, info in checkpoint.tensors.items():
            whole = checkpoint.read(name, None)
            for start, stop in ((0, 1), (1, info.shape[0]), (1, 2), (2, 3)) if info.shape else ():
                assert torch.equal(checkpoint.read(name, None, (start, stop)), whole[start:stop]), name


@every_format
def test_hashes_are_the_same_in_whatever_format(form: Format, tmp_path: Path) -> None:
    found = inventory_of(form, tmp_path / "found")
    expected = inventory_of(FORMATS["safetensors"], tmp_path / "expected")
    other = inventory_of(form, tmp_path / "other", STATE | {"a.bias": -STATE["a.bias"]})
    assert {info.name: digest for info, digest in found.tensors} == {
        info.name: digest for info, digest in expected.tensors
    }
    assert found.content == expected.content != other.content


@every_format
def test_a_shared_tensor_is_counted_once(form: Format, tmp_path: Path) -> None:
    if not form.shares:
        pytest.skip("has no way to give one tensor two names")
    path = written(form, tmp_path, STATE | {"c.weight": STATE["a.weight"]})
    assert same(read_all(path), STATE)


# Cost


LARGE = {f"{number}.weight": torch.rand(1 << 10, 34 << 8) for number in range(3)}
LARGE_BYTES = 34 << 20
"""Of one tensor; more than the allocator keeps for later, so that what is measured is what is held."""


@pytest.fixture(scope="module", params=BY_POSITION)
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of three large tensors."""
    return written(FORMATS[request.param], tmp_path_factory.mktemp("large"), LARGE)


def test_no_more_is_read_than_asked_for(large: Path) -> None:
    with open_checkpoint([large]):
        pass  # the reader is loaded
    start = bytes_read()
    with open_checkpoint([large]) as checkpoint:
        assert len(checkpoint.tensors) == len(LARGE)
        listed = bytes_read()
        assert listed - start < LARGE_BYTES // 4
        checkpoint.read("1.weight", None, (0, 8))
        part = bytes_read()
        assert part - listed < LARGE_BYTES // 64
        checkpoint.read("1.weight", None)
        assert LARGE_BYTES <= bytes_read() - part < 1.1 * LARGE_BYTES


def bytes_read(process: int | str = "self") -> int:
    """Bytes that a process and those that it started have read from files and pipes so far."""
    folder = Path(f"/proc/{process}")
    own = int((folder / "io").read_text().split()[1])  # rchar
    started = [
        number for task in (folder / "task").iterdir() for number in (task / "children").read_text().split()
    ]
    return own + sum(map(bytes_read, started))


def test_one_tensor_is_in_memory_at_a_time(large: Path) -> None:
    with open_checkpoint([large]) as checkpoint:
        checkpoint.read("0.weight", None)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident("VmRSS")
        for name in checkpoint.tensors:
            checkpoint.read(name, None)
        assert resident("VmHWM") - before < 2.5 * LARGE_BYTES


def resident(key: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


# Refusals


@every_format
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(form: Format, value: float, tmp_path: Path) -> None:
    for dtype in (torch.float32, *form.dtypes):
        bad = torch.tensor([1.0, value, value]).to(dtype)
        if bad.float().isfinite().all():  # a type without infinity
            continue
        path = written(form, tmp_path, {"good": torch.ones(2), "bad": bad})
        assert "'bad'" in refusal(path, NotFinite)


@every_format
def test_integers_alone_are_no_network(form: Format, tmp_path: Path) -> None:
    refusal(written(form, tmp_path, {"a.steps": torch.arange(4)}), NoTensors)


@every_format
def test_a_file_cut_off_anywhere(form: Format, tmp_path: Path) -> None:
    """What is read of it, if anything is, is all there was: a format may end with what holds no tensor."""
    whole = written(form, tmp_path).read_bytes()
    path = tmp_path / f"cut{form.suffix}"
    step = max(len(whole) // 80, 1)
    for length in {*range(0, len(whole), step), *range(len(whole) - 24, len(whole)), *range(24)}:
        path.write_bytes(whole[:length])
        with suppress(UnreadableCheckpoint):
            assert same(read_all(path), STATE), length
            assert length > len(whole) * 0.8


@every_format
def test_a_shorter_file_is_refused(form: Format, tmp_path: Path) -> None:
    path = written(form, tmp_path)
    for length in (0, 1, 7, path.stat().st_size // 2):
        os.truncate(path, length)
        assert path.name in refusal(path)


@every_format
@given(content=st.binary(max_size=300))
def test_random_bytes(form: Format, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"m{form.suffix}"
    path.write_bytes(content)
    refusal(path)


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES: dict[Callable[[Path], None], str] = {
    folder: "not a regular file",
    pipe: "not a regular file",
    device: "not a regular file",
    dangling_link: "No such file or directory",
    link_loop: "Too many levels of symbolic links",
}


@every_format
@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file(form: Format, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / f"m{form.suffix}"
    make(path)
    kind = UnreadableCheckpoint if make in (dangling_link, link_loop) else ForbiddenPath
    assert refusal(path, kind) == f"{path.name}: {NO_FILES[make]}"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without a superuser's right to read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@every_format
def test_a_file_that_may_not_be_read(form: Format, tmp_path: Path) -> None:
    path = written(form, tmp_path)
    read_all(path)
    path.chmod(0)
    with as_nobody():
        assert "Permission denied" in refusal(path)


@pytest.mark.parametrize("form", BY_POSITION.values(), ids=BY_POSITION)
def test_a_file_that_shrinks_while_it_is_read(form: Format, tmp_path: Path) -> None:
    path = written(form, tmp_path, {"w": torch.rand(100, 100)})
    with open_checkpoint([path]) as checkpoint:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises((FileChanged, CorruptFile), match=path.name):
            checkpoint.read("w")


# One network in every format


def layers(path: Path, config: dict[str, Any]) -> dict[str, list[bytes]]:
    """Kind of layer → the bytes of its layers' folded weights and biases, sorted."""
    with open_checkpoint([path]) as checkpoint:
        opened = OpenNetwork.of(checkpoint, config)
        network, wiring = opened.logical, opened.wiring
        reduction = Reduction(wiring, network.tensors)
        found = defaultdict(list)
        for position, tensors in reduction.layers(network.read):
            wired = reduction.wiring.layers[position]
            for role, tensor in sorted(tensors.items()):
                found[wired.layer.kind].append(
                    f"{role} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes()
                )
    return {kind: sorted(values) for kind, values in found.items()}


KINDS = {
    "mlp": {"linear"},
    "cnn": {"conv2d", "norm", "linear"},
    "recurrent": {"embedding", "recurrent", "linear"},
    "attention": {"embedding", "norm", "linear", *(f"attention_{part}" for part in "qkvo")},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_one_network_gives_equal_layers_from_every_format(network: str, tmp_path: Path) -> None:
    modules = NETWORKS[network]()
    found = {
        name: layers(form.network(modules, tmp_path / f"m{form.suffix}"), {})
        for name, form in FORMATS.items()
    }
    assert found["safetensors"].keys() == KINDS[network]
    for name, values in found.items():
        assert values == found["safetensors"], name


def test_norms_are_folded_with_the_epsilon_that_a_file_gives(tmp_path: Path) -> None:
    usual = layers(corpus.safetensors(state_of(cnn()), tmp_path / "m.safetensors"), {})
    modules = cnn(eps=0.5)
    found = {
        name: layers(form.network(modules, tmp_path / f"m{form.suffix}"), {})
        for name, form in FORMATS.items()
    }
    first = folded(modules)
    for name, form in FORMATS.items():
        if form.has_eps:
            weights = arrays(found[name]["conv2d"], first.shape)
            assert any(np.allclose(first, weight) for weight in weights), name
            assert found[name] == found["onnx"], name
        else:
            assert found[name] == usual, name


def folded(modules: Modules) -> np.ndarray:
    """The first convolution with its norm folded in."""
    norm, weight = modules["bn1"], modules["conv1"].weight
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (weight * scale.view(-1, 1, 1, 1)).detach().numpy()


def arrays(values: list[bytes], shape: tuple[int, ...]) -> list[np.ndarray]:
    """The weights of a shape among those of a kind of layer."""
    head = f"weight {shape} ".encode()
    own = [value.removeprefix(head) for value in values if value.startswith(head)]
    return [np.frombuffer(value, np.float32).reshape(shape) for value in own]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["keras", "hdf5"])
@pytest.mark.parametrize("network", NETWORKS)
def test_keras_itself_reads_what_the_corpus_writes(network: str, name: str, tmp_path: Path) -> None:
    import keras

    modules, form = NETWORKS[network](), FORMATS[name]
    model = keras.models.load_model(form.network(modules, tmp_path / f"m{form.suffix}"))
    loaded = {layer.name: layer.get_weights() for layer in model.layers}
    assert loaded.keys() == modules.keys()
    for layer, module in modules.items():
        expected = [*keras_variables(module).values()]
        assert len(loaded[layer]) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(loaded[layer], expected, strict=True))
