"""How time and memory grow with the zoo: a pass that adds 20 models, a tick of the sensor, a search.

    python benchmarks/scale.py [--models 10000 100000 1000000] [--folder $PEACE_HOME/scale] [--times 3]

Makes a synthetic lake of each size (benchmarks/synthetic_lake.py says what is synthetic in it; a lake that is there
already is used again and grows by what the passes add) and measures each of these in a process of its own, after its
imports: the least of several times, by the wall's clock and by the processor's (the one to look at where other work
runs beside), and the process's peak memory. All stages of the pass are real, from the crawl of a directory to the
index, with checkpoints of small MLPs and an encoder of random weights.
Prints each figure and its ratio to the smallest lake; the comparison of vectors itself is a row of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from peace_pipeline.lake import Lake

Cost = tuple[float, float]
ADDED = 20
MOST = 1.2
"""The ratio to the smallest lake that a figure may have."""
FREE = ("search: vectors compared", "stage: ")
"""Figures that may have any: the comparison of vectors itself, and parts of a pass, which counts as a whole."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Lake.open().root / "scale")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measured(arguments.measure, arguments.folder, arguments.times)))
        return
    results = {}
    for models in sorted(arguments.models):
        folder = arguments.folder / str(models)
        if not (folder / "made").exists():
            _alone("make", folder, models)
        results[models] = {
            name: figure
            for measure in MEASURED
            if measure != "make"
            for name, figure in _alone(measure, folder, arguments.times).items()
        }
    Console(width=140).print(_table(results))
    sys.exit(any(_grows(results, name) for name in results[min(results)] if not name.startswith(FREE)))


