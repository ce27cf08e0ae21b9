"""`peace wiring` as a user types it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file, save_file

from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER
from tests.pipeline import Workplace, environment, place
from tests.specimens import FAMILIES
from tests.terminal import typed

__all__ = ["place"]
SVG = "{http://www.w3.org/2000/svg}"


def saved(name: str, folder: Path, dtype: torch.dtype = torch.float64) -> Path:
    """A specimen of seed 0 in a folder of its library's."""
    FAMILIES[name].save(FAMILIES[name].build(0, dtype), folder)
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def test_wiring(place: Workplace) -> None:
    wiring = place.peace("wiring", "zoo/n000", "--json").json
    assert (wiring["method"], wiring["family"]) == ("chain", None)
    assert wiring["groups"][1] == {
        "name": "0", "size": 10, "kind": "permutable", "actions": ["permute", "scale"]
    }  # fmt: skip
    assert wiring["layers"][0] == {
        "name": "0", "kind": "linear", "shape": [10, 12], "out_group": "0", "in_group": "input"
    }  # fmt: skip
    assert "chain" in place.peace("wiring", "zoo/n000/model.safetensors").out


def test_wiring_tells_what_it_found(here: Workplace) -> None:
    saved("llama", here.root / "llama")
    wiring = here.peace("wiring", "llama", "--json").json
    assert list(wiring) == ["method", "family", "basis", "assumes", "reason", "coverage", "groups", "layers"]
    assert wiring["coverage"] == {"layers": 1.0, "buffers": 0.0, "averages": 0.0, "unread": 0.0}
    assert (wiring["basis"], wiring["assumes"]) == ("certain", [])
    assert wiring["method"] == "family"
    assert "all names and shapes fit" in wiring["reason"]
    groups = {row["name"]: row for row in wiring["groups"]}
    attention = "model.layers.0.self_attn"
    assert groups["stream"] == {
        "name": "stream", "size": 24, "kind": "permutable", "actions": ["permute", "sign", "orthogonal"]
    }  # fmt: skip
    assert groups[f"{attention}.k_proj.keys"] == {
        "name": f"{attention}.k_proj.keys", "size": 4, "kind": "permutable", "actions": ["rotate"],
        "width": 6, "bundle": 2, "along": f"{attention}.o_proj.heads",
    }  # fmt: skip
    layers = {row["name"]: row for row in wiring["layers"]}
    assert layers[f"{attention}.q_proj"] == {
        "name": f"{attention}.q_proj", "kind": "attention_q", "shape": [24, 24],
        "out_group": f"{attention}.k_proj.keys", "in_group": "model.layers.0.input_layernorm",
        "before": "model.layers.0.input_layernorm",
    }  # fmt: skip
    saved("lstm_bidirectional", here.root / "lstm")
    joined = [row for row in here.peace("wiring", "lstm", "--json").json["groups"] if "parts" in row]
    assert [row["parts"] for row in joined] == [
        [f"lstm.hh_l{layer}", f"lstm.hh_l{layer}_reverse"] for layer in range(2)
    ]
    saved("resnet_basic", here.root / "resnet")
    first = here.peace("wiring", "resnet", "--json").json["layers"][0]
    assert (first["name"], first["norm"]) == ("conv1", "bn1")


def test_wiring_tells_why(here: Workplace) -> None:
    def reason(folder: str) -> str:
        return here.peace("wiring", folder, "--json").json["reason"]

    config = saved("llama", here.root / "llama") / "config.json"
    state = load_file(config.parent / "model.safetensors")
    state.pop("model.layers.1.mlp.up_proj.weight")
    save_file(state, config.parent / "model.safetensors")
    assert "llama, but layer model.layers.1.mlp.up_proj is missing" in reason("llama")
    config.write_text('{"model_type": "unheard-of"}')
    assert "names no family" in reason("llama")
    assert "no symmetry is claimed" in reason("llama")
    saved("mlp_relu", here.root / "mlp")
    assert "plain chain" in reason("mlp")


def test_wiring_tells_what_it_rests_on(here: Workplace) -> None:
    saved("cnn", here.root / "ours")
    (here.root / "unnamed").mkdir()
    save_file(
        load_file(here.root / "ours" / "model.safetensors"), here.root / "unnamed" / "model.safetensors"
    )
    ours, unnamed = (here.peace("wiring", name, "--json").json for name in ("ours", "unnamed"))
    assert (ours["method"], ours["basis"], ours["assumes"]) == ("chain", "certain", [])
    assert (unnamed["method"], unnamed["basis"]) == ("chain", "assumed")
    assert unnamed["assumes"] == [ONE_AFTER_THE_OTHER]
    assert "chain, which is certain" in here.peace("wiring", "ours").out
    text = here.peace("wiring", "unnamed").out.replace("\n", " ")
    assert "assuming that its layers are applied one after the other" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_drawing_folds_repeated_blocks_and_fits(here: Workplace, width: int) -> None:
    saved("llama", here.root / "llama")
    command = here.command("wiring", "llama")
    code, lines = typed(command, width=width, cwd=here.root, env=environment())
    answer = "\n".join(lines)
    assert code == 0
    assert max(map(len, lines)) <= width
    assert "┌ model.layers.{0…1}" in answer
    assert "2 times" in answer
    assert answer.count("down_proj ← mlp.up_proj.hidden") == 1
    assert "layers.1" not in answer
    saved("resnet_bottleneck", here.root / "resnet")
    answer = here.peace("wiring", "resnet").out
    assert all(f"layer{block}.conv3 ← layer{block}.conv2" in answer for block in ("1.0", "1.1", "2.0"))


@pytest.mark.parametrize("name", ["picture.html", "picture.svg"])
def test_the_picture(here: Workplace, name: str) -> None:
    saved("llama", here.root / "llama")
    wiring = here.peace("wiring", "llama", "--out", name, "--json").json
    picture = ElementTree.fromstring(svg_in((here.root / name).read_text()))
    told = ["".join(title.itertext()) for title in picture.iter(f"{SVG}title")]
    for row in [*wiring["groups"], *wiring["layers"]]:
        is_first = "layers.1" not in row["name"]
        assert any(text.startswith(f"{row['name']}\n") for text in told) == is_first, row["name"]
    assert any("orthogonal: all entries may be mixed" in text for text in told)
    width, height = (float(picture.attrib[side]) for side in ("width", "height"))
    for box in picture.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.attrib["width"]) <= width
        assert float(box.get("y", 0)) + float(box.attrib["height"]) <= height


def test_a_picture_of_another_format(here: Workplace) -> None:
    assert "no .html or .svg file" in here.peace("wiring", "llama", "--out", "p.png", code=2).err


def svg_in(page: str) -> str:
    return page[page.index("<svg") : page.index("</svg>") + len("</svg>")]
