"""Diagnostic profiles: what networks answer to one common set of inputs. For evaluation alone, never for training.

The probe set is the same for all architectures on vectors: test examples of every vector task, and noise. Profiles
lie beside a zoo, not in it: one Parquet file a chunk, a row a network.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .store import profiles_folder
from .tasks import TASKS, Floats, load_task
from .views import INPUTS, LABELS

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import nn

PROBES, EACH = 256, 16  # probes, and how many of them each task gives; the rest is noise


def profiles(root: Path, recipe: str) -> pa.Table:
    """Profiles of the zoo ``root/recipe``: ``network`` and ``outputs``, its logits to every probe in turn.

    Networks that read text have none.
    """
    import pyarrow.parquet as pq

    return pq.read_table(profiles_folder(Path(root), recipe), schema=_schema())


@cache
def probe_set() -> Floats:
    """The common inputs (probes, 64)."""
    tasks = [task for task in map(load_task, TASKS) if not task.is_text]
    examples = np.concatenate([task.x_test[:EACH] for task in tasks]).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((PROBES - len(examples), INPUTS), dtype=np.float32)
    return np.concatenate([examples, noise])


def profile(network: nn.Module, shape: list[int]) -> Floats:
    """A network's logits to the probe set, as one row."""
    import torch

    with torch.inference_mode():
        return network(torch.tensor(probe_set()).view(-1, *shape)).flatten().numpy()


def write(rows: dict[str, Floats], path: Path) -> None:
    """Write a chunk's profiles, by network."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(rows)
    table = pa.table({"network": names, "outputs": [rows[name] for name in names]}, _schema())
    pq.write_table(table, path, compression="zstd", use_byte_stream_split=["outputs"], use_dictionary=False)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema({"network": pa.string(), "outputs": pa.list_(pa.float32(), PROBES * LABELS)})