def _alone(measure: str, folder: Path, times: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", measure, "--folder", str(folder), "--times", str(times)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=_environment(folder))
    print(f"{folder.name} {measure}: {done.stdout.splitlines()[-1]}", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PEACE_HOME": str(folder / "home")}


def _measured(measure: str, folder: Path, times: int) -> dict[str, float]:
    """Figures by name: the least seconds, of the wall's clock and of the processor's, and the peak memory in MB."""
    results = {}
    for name, costs in MEASURED[measure](folder, times).items():
        wall, processor = (min(seconds) for seconds in zip(*costs, strict=True))
        results |= {f"{name}, s": wall, f"{name}, CPU s": processor}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return results | {f"{measure}: peak memory, MB": peak}


def _cost(function: Callable[[], object]) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def _make(folder: Path, models: int) -> dict[str, list[Cost]]:
    from synthetic_lake import make_lake

    cost = _cost(lambda: make_lake(Lake.open(folder / "home"), models))
    (folder / "made").touch()
    return {"making the lake": [cost]}


def _pass(folder: Path, times: int) -> dict[str, list[Cost]]:
    """`peace run` after 20 models were added; and one that finds nothing new."""
    from peace_pipeline.definitions import Pass, defs

    config = folder / "peace.toml"
    config.write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    lake = Lake.open(folder / "home")
    figures: dict[str, list[Cost]] = {"pass of 20 models": [], "pass of none": []}
    for number in range(times + 1):
        _add_models(folder / "zoo")
        for name in figures:
            cost = _cost(lambda: _checked(Pass(defs, lake, str(config)).run(), name))  # noqa: B023
            if number:
                figures[name].append(cost)
    return figures


def _checked(summary: object, name: str) -> None:
    expected = ADDED if name == "pass of 20 models" else 0
    assert (summary.new, summary.embedded) == (expected, expected), summary  # type: ignore[attr-defined]


def _stages(folder: Path, times: int) -> dict[str, list[Cost]]:
    """Every stage of a batch of 20 models, called directly."""
    from peace_pipeline.stages.crawl import crawl_zoo
    from peace_pipeline.stages.embed import embed_batch
    from peace_pipeline.stages.extract import extract_batch
    from peace_pipeline.stages.index import update_index
    from peace_pipeline.stages.layers import layer_batch
    from peace_pipeline.stages.respond import respond_batch
    from peace_pipeline.stages.staleness import stale_batches
    from peace_pipeline.zoo import ZooConfig
    from peace_pipeline.zoo.fetching import Fetcher

    lake, config = Lake.open(folder / "home"), ZooConfig.load(folder / "peace.toml")
    names = ("crawl", "staleness", "extract", "layers", "respond", "embed", "index")
    figures: dict[str, list[Cost]] = {f"stage: {name}": [] for name in names}
    for number in range(times + 1):
        _add_models(folder / "zoo")
        batches: list[str] = []
        steps: tuple[Callable[[], object], ...] = (
            lambda: batches.extend(crawl_zoo(lake, config).batches),  # noqa: B023
            lambda: stale_batches(lake),
            lambda: extract_batch(lake, batches[0], Fetcher()),  # noqa: B023
            lambda: layer_batch(lake, batches[0], Fetcher()),  # noqa: B023
            lambda: respond_batch(lake, batches[0], Fetcher()),  # noqa: B023
            lambda: embed_batch(lake, batches[0]),  # noqa: B023
            lambda: update_index(lake, batches[0]),  # noqa: B023
        )
        for name, step in zip(names, steps, strict=True):
            cost = _cost(step)
            if number:
                figures[f"stage: {name}"].append(cost)
    return figures


def _tick(folder: Path, times: int) -> dict[str, list[Cost]]:
    """A tick of the sensor that finds nothing to do."""
    import dagster as dg

    from peace_pipeline.assets.sensors import stale_batches
    from peace_pipeline.definitions import defs
    from peace_pipeline.resources import LakeResource
    from peace_pipeline.resources.instance import open_instance

    lake = Lake.open(folder / "home")
    instance, resources = open_instance(lake), {"lake": LakeResource(home=str(lake.root))}

    def tick() -> None:
        context = dg.build_sensor_context(instance=instance, definitions=defs, resources=resources)
        assert not stale_batches.evaluate_tick(context).run_requests

    first, *others = (_cost(tick) for _ in range(times + 1))
    return {"first tick of a process": [first], "tick": others}


def _search(folder: Path, times: int) -> dict[str, list[Cost]]:
    """A search by a model id: everything, and the comparison of vectors alone."""
    from synthetic_lake import model_id

    from peace_pipeline.index.lookup import example, find
    from peace_pipeline.index.search import indexed_vector, search

    lake = Lake.open(folder / "home")
    figures: dict[str, list[Cost]] = {"search: look-up": [], "search: vectors compared": [], "example": []}
    for number in range(3 * times + 1):
        query = model_id(17 * number)
        assert len(find(lake, query, k=10)) == 10
        vector = indexed_vector(lake, query)
        steps = (
            lambda: indexed_vector(lake, query),  # noqa: B023
            lambda: search(lake, vector, k=10),  # noqa: B023
            lambda: example(lake),
        )
        for name, step in zip(figures, steps, strict=True):
            cost = _cost(step)
            if number:
                figures[name].append(cost)
    return figures


def _add_models(zoo: Path) -> None:
    """Write 20 more small MLPs, of weights that no other has."""
    import torch
    from safetensors.torch import save_file

    start = len(list(zoo.iterdir())) if zoo.exists() else 0
    for number in range(start, start + ADDED):
        torch.manual_seed(number)
        state = {
            f"{layer}.weight": torch.randn(out, into)
            for layer, (out, into) in enumerate(((10, 12), (8, 10), (4, 8)))
        }
        folder = zoo / f"m{number:06}"
        folder.mkdir(parents=True)
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "mlp", "hidden_act": "relu"}))


def _table(results: dict[int, dict[str, float]]) -> Table:
    table = Table(title="Time and memory by models in the lake, and their ratio to the smallest")
    table.add_column("")
    smallest = min(results)
    for models in results:
        table.add_column(f"{models:,}", justify="right")
    for name, first in results[smallest].items():
        cells = [_cell(figures[name], first, models == smallest) for models, figures in results.items()]
        table.add_row(name, *cells)
    return table


def _grows(results: dict[int, dict[str, float]], name: str) -> bool:
    return any(figures[name] > MOST * results[min(results)][name] for figures in results.values())


def _cell(figure: float, first: float, smallest: bool) -> str:
    shown = f"{figure:.0f}" if figure >= 100 else f"{figure:.3f}"
    return shown if smallest else f"{shown}  × {figure / first:.2f}{'' if figure <= MOST * first else ' !'}"


MEASURED = {"make": _make, "pass": _pass, "stages": _stages, "tick": _tick, "search": _search}

if __name__ == "__main__":
    main()
