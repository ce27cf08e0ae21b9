"""The ``torchvision`` source: the tables of weights in torchvision's code, which is parsed and never run."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from natsort import natsorted

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import register
from peace_pipeline.zoo.torch_hub.linked import LinkedWeights, is_url, linked, storable, unusable
from peace_pipeline.zoo.torch_hub.operations import item
from peace_pipeline.zoo.torch_hub.program import Program
from peace_pipeline.zoo.torch_hub.tree import SourceTree
from peace_pipeline.zoo.torch_hub.values import Called, Class, Function, Scope

_MODELS = "torchvision/models/"
_TASKS = {
    "detection": "object-detection",
    "segmentation": "image-segmentation",
    "video": "video-classification",
    "optical_flow": "optical-flow",
}


@dataclass(frozen=True)
class Weights:
    """One entry of a table: ``class X_Weights(WeightsEnum): NAME = Weights(url=…, meta={…})``."""

    path: str
    builder: str
    name: str
    url: str
    meta: dict[Any, Any]

    @property
    def model_id(self) -> str:
        return f"torchvision:{self.builder}/{self.name}"


@register("torchvision")
class TorchvisionSource(LinkedWeights):
    """The pretrained weights of torchvision.

    ``path`` is an installed package (the default), a folder, a wheel or another archive, or the URL of one. Model
    ids are ``torchvision:BUILDER/WEIGHTS``, with the names that ``torchvision.models.get_model`` takes.
    """

    source = "torchvision"
    marker = f"{_MODELS}__init__.py"

    def __init__(self, lake: Lake, base: Path, *, path: str = "torchvision") -> None:
        super().__init__(lake, base, path)

    @property
    def prefix(self) -> str:
        return f"{self.source}:"

    def records(self, tree: SourceTree) -> Iterator[ModelRecord]:
        """One model for every entry of a table; a module that can't be read is skipped."""
        program = Program(tree)
        table: dict[int, Weights] = {}
        for path in natsorted(filter(lambda path: path.startswith(_MODELS), tree.sources)):
            module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            table |= _tables(path, program.module(module))
            if module in program.damaged:
                yield unusable(self.source, self.prefix + path, program.damaged[module])
        for weights in table.values():
            yield self._record(weights, table)

    def _record(self, weights: Weights, table: dict[int, Weights]) -> ModelRecord:
        folder, name = PurePosixPath(weights.path).parent.name, PurePosixPath(weights.path).stem
        metrics = dict(_metrics(weights.meta))
        original = table.get(id(weights.meta.get("unquantized")))
        return linked(
            self.source,
            weights.model_id,
            weights.url,
            architecture=name,
            library=self.source,
            task=_TASKS.get(folder, "image-classification"),
            datasets=tuple(dict.fromkeys(dataset for dataset, _ in metrics)),
            metrics={" ".join(key): value for key, value in metrics.items()},
            hyperparameters=dict(_hyperparameters(weights.meta)),
            base_model=original.model_id if original else None,
            base_model_relation="quantized" if original else None,
            license=_text(weights.meta.get("license")),
            parameters=_count(weights.meta.get("num_params")),
            card=_card(weights),
        )


def _tables(path: str, module: Scope) -> dict[int, Weights]:
    """The entries of a module's tables by the identity of their value, so that aliases count once."""
    classes = {
        name: value
        for name, value in module.names.items()
        if isinstance(value, Class) and value.module == module.module
    }
    builders = _builders(module, classes)
    found: dict[int, Weights] = {}
    for name, table in classes.items():
        for member, value in table.names.items():
            url, meta = _arguments(value)
            if is_url(url) and id(value) not in found:
                found[id(value)] = Weights(path, builders.get(name, name), member, url, meta)
    return found


def _arguments(value: Any) -> tuple[str, dict[Any, Any]]:
    if not isinstance(value, Called) or value.name != "Weights":
        return "", {}
    url = value.kwargs.get("url", item(value.args, 0))
    meta = value.kwargs.get("meta", item(value.args, 2))
    return url if isinstance(url, str) else "", meta if isinstance(meta, dict) else {}


def _builders(module: Scope, classes: dict[str, Class]) -> dict[str, str]:
    """Table → the registered name of the function whose ``weights`` are of that table."""
    found: dict[str, str] = {}
    for function in module.names.values():
        if not isinstance(function, Function) or isinstance(function.node, ast.Lambda):
            continue
        registered = _registered_name(function.node)
        if registered is None:
            continue
        for parameter in (*function.node.args.args, *function.node.args.kwonlyargs):
            if parameter.arg == "weights" and parameter.annotation is not None:
                named = [each.id for each in ast.walk(parameter.annotation) if isinstance(each, ast.Name)]
                own = next((name for name in named if name in classes), None)
                found |= {own: registered} if own else {}
    return found


def _registered_name(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """The name under which ``@register_model()`` makes a function known."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "register_model":
            given = [*decorator.args, *(each.value for each in decorator.keywords if each.arg == "name")]
            names = [each.value for each in given if isinstance(each, ast.Constant)]
            return next((name for name in names if isinstance(name, str)), node.name)
    return None


def _metrics(meta: dict[Any, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """(data set, metric) → value."""
    reported = meta.get("_metrics")
    for dataset, values in reported.items() if isinstance(reported, dict) else ():
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value):
                yield (storable(str(dataset)), storable(str(name))), float(value)


def _hyperparameters(meta: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, name in (("recipe", "recipe_url"), ("backend", "backend")):
        if text := _text(meta.get(key)):
            yield name, text
    if isinstance(meta.get("min_size"), tuple):
        yield "min_size", "x".join(map(str, filter(lambda size: isinstance(size, int), meta["min_size"])))
    if categories := _categories(meta):
        yield "categories", str(len(categories))


def _categories(meta: dict[Any, Any]) -> list[str]:
    names = meta.get("categories")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _text(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _card(weights: Weights) -> str:
    """What the table says of the weights, in words."""
    parts = [f"# {weights.builder} {weights.name}"]
    if docs := _text(weights.meta.get("_docs")):
        parts.append(inspect.cleandoc(docs).strip())
    if recipe := _text(weights.meta.get("recipe")):
        parts.append(f"Recipe: {recipe}")
    if categories := _categories(weights.meta):
        parts.append(f"{len(categories)} categories: {', '.join(categories)}")
    return storable("\n\n".join(parts))
