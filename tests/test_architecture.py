"""The house keeps its order: small files, imports that run downward and never in a circle, a test for every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400
FLOORS = (
    ("progress", "interrupts", "threads"),
    ("workers",),
    ("confinement",),
    ("lake",),
    ("zoo",),
    ("weights",),
    ("symmetry",),
    ("responses",),
    ("encoder",),
    ("comparison", "index"),
    ("stages",),
    ("evaluation",),
    ("atlas",),
    ("api",),
    ("resources",),
    ("assets",),
    ("definitions",),
    ("cli",),
)
"""From the ground up: a room imports from lower floors alone, not from its neighbour."""
KNOW_DAGSTER = ("definitions", "assets", "resources")

TESTED_BY = {
    "atlas/test_export": "cli/atlas",
    "test_definitions": "assets/* resources/*",
    "cli/test_lake": "cli/lake_views stages/about stages/forget stages/status",
    "cli/test_compare": "stages/relatives",
    "cli/test_recommend": "stages/recommend",
    "cli/test_app": "cli/main cli/options cli/terminal cli/failures cli/views",
    "comparison/test_verdict": "comparison/thresholds",
    "encoder/test_model": "encoder/config encoder/features encoder/outputs",
    "encoder/test_pair_rule": "encoder/reasons",
    "responses/test_examples": "responses/example_files",
    "responses/test_sketch": "responses/answers responses/standard",
    "stages/test_train": "encoder/probes encoder/settings encoder/training",
    "evaluation/ablation/test_study": "evaluation/ablation/* evaluation/retraining",
    "evaluation/anomaly/test_study": "evaluation/anomaly/*",
    "evaluation/baselines/test_registry": "evaluation/baselines/trivial",
    "evaluation/generalization/test_study": "evaluation/generalization/*",
    "evaluation/provenance/test_study": "evaluation/provenance/* evaluation/derivatives",
    "evaluation/retrieval/test_study": "evaluation/retrieval/* evaluation/embedder evaluation/population",
    "evaluation/scalability/test_study": "evaluation/scalability/*",
    "evaluation/space/test_study": "evaluation/space/*",
    "evaluation/symmetry/test_study": "evaluation/symmetry/*",
    "evaluation/transfer/test_study": "evaluation/transfer/*",
    "evaluation/test_reports": "evaluation/page evaluation/look",
    "index/test_tables": "index/settled",
    "responses/runners/test_onnx": "responses/runners/onnx_helper",
    "responses/test_running": "responses/runners/model",
    "stages/test_respond": "responses/table",
    "stages/test_crawl": "stages/extract stages/layers zoo/record zoo/source zoo/traffic",
    "weights/formats/test_npz": "weights/formats/placed",
    "weights/formats/test_flax": "weights/formats/tensorflow_names",
    "zoo/test_networks": "zoo/formats",
    "zoo/test_folders": "zoo/layouts",
    "docs/test_formats_table": "weights/formats/facts",
    "docs/test_pages": "symmetry/drawing/* symmetry/wiring_report",
    "symmetry/form/test_canonical": "symmetry/form/matrices symmetry/form/weight_norms symmetry/form/sides",
    "symmetry/form/test_reduction": "symmetry/form/available symmetry/form/reduction_limits symmetry/form/selection",
    "symmetry/group/test_actions": "symmetry/group/perturbations",
    "cli/test_transform": "symmetry/transforming",
    "weights/logical/packing/test_affine": "weights/logical/packing/view",
    "symmetry/wiring/test_chains": "symmetry/wiring/couplings symmetry/wiring/recurrences",
    "symmetry/wiring/test_builder": "symmetry/wiring/activations symmetry/wiring/linking symmetry/wiring/symmetries",
    "symmetry/wiring/test_joining": "weights/logical/joined",
    "symmetry/wiring/test_text_families": "symmetry/wiring/families/*",
    "symmetry/wiring/tracing/test_modules": "symmetry/wiring/tracing/*",
    "responses/test_tokenizing": "responses/tokenizer_helper",
    "weights/conventions/test_facts": "weights/conventions/*",
    "weights/formats/test_hdf5_process": "weights/formats/hdf5_helper confinement",
    "weights/formats/test_keras_layout": "weights/formats/keras_*",
    "weights/formats/test_onnx_layout": "weights/formats/onnx_*",
    "weights/formats/test_storages": "weights/formats/pickled_tensors",
    "weights/test_formats": "weights/formats/registry weights/formats/safetensors weights/inventory",
    "weights/test_hostile": "weights/errors weights/formats/zips",
    "weights/logical/test_tensors": "weights/logical/gains weights/logical/names weights/views",
    "weights/logical/test_recognition": "weights/logical/spellings",
    "weights/test_checkpoint": "weights/local_blob weights/tensors",
    "weights/test_layers": "weights/kinds",
    "weights/test_byte_budget": "weights/sampled_copy",
    "zoo/hub/test_source": "zoo/hub/cursor zoo/hub/describing zoo/hub/pages zoo/hub/queries zoo/hub/repository "
    "zoo/hub/walk",
    "zoo/hub/test_ranges": "zoo/blob",
    "zoo/hub/test_faults": "zoo/fetching",
    "zoo/test_directory": "zoo/files",
    "zoo/test_packages": "zoo/requirements zoo/wheels",
    "zoo/torch_hub/test_program": "zoo/torch_hub/expressions zoo/torch_hub/operations zoo/torch_hub/statements "
    "zoo/torch_hub/values",
    "zoo/torch_hub/test_linked": "zoo/torch_hub/hubconf",
    "zoo/trained/test_generate": "zoo/trained/* zoo/training",
}
"""Test module → the modules (or rooms of alike ones) that it tests beside, or instead of, the one of its name."""


def modules() -> dict[str, Path]:
    """Every module of the project by its path within the package, without suffix."""
    found = {}
    for top, prefix in (("peace_pipeline", ""), ("assets", "assets/"), ("resources", "resources/")):
        for path in (ROOT / top).rglob("*.py"):
            inner = path.relative_to(ROOT / top)
            if top != "peace_pipeline" or inner.parts[0] not in ("assets", "resources"):
                found[prefix + inner.with_suffix("").as_posix()] = path
    return found


MODULES = modules()
FILES = sorted(MODULES.values()) + sorted((ROOT / "tests").rglob("*.py"))


def imported(module: str) -> set[str]:
    """The modules that a module imports, at its top or in its functions; for type checking alone doesn't count."""
    return {name for name in _imports(module) if name != module}


