"""Files of a model: shards share their names, parts have one before theirs."""

from __future__ import annotations

import json
from pathlib import Path

from peace_pipeline.weights.parts import named_parts


def prefixes(folder: Path, *names: str) -> dict[str, str]:
    return dict(named_parts([folder / name for name in names]).values())


def test_shards_have_no_prefix(tmp_path: Path) -> None:
    names = ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors")
    assert prefixes(tmp_path, *names) == dict.fromkeys(names, "")
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "x.bin", "b": "y.bin"}})
    )
    assert prefixes(tmp_path, "x.bin", "y.bin") == {"x.bin": "", "y.bin": ""}


def test_parts_are_called_after_their_folders_or_themselves(tmp_path: Path) -> None:
    assert prefixes(tmp_path, "unet/a.bin", "vae/b.bin") == {"unet/a.bin": "unet.", "vae/b.bin": "vae."}
    assert prefixes(tmp_path, "model.bin", "2_Dense/b.bin") == {"model.bin": "", "2_Dense/b.bin": "2_Dense."}
    assert prefixes(tmp_path, "one.bin", "two.bin") == {"one.bin": "one.", "two.bin": "two."}
    assert prefixes(tmp_path, "onnx/m.bin") == {"m.bin": ""}
    assert prefixes(tmp_path) == {}
