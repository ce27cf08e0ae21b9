"""The torchvision source: tables of weights are read out of torchvision's code, which is never run."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.zoo import ConfigError, ModelRecord, ZooConfig
from peace_pipeline.zoo.current import Current

HOST = "https://weights.test"
META = """
_PLACES = ["field", "lake", "hill"]
_BOXES = ["__background__", "cat"]
"""
TINYNET = f'''
from functools import partial
from ..transforms import Preset
from ._api import register_model, Weights, WeightsEnum
from ._meta import _PLACES
from ._utils import handle_legacy_interface

raise RuntimeError("this is never run")

_COMMON: dict = {{"min_size": (8, 8), "categories": _PLACES}}

class Tiny_Weights(WeightsEnum):
    PLACES_V1 = Weights(
        url="{HOST}/tiny-0a1b2c3d.pth",
        transforms=partial(Preset, crop_size=8),
        meta={{
            **_COMMON,
            "num_params": 1234,
            "recipe": "https://recipes.test/1",
            "_metrics": {{"Places": {{"acc@1": 61.5, "acc@5": 90}}, "Hills": {{"acc@1": 10.25}}}},
            "_docs": """
                The first recipe.
            """,
        }},
    )
    PLACES_V2 = Weights("{HOST}/tiny-4e5f6a7b.pth", Preset, {{**_COMMON, "num_params": 1234, "license": "mit"}})
    BROKEN = Weights(url=make_url(), transforms=None, meta={{}})
    DEFAULT = PLACES_V2

class Huge_Weights(WeightsEnum):
    PLACES_V1 = Weights(url="{HOST}/huge.pth", transforms=None, meta=None)

@register_model()
@handle_legacy_interface(weights=("pretrained", Tiny_Weights.PLACES_V1))
def tiny_net(*, weights: Optional[Tiny_Weights] = None, progress: bool = True, **kwargs):
    weights = Tiny_Weights.verify(weights)
'''
QUANTIZED = f'''
from torchvision.models.tinynet import Tiny_Weights
from .._api import register_model, Weights, WeightsEnum

class Tiny_QuantizedWeights(WeightsEnum):
    PLACES_INT8 = Weights(
        url="{HOST}/quantized/tiny_int8-89abcdef.pth",
        meta={{"backend": "qnnpack", "unquantized": Tiny_Weights.PLACES_V1}},
    )
    DEFAULT = PLACES_INT8

@register_model(name="quantized_tiny_net")
def tiny_net(weights: Optional[Union[Tiny_QuantizedWeights, Tiny_Weights]] = None, quantize=False):
    pass
'''
DETECTOR = f'''
from .._api import register_model, Weights, WeightsEnum
from .._meta import _BOXES
from ..tinynet import Tiny_Weights

class Boxes_Weights(WeightsEnum):
    BOXES_V1 = Weights(
        url="{HOST}/boxes-01234567.pth",
        meta={{"categories": _BOXES, "_metrics": {{"Boxes": {{"box_map": float("nan")}}}}, "num_params": 1 << 80}},
    )

@register_model()
def boxes(weights: Optional[Boxes_Weights] = None, weights_backbone: Optional[Tiny_Weights] = None):
    pass
'''
SOURCES = {
    "__init__.py": "raise RuntimeError('this is never run')",
    "models/__init__.py": "from .tinynet import *",
    "models/_api.py": "class Weights: pass\nclass WeightsEnum: pass\ndef register_model(name=None): pass",
    "models/_meta.py": META,
    "models/tinynet.py": TINYNET,
    "models/quantization/tinynet.py": QUANTIZED,
    "models/detection/boxes.py": DETECTOR,
    "datasets/x.py": f"x = Weights(url='{HOST}/not-a-model.pth')",
}
IDS = [
    "torchvision:boxes/BOXES_V1",
    "torchvision:quantized_tiny_net/PLACES_INT8",
    "torchvision:tiny_net/PLACES_V1",
    "torchvision:tiny_net/PLACES_V2",
    "torchvision:Huge_Weights/PLACES_V1",
]


def package(folder: Path, **changed: str) -> Path:
    """A package folder in torchvision's layout."""
    for name, text in (SOURCES | changed).items():
        path = folder / "torchvision" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "torchvision"


def crawled(lake: Lake, path: Path | str | None) -> CrawlSummary:
    options: dict[str, Any] = {} if path is None else {"path": str(path)}
    return crawl_zoo(lake, ZooConfig(({"kind": "torchvision", **options},), Path("/")))


@pytest.fixture
def records(lake: Lake, tmp_path: Path) -> dict[str, ModelRecord]:
    assert sorted(crawled(lake, package(tmp_path)).new) == sorted(IDS)
    return Current(lake).records()