@cache
def _imports(module: str) -> frozenset[str]:
    tree = ast.parse(MODULES[module].read_text())
    package = module.split("/")[:-1]
    found: set[str | None] = set()
    for node in _run(tree):
        if isinstance(node, ast.Import):
            found |= {_own(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ["peace_pipeline", *package][: len(package) + 2 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {_own(f"{base}.{alias.name}") or _own(base) for alias in node.names}
    return frozenset(filter(None, found))


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of code that runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _run(node)


def _own(name: str) -> str | None:
    """The module of the project that a dotted name is."""
    if not name.startswith("peace_pipeline."):
        return None
    path = name.removeprefix("peace_pipeline.").replace(".", "/")
    return next((own for own in (path, f"{path}/__init__") if own in MODULES), None)


def room(module: str) -> str:
    return module.split("/")[0]


def floor(module: str) -> int:
    (number,) = (number for number, rooms in enumerate(FLOORS) if room(module) in rooms)
    return number


def test_no_file_is_too_long_to_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in FILES
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__init__"}))
def test_imports_run_downward(module: str) -> None:
    for other in imported(module):
        assert room(other) == room(module) or floor(other) < floor(module), f"{module} imports {other}"


def test_no_imports_run_in_a_circle() -> None:
    graph = {module: imported(module) for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_what_is_seen_of_imports() -> None:
    assert "index/tables" in imported("stages/index"), "within a package"
    assert "cli/app" in imported("cli/main"), "within a function"
    assert "lake/__init__" in imported("zoo/batches"), "of a name from a package"


def test_the_library_knows_no_dagster() -> None:
    knowing = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(
            name.split(".")[0] == "dagster"
            for name in (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
        )
    }
    assert {room(module) for module in knowing} == set(KNOW_DAGSTER)


def own_test(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return ROOT / "tests" / folder / f"test_{name}.py"


def test_every_module_has_its_tests() -> None:
    patterns = " ".join(TESTED_BY.values()).split()
    untested = [
        module
        for module in MODULES
        if not module.endswith("__init__")
        and not own_test(module).exists()
        and not any(fnmatch(module, pattern) for pattern in patterns)
    ]
    assert not untested, "add tests/ROOM/test_MODULE.py, or say in TESTED_BY where they are tested"


@pytest.mark.parametrize("test", TESTED_BY)
def test_what_tests_others_is_there_and_so_are_they(test: str) -> None:
    assert (ROOT / "tests" / f"{test}.py").exists()
    for pattern in TESTED_BY[test].split():
        assert any(fnmatch(module, pattern) for module in MODULES), f"there is no {pattern}"
