"""The lake: every table and file of one PEACE installation, under one root.

Parquet is the truth. Local files are written to a temporary name in the same folder and renamed, so a reader
never sees half a file and a killed writer leaves none behind under its final name.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import tables

_SUFFIX = ".parquet"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Lake:
    """The folders and files under ``root`` (``$PEACE_HOME``, by default ``.peace``)."""

    root: Path

    @classmethod
    def at(cls, home: str | Path | None = None) -> Lake:
        """The lake at ``home``, else at ``$PEACE_HOME``, else at ``.peace`` in the working directory; it may not be
        there yet."""
        return cls(Path(home or os.environ.get("PEACE_HOME") or ".peace").expanduser().absolute())

    @classmethod
    def open(cls, home: str | Path | None = None) -> Lake:
        """The same, made where it isn't there."""
        lake = cls.at(home)
        lake.root.mkdir(parents=True, exist_ok=True)
        return lake

    def zoo(self, batch: str) -> Path:
        """Model records of one crawl batch."""
        return tables.MODEL_RECORDS.under(self.root, batch=batch)

    def inventory(self, batch: str) -> Path:
        """One row a model: its verified files and tensors, or the reason it was skipped."""
        return tables.INVENTORY.under(self.root, batch=batch)

    def layers(self, batch: str) -> Path:
        """One row a layer parameter, with its values."""
        return tables.LAYERS.under(self.root, batch=batch)

    def wirings(self, batch: str) -> Path:
        """One row a model: how PEACE reads it, or the reason it was skipped."""
        return tables.WIRINGS.under(self.root, batch=batch)

    def responses(self, batch: str) -> Path:
        """One row a network: what it answers to the probes, or the reason why it was not run."""
        return tables.RESPONSES.under(self.root, batch=batch)

    def embeddings(self, level: str, encoder_version: str, batch: str) -> Path:
        """Embeddings of one batch; ``level`` is ``network``, ``layer``, ``output``, or ``outcomes`` for what became
        of each."""
        table = {
            "network": tables.NETWORK_EMBEDDINGS,
            "layer": tables.LAYER_EMBEDDINGS,
            "output": tables.OUTPUT_EMBEDDINGS,
            "outcomes": tables.EMBEDDING_OUTCOMES,
        }[level]
        return table.under(self.root, encoder_version=encoder_version, batch=batch)

    @property
    def pairs(self) -> Path:
        return tables.PAIRS.under(self.root)

    @property
    def current(self) -> Path:
        """What is known of models and changes with every batch, as tables that are looked up by key."""
        return self.root / "current.lance"

    @property
    def index(self) -> Path:
        return self.root / "index.lance"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def atlas(self) -> Path:
        """The map of the index, a page beside the reports."""
        return self.reports / "atlas.html"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """What MLflow's runs keep beside their figures."""
        return self.root / "mlflow"

    @property
    def mlflow_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def batches(self) -> list[str]:
        """Names of all crawl batches, oldest first (a name sorts by the time of its crawl)."""
        return sorted(batch_names(self.zoo("x").parent))


def batch_names(folder: Path) -> set[str]:
    """Batches of which there is a table in ``folder``; none is opened."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return set()
    return {name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX) and not name.startswith(".")}


def write_parquet(table: pa.Table, path: Path, **options: object) -> None:
    """Write ``table`` to ``path`` whole or not at all."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", **options)
