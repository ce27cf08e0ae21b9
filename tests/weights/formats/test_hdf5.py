"""HDF5 files whose bytes are wrong are refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from h5py import h5d, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peace_pipeline.weights.errors import (
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from tests.weights.formats.hdf5_files import MATRIX, new, read_all


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), libver=st.sampled_from(["earliest", "latest"]))
def test_corrupt_bytes_are_never_another_exception(data: st.DataObject, libver: str, tmp_path: Path) -> None:
    path = tmp_path / f"{libver}.h5"
    if not path.exists():
        with new(path, libver=libver) as file:
            file["a/w"] = MATRIX
            file.create_dataset("a/packed", data=MATRIX, chunks=(2, 3), compression="gzip", shuffle=True)
            file.attrs["model_config"] = '{"class_name": "Sequential"}'
            file.attrs["layer_names"] = ["a"]
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        content[place] = value
    broken = tmp_path / "broken.h5"
    broken.write_bytes(content[: data.draw(st.just(len(content)) | places)])
    with suppress(UnreadableCheckpoint):
        read_all(broken)


def test_another_floating_type_is_refused_but_bfloat16_is_read(tmp_path: Path) -> None:
    kind = h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    values = torch.arange(6.0).to(torch.bfloat16)
    with new(tmp_path / "m.h5") as file:
        dataset = h5d.create(file.id, b"w", kind, h5s.create_simple((6,)))
        dataset.write(h5s.ALL, h5s.ALL, values.view(torch.uint16).numpy(), kind)
    assert torch.equal(read_all(tmp_path / "m.h5")["w"], values)
    with new(tmp_path / "m.h5") as file:
        file["w"] = np.ones(3, np.longdouble)
    with pytest.raises(UnsupportedFormat, match="'w' is of a type of numbers that is not read"):
        read_all(tmp_path / "m.h5")
