"""Writes the family sheets that the symmetry report draws its networks from: what each specimen saves, without values.

python -m tests.specimens.sheets
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peace_pipeline.evaluation.symmetry.study import SHEETS
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.zoo.card import read_config

from . import FAMILIES

_VERSION = "transformers_version"


def sheet(name: str, folder: Path) -> dict[str, Any]:
    """A specimen's sheet; it is saved in ``folder`` for it."""
    specimen = FAMILIES[name]
    specimen.save(specimen.build(0), folder)
    config = read_config(folder)
    config.pop(_VERSION, None)
    with open_checkpoint(weight_files(folder)) as checkpoint:
        tensors = {info.name: [info.dtype, *info.shape] for info in checkpoint.tensors.values()}
    return {"config": config, "tensors": tensors}


def main() -> None:
    """Rewrite the sheets of all families, one a line."""
    with TemporaryDirectory() as place:
        lines = [
            f"{json.dumps(name)}: {json.dumps(sheet(name, Path(place, name)), separators=(',', ':'))}"
            for name in FAMILIES
        ]
    SHEETS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
