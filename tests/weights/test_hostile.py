"""Files that were made to do harm: each is one reason of its own kind and one skipped record; nothing in it runs."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.lake import Lake
from peace_pipeline.stages.outcome import skipped_models
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    ExcessiveSize,
    UnreadableCheckpoint,
)
from peace_pipeline.zoo import files
from peace_pipeline.zoo.folders import models_of
from tests.lakes import directory, ingest
from tests.weights import corpus
from tests.weights.corpus import FORMATS
from tests.weights.hostile import CASES, STATE


def paths(folder: Path) -> list[Path]:
    return [folder / name for name in models_of(folder)[0].files]


def read_all(folder: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint(paths(folder)) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def evils(marker: Path) -> dict[str, Calls]:
    """What unpickles to a call that would write the marker."""
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch '{marker}'"),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "subprocess": Calls(subprocess.check_call, ["touch", str(marker)]),
        "open": Calls(open, str(marker), "w"),
        "a nested call": Calls(eval, Calls(str, code)),
        "of torch": Calls(torch.save, {}, str(marker)),
    }


EVILS = [*evils(Path())]
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@FORMS
@pytest.mark.parametrize("evil", EVILS)
def test_nothing_in_a_pickle_is_called_and_tensors_beside_are_read(
    evil: str, zipped: bool, tmp_path: Path
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    state = {"before": evils(marker)[evil], **STATE, "after": evils(marker)[evil]}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    found = read_all(tmp_path)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "it would have been"


@pytest.mark.parametrize("evil", EVILS)
def test_a_pickle_of_nothing_but_a_call(evil: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save(evils(marker)[evil], tmp_path / "model.pt")
    with pytest.raises(UnreadableCheckpoint, match="no network in it"):
        read_all(tmp_path)
    (tmp_path / "model.pt").write_bytes(pickle.dumps(evils(marker)[evil]))
    with pytest.raises(UnreadableCheckpoint, match=r"a pickle without a network"):
        read_all(tmp_path)
    assert not marker.exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all cases, and of a sound model."""
    root = tmp_path_factory.mktemp("hostile") / "zoo"
    for number, (make, _, _) in enumerate(CASES.values()):
        (root / f"{number}").mkdir(parents=True)
        make(root / f"{number}")
    (root / "sound").mkdir()
    save_file(STATE, root / "sound" / "model.safetensors")
    return root


@pytest.mark.parametrize("name", CASES)
def test_the_kind_of_error(name: str, made: Path) -> None:
    _, kind, reason = CASES[name]
    folder = made / str([*CASES].index(name))
    started = time.monotonic()
    with pytest.raises(kind, match=reason) as error:
        read_all(folder)
    assert type(error.value) is not UnreadableCheckpoint or kind is UnreadableCheckpoint
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 5


def test_each_is_one_skipped_record_and_the_batch_goes_on(made: Path, lake: Lake) -> None:
    summary = ingest(lake, directory(made))
    (batch,) = summary.batches
    skipped = summary.skipped + skipped_models(lake, batch)
    reasons = {record["model_id"].rpartition("/")[2]: record["reason"] for record in skipped}
    assert len(skipped) == len(reasons) == len(CASES)
    for number, name in enumerate(CASES):
        with pytest.raises((UnreadableCheckpoint, files.ForbiddenShard)) as error:
            read_all(made / str(number))
        assert reasons[str(number)] == str(error.value), name


# What is odd, but no harm


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_empty_tensors_are_read(form: corpus.Format, tmp_path: Path) -> None:
    state = STATE | {"empty": torch.ones(0, 3)}
    form.state(state, tmp_path / f"model{form.suffix}")
    found = read_all(tmp_path)
    assert found.keys() == state.keys()
    assert found["empty"].shape == (0, 3)


def test_links_within_a_folder_are_followed(tmp_path: Path) -> None:
    """Local copies of the Hub's repositories are made of links."""
    (tmp_path / "blobs").mkdir()
    save_file(STATE, tmp_path / "blobs" / "0123")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blobs/0123")
    assert read_all(tmp_path / "snapshot").keys() == STATE.keys()


def test_a_million_tensors_take_little_time_and_memory(tmp_path: Path) -> None:
    entries = (
        f'"{n}":{{"dtype":"F32","shape":[1],"data_offsets":[{4 * n},{4 * n + 4}]}}' for n in range(10**6)
    )
    text = ("{" + ",".join(entries) + "}").encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * 10**6))
    del text
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = memory("VmRSS"), time.monotonic()
    with pytest.raises(ExcessiveSize):
        read_all(tmp_path)
    assert time.monotonic() - started < 5
    assert memory("VmHWM") - before < 1 << 30


def memory(key: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024
