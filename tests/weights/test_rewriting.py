"""Rewritten checkpoints: only what was to change has changed, and the libraries of the formats load them."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from peace_pipeline.weights.errors import NotFinite, UnsupportedFormat
from peace_pipeline.weights.rewriting import RefusedDestination, rewrite
from tests.weights.reading import read_all
from tests.weights.rewritten import leftovers, numbers, reversed_rows, rewritten

STATE = {
    "embed.weight": numbers(7, 4),
    "half.weight": numbers(5, 3, dtype=torch.bfloat16),
    "conv.weight": numbers(3, 2, 3, 3, dtype=torch.float16),
    "bn.num_batches_tracked": torch.tensor(3),
    "scale": torch.tensor(0.5),
    "empty.weight": torch.empty(0, 4),
}


def write_safetensors(path: Path) -> Path:
    save_file(STATE, path, metadata={"format": "pt", "note": "kept"})
    return path


def write_zip(path: Path) -> Path:
    torch.save({"state_dict": STATE, "epoch": 3}, path)
    return path


def write_legacy(path: Path) -> Path:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    return path


WRITERS = pytest.mark.parametrize(
    ("write", "name"),
    [(write_safetensors, "m.safetensors"), (write_zip, "m.bin"), (write_legacy, "m.pt")],
)


@WRITERS
def test_reversed_twice_is_the_same_file(write: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    source = write(tmp_path / name)
    before = source.read_bytes()
    once = rewritten(source, tmp_path / f"once-{name}")
    found = read_all(once)
    assert found.keys() == read_all(source).keys()
    for key, tensor in found.items():
        assert tensor.dtype == STATE[key].dtype
        assert torch.equal(tensor, reversed_rows(STATE[key]))
    assert rewritten(once, tmp_path / f"twice-{name}").read_bytes() == before == source.read_bytes()
    assert once.read_bytes() != before


def test_safetensors_keep_their_header(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "m.safetensors")
    copy = rewritten(source, tmp_path / "copy.safetensors")
    with safe_open(copy, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "kept"}
        assert torch.equal(file.get_tensor("half.weight"), STATE["half.weight"].flip(0))
    size = int.from_bytes(source.read_bytes()[:8], "little") + 8
    assert copy.read_bytes()[:size] == source.read_bytes()[:size]


def test_pytorch_loads_what_was_rewritten_in_its_archive(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "m.bin")
    copy = rewritten(source, tmp_path / "copy.bin")
    loaded = torch.load(copy, weights_only=True)
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["state_dict"]["conv.weight"], STATE["conv.weight"].flip(0))
    assert torch.load(copy, weights_only=True, mmap=True)["state_dict"]["scale"] == -0.5
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(copy) as new:
        assert new.testzip() is None
        assert [(file.filename, file.header_offset) for file in new.infolist()] == [
            (file.filename, file.header_offset) for file in old.infolist()
        ]
        assert all(new.read(file) == old.read(file) for file in new.namelist() if "/data/" not in file)


def test_an_archive_of_pythons_own_has_right_checksums(tmp_path: Path) -> None:
    source, again = write_zip(tmp_path / "m.bin"), tmp_path / "again.bin"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(again, "w") as new:  # checksums before the data
        for name in old.namelist():
            new.writestr(name, old.read(name))
    copy = rewritten(again, tmp_path / "copy.bin")
    with zipfile.ZipFile(copy) as archive:
        assert archive.testzip() is None
    expected = rewritten(source, tmp_path / "expected.bin")
    assert read_all(copy)["embed.weight"].equal(read_all(expected)["embed.weight"])
    assert torch.load(copy, weights_only=True)["state_dict"]["embed.weight"].equal(
        STATE["embed.weight"].flip(0)
    )


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    source, again = write_zip(tmp_path / "m.bin"), tmp_path / "again.bin"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(UnsupportedFormat, match="compressed"):
        rewrite(again, tmp_path / "copy.bin", [again], lambda name: torch.zeros_like(STATE[name]))
    assert leftovers(tmp_path) == {"m.bin", "again.bin"}


def test_torchscript_computes_with_new_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    x = numbers(5, 4)
    source = tmp_path / "m.jit"
    torch.jit.script(module).save(str(source))
    rewritten(source, tmp_path / "copy.jit", lambda tensor: tensor * 2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 2
        assert torch.equal(torch.jit.load(str(tmp_path / "copy.jit"))(x), module(x))


def test_views_of_one_storage(tmp_path: Path) -> None:
    buffer = numbers(20, 12)
    source = tmp_path / "m.bin"
    state = {
        "rows": buffer[:8],
        "columns": buffer[8:, ::3],
        "transposed": buffer[8:, 1::3].T,
        "alias": buffer[:8],
    }
    torch.save(state | {"whole": buffer.view(-1)[:0]}, source)
    copy = rewritten(source, tmp_path / "copy.bin", lambda tensor: tensor * 2)
    loaded = torch.load(copy, weights_only=True)
    assert all(torch.equal(loaded[name], 2 * tensor) for name, tensor in state.items())
    untouched = loaded["columns"].as_strided((12, 4), (12, 3), 8 * 12 + 2)
    assert torch.equal(untouched, buffer[8:, 2::3])


def test_shared_values_change_together_or_not_at_all(tmp_path: Path) -> None:
    weight = numbers(6, 6)
    source = tmp_path / "m.bin"
    torch.save({"embed.weight": weight, "head.weight": weight.T}, source)
    rewritten(source, tmp_path / "copy.bin", lambda tensor: tensor * 2)
    assert torch.equal(torch.load(tmp_path / "copy.bin", weights_only=True)["head.weight"], 2 * weight.T)
    for change in (
        lambda tensor: tensor.flip(0),
        lambda tensor: None if tensor[0, 1] == weight[0, 1] else -tensor,
    ):
        with pytest.raises(UnsupportedFormat, match=r"\.weight' shares values"):
            rewritten(source, tmp_path / "other.bin", change)
    assert leftovers(tmp_path) == {"m.bin", "copy.bin"}


def test_big_endian_numbers(tmp_path: Path) -> None:
    state = {"rows": numbers(3, 2), "columns": numbers(4, 5)[:, ::2]}
    source, swapped = tmp_path / "m.bin", tmp_path / "swapped.bin"
    torch.save(state, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(swapped, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if "/data/" in name:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            new.writestr(name, b"big" if name.endswith("byteorder") else content)
    loaded = torch.load(rewritten(swapped, tmp_path / "copy.bin"), weights_only=True)
    assert all(torch.equal(loaded[name], tensor.flip(0)) for name, tensor in state.items())


def test_onnx(tmp_path: Path) -> None:
    weights = {"fc.weight": numbers(4, 6), "out.weight": numbers(2, 4)}
    source = tmp_path / "m.onnx"
    initializers = [
        onnx.numpy_helper.from_array(tensor.T.contiguous().numpy(), name) for name, tensor in weights.items()
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "fc.weight"], ["y"]),
        onnx.helper.make_node("MatMul", ["y", "out.weight"], ["z"]),
    ]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, n])
        for name, n in (("x", 6), ("z", 2))
    ]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], initializers)
    onnx.save(onnx.helper.make_model(graph), source)
    copy = rewritten(source, tmp_path / "copy.onnx")
    stored = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(copy).graph.initializer
    }
    assert {name: tensor.T.flip(0).tolist() for name, tensor in stored.items()} == {
        name: tensor.tolist() for name, tensor in weights.items()
    }


def test_formats_that_are_not_written(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "m.h5"
    with h5py.File(source, "w") as file:
        file["dense/kernel:0"] = numbers(3, 2).numpy()
    with pytest.raises(UnsupportedFormat, match=r"m\.h5: tensors of hdf5 can't be overwritten"):
        rewritten(source, tmp_path / "copy.h5")
    assert leftovers(tmp_path) == {"m.h5"}


def test_quantised_tensors_of_pytorch_are_copied_but_not_changed(tmp_path: Path) -> None:
    source = tmp_path / "m.bin"
    codes = torch.quantize_per_tensor(numbers(3, 2), 0.1, 0, torch.qint8)
    torch.save({"q.weight": codes, "fc.weight": numbers(2, 2)}, source)
    rewritten(source, tmp_path / "copy.bin", lambda tensor: 2 * tensor if tensor.shape == (2, 2) else None)
    assert torch.equal(read_all(tmp_path / "copy.bin")["fc.weight"], 2 * numbers(2, 2))
    with pytest.raises(UnsupportedFormat, match=r"'q\.weight' is stored as qint8"):
        rewritten(source, tmp_path / "other.bin")


def test_wrong_new_values(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"embed\.weight.* not float32 of \(14, 4\)"):
        rewrite(
            source,
            tmp_path / "a.safetensors",
            [source],
            lambda name: STATE[name].repeat(2, 1) if name == "embed.weight" else None,
        )
    with pytest.raises(NotFinite, match="scale"):
        rewrite(
            source,
            tmp_path / "a.safetensors",
            [source],
            lambda name: STATE[name] / 0 if name == "scale" else None,
        )
    assert leftovers(tmp_path) == {"m.safetensors"}


def write_folder(folder: Path) -> Path:
    """A folder as of the Hub: shards, their index, what describes it, and another format beside them."""
    folder.mkdir()
    (folder / "1_Pooling").mkdir()
    (folder / ".cache").mkdir()
    names = [f"model-{number + 1:05}-of-00002.safetensors" for number in range(2)]
    where = {name: names[number % 2] for number, name in enumerate(STATE)}
    for shard in names:
        save_file({name: STATE[name] for name in where if where[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    texts = {"config.json": "{}", "README.md": "# A", "1_Pooling/config.json": "[]", ".cache/x": "x"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "tokenizer.model").symlink_to(folder / "README.md")
    torch.save(STATE, folder / "pytorch_model.bin")
    return folder


def test_a_folder_of_shards(tmp_path: Path) -> None:
    source, copy = write_folder(tmp_path / "src"), tmp_path / "new" / "dst"
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    weights = sorted(source.glob("*.safetensors"))
    rewrite(source, copy, weights, lambda name: reversed_rows(STATE[name]))
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    found = {
        name: tensor
        for path in sorted(copy.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    assert all(torch.equal(found[name], reversed_rows(tensor)) for name, tensor in STATE.items())
    kept = [path.relative_to(source) for path in before if path.suffix not in (".safetensors", ".bin")]
    kept.remove(Path(".cache/x"))
    assert all((copy / path).read_bytes() == (source / path).read_bytes() for path in kept)
    present = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    assert present == {*kept, *(path.relative_to(source) for path in weights)}
    assert not (copy / "tokenizer.model").is_symlink()
    assert leftovers(copy.parent) == {"dst"}


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_an_existing_destination_is_refused(kind: str, tmp_path: Path) -> None:
    source, copy = write_safetensors(tmp_path / "m.safetensors"), tmp_path / "copy.safetensors"
    {"file": copy.touch, "folder": copy.mkdir, "link": lambda: copy.symlink_to("nowhere")}[kind]()
    with pytest.raises(RefusedDestination, match=r"copy\.safetensors"):
        rewritten(source, copy)
    assert not source.samefile(copy) if kind != "link" else copy.is_symlink()


def test_destinations_that_make_no_sense(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"a \.safetensors file is written, so call it copy\.safetensors"):
        rewritten(source, tmp_path / "copy.bin")
    folder = write_folder(tmp_path / "src")
    with pytest.raises(ValueError, match="lies within"):
        rewrite(folder, folder / "1_Pooling" / "new", sorted(folder.glob("*.safetensors")), lambda name: None)


def write_model(folder: Path, is_folder: bool) -> tuple[Path, list[Path]]:
    """A model and its weight files."""
    if is_folder:
        source = write_folder(folder / "src.safetensors")
        return source, sorted(source.glob("*.safetensors"))
    source = write_safetensors(folder / "src.safetensors")
    return source, [source]


def status_of_child(work: Callable[[], None]) -> int:
    """What ``waitpid`` says of a process that did some work; an ``OSError`` is its exit code."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except OSError as error:
        os._exit(error.errno or 1)
    finally:
        os._exit(0)


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_full_disk_leaves_nothing(is_folder: bool, tmp_path: Path) -> None:
    """The limit on a file's size stands for a full disk: writing fails as it would there, by an ``OSError``."""
    source, weights = write_model(tmp_path, is_folder)

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        rewrite(source, tmp_path / "dst.safetensors", weights, lambda name: None)

    assert os.waitstatus_to_exitcode(status_of_child(limited)) == errno.EFBIG
    assert leftovers(tmp_path) == {source.name}