def test_what_a_table_says(records: dict[str, ModelRecord]) -> None:
    first = records["torchvision:tiny_net/PLACES_V1"]
    (file,) = first.files
    assert (first.uri, file.path, file.size, file.sha256, file.format) == (
        f"{HOST}/tiny-0a1b2c3d.pth", "tiny-0a1b2c3d.pth", None, "0a1b2c3d", "pytorch",
    )  # fmt: skip
    assert first.metrics == {"Places acc@1": 61.5, "Places acc@5": 90.0, "Hills acc@1": 10.25}
    assert (first.architecture, first.library, first.task) == (
        "tinynet",
        "torchvision",
        "image-classification",
    )
    assert (first.datasets, first.parameters, first.license) == (("Places", "Hills"), 1234, None)
    assert first.hyperparameters == {
        "recipe_url": "https://recipes.test/1", "min_size": "8x8", "categories": "3",
    }  # fmt: skip
    assert first.card == (
        "# tiny_net PLACES_V1\n\nThe first recipe.\n\nRecipe: https://recipes.test/1\n\n"
        "3 categories: field, lake, hill"
    )


def test_positional_arguments_and_missing_parts(records: dict[str, ModelRecord]) -> None:
    assert records["torchvision:tiny_net/PLACES_V2"].license == "mit"
    huge = records["torchvision:Huge_Weights/PLACES_V1"]
    assert (huge.files[0].sha256, huge.metrics, huge.parameters) == (None, {}, None)
    boxes = records["torchvision:boxes/BOXES_V1"]
    assert (boxes.task, boxes.metrics, boxes.parameters) == ("object-detection", {}, None)
    assert boxes.hyperparameters["categories"] == "2"


def test_quantized_weights_name_what_they_come_from(records: dict[str, ModelRecord]) -> None:
    quantized = records["torchvision:quantized_tiny_net/PLACES_INT8"]
    assert quantized.base_model == "torchvision:tiny_net/PLACES_V1"
    assert quantized.base_model_relation == "quantized"
    assert quantized.hyperparameters == {"backend": "qnnpack"}
    assert records["torchvision:tiny_net/PLACES_V2"].base_model is None


def test_only_what_a_table_changes_is_new(lake: Lake, tmp_path: Path) -> None:
    crawled(lake, package(tmp_path))
    assert not crawled(lake, tmp_path).batches, "the folder that holds the package does as well"
    new = TINYNET.replace("61.5", "62.5").replace("    DEFAULT = PLACES_V2\n", "")
    summary = crawled(lake, package(tmp_path, **{"models/tinynet.py": new}))
    assert (summary.changed, summary.new) == (["torchvision:tiny_net/PLACES_V1"], [])
    without = TINYNET.replace("PLACES_V2 = Weights", "PLACES_V2 = dict")
    summary = crawled(lake, package(tmp_path, **{"models/tinynet.py": without}))
    assert summary.deleted == ["torchvision:tiny_net/PLACES_V2"]


def test_a_module_that_is_not_python_stops_no_other(lake: Lake, tmp_path: Path) -> None:
    summary = crawled(lake, package(tmp_path, **{"models/detection/boxes.py": "class Boxes("}))
    (skipped,) = summary.skipped
    assert skipped["model_id"] == "torchvision:torchvision/models/detection/boxes.py"
    assert "line 1" in skipped["reason"]
    assert len(summary.new) == len(IDS)


def test_names_that_are_not_text(lake: Lake, tmp_path: Path) -> None:
    place = package(tmp_path)
    Path(os.fsdecode(os.fsencode(place) + b"/models/\xff.py")).write_text("class Boxes(")
    summary = crawled(lake, place)
    assert len(summary.new) == len(IDS) + 1
    assert len(summary.skipped) == 1


def test_wheels_and_archives(lake: Lake, tmp_path: Path) -> None:
    source = package(tmp_path / "vision-1.0")
    for name, root in (("torchvision-1.0-py3-none-any.whl", tmp_path / "vision-1.0"), ("main.zip", tmp_path)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in sorted(source.rglob("*.py")):
                archive.write(path, path.relative_to(root))
        crawled(lake, tmp_path / name)
    assert sorted(Current(lake).records()) == sorted(IDS)


def test_an_installed_package(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["/nowhere"])
    with pytest.raises(ConfigError, match="no installed package"):
        crawled(lake, None)
    package(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert len(crawled(lake, None).new) == len(IDS)


def test_another_repository(lake: Lake, tmp_path: Path) -> None:
    (skipped,) = crawled(lake, tmp_path).skipped
    assert skipped["model_id"] == "torchvision:torchvision/models/__init__.py"
    assert "holds no torchvision/models/__init__.py" in skipped["reason"]