@pytest.mark.parametrize("is_folder", [False, True])
def test_killed_in_the_middle_there_is_no_destination(is_folder: bool, tmp_path: Path) -> None:
    source, weights = write_model(tmp_path, is_folder)
    before = [path.read_bytes() for path in weights]
    copy = tmp_path / "dst.safetensors"

    def new_values(name: str) -> torch.Tensor:
        if name == "scale":
            os.kill(os.getpid(), signal.SIGKILL)
        return reversed_rows(STATE[name])

    status = status_of_child(lambda: rewrite(source, copy, weights, new_values))
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not copy.exists()
    assert [path.read_bytes() for path in weights] == before


def test_memory_is_that_of_a_tensor(tmp_path: Path) -> None:
    source = tmp_path / "m.safetensors"
    save_file({f"{number}.weight": torch.ones(1 << 20) for number in range(48)}, source)
    script = f"""
import resource
from pathlib import Path
import torch
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.rewriting import rewrite
source = Path({str(source)!r})
with open_checkpoint([source]) as checkpoint:
    checkpoint.read("0.weight", None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rewrite(source, source.with_name("dst.safetensors"), [source], lambda name: checkpoint.read(name, None) * 2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=True, capture_output=True)
    assert int(done.stdout) < 48 * 1024  # KiB; the model has 192 MiB


def test_a_source_that_is_a_link_is_followed(tmp_path: Path) -> None:
    """As in the Hub's own cache."""
    real = write_safetensors(tmp_path / "blob.safetensors")
    source = tmp_path / "m.safetensors"
    source.symlink_to(real)
    before = real.read_bytes()
    copy = rewritten(source, tmp_path / "copy.safetensors")
    assert not copy.is_symlink()
    assert real.read_bytes() == before != copy.read_bytes()
