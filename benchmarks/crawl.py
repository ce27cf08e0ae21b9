"""Crawls a Hub of 10,000 models: time and memory as it grows, and what a second crawl does and asks.

    python benchmarks/crawl.py [--repos 10000] [--weights 0.1] [--seed 0]

The Hub is a stand-in in a process of its own; every crawl is a new process too, so that its peak of memory (above
what it had after its imports) is its own. Most repositories hold a card and no weights; the others a tiny network.
After the full crawl of the largest zoo 50 models are added, 20 changed and 5 deleted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.standin_hub.apart import CHANGED, NEW, SPAWN, Changes, ask, served

Result = TypeVar("Result")


@dataclass
class Cost:
    """What a step cost: seconds, requests by method, and the peak of memory in MB above the start."""

    seconds: float
    requests: dict[str, int]
    memory: float


def main() -> None:
    """Print the tables; exit with 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repos", type=int, default=10_000)
    parser.add_argument("--weights", type=float, default=0.1, help="share of models that have weights")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    sizes = sorted({max(arguments.repos * share // 100, NEW + CHANGED) for share in (10, 30, 100)})
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder) / "hub", arguments.weights, arguments.seed) as (endpoint, hub),
    ):
        costs = []
        for size in sizes:
            ask(hub, "grow", size)
            lake = Path(folder) / str(size)
            found, cost = alone(crawl, lake, endpoint)
            assert len(found.new) == size
            costs.append((size, cost))
        console.print(growth(costs))
        promises = flatness(costs) | changes(console, lake, endpoint, hub)
    raise SystemExit(not kept(console, promises))


def growth(costs: list[tuple[int, Cost]]) -> Table:
    """Full crawls of zoos of different sizes."""
    table = Table("models", "seconds", "per 1,000 models", "requests", "peak memory, MB", title="full crawls")
    for size, cost in costs:
        per_thousand = f"{1000 * cost.seconds / size:.2f} s"
        table.add_row(
            f"{size:,}", f"{cost.seconds:.1f}", per_thousand, told(cost.requests), f"{cost.memory:.0f}"
        )
    return table


def flatness(costs: list[tuple[int, Cost]]) -> dict[str, bool]:
    """Whether a crawl of the largest zoo costs a model as much as one of the smallest."""
    (small, first), (large, last) = costs[0], costs[-1]
    return {
        "time per model does not grow with the zoo": last.seconds / large < 1.5 * first.seconds / small,
        "memory grows by less than 20 MB and 2 kB a model": last.memory - first.memory
        < 20 + 2e-3 * (large - small),
    }


def changes(console: Console, lake: Path, endpoint: str, hub: Connection) -> dict[str, bool]:
    """Index the zoo, change it, crawl twice more; what was promised, and whether it was kept."""
    table = Table("step", "seconds", "requests", "peak memory, MB", "outcome")

    def step(name: str, function: Callable[[Path, str], tuple[Any, Cost]]) -> Any:
        result, cost = alone(function, lake, endpoint)
        table.add_row(
            name, f"{cost.seconds:.1f}", told(cost.requests), f"{cost.memory:.0f}", described(result)
        )
        return result

    before = step("indexing the zoo", index)
    expected = ask(hub, "change")
    found = step("crawl after the changes", crawl)
    after = step("indexing the changes", index)
    idle = step("crawl without changes", crawl)
    console.print(table)
    heads = ask(hub, "heads")
    untouched = before.keys() - expected.changed - expected.deleted
    return {
        "exactly the new, changed and deleted models are found": found == expected,
        "rows of new models are added": expected.new == after.keys() - before.keys(),
        "rows of changed models are replaced": all(after[m] != before[m] for m in expected.changed),
        "rows of deleted models are removed": expected.deleted == before.keys() - after.keys(),
        "all other rows are as they were": all(after[m] == before[m] for m in untouched),
        "every row is at the newest revision": {m: row[0] for m, row in after.items()} == heads,
        "a crawl without changes finds nothing": idle == Changes(),
    }


def described(result: Any) -> str:
    """How much a step found, or how many rows there are after it."""
    if isinstance(result, Changes):
        return ", ".join(f"{len(models)} {kind}" for kind, models in vars(result).items())
    return f"{len(result):,} rows"


def kept(console: Console, promises: dict[str, bool]) -> bool:
    """Print the promises."""
    table = Table("promise", "kept")
    for promise, is_kept in promises.items():
        table.add_row(promise, "yes" if is_kept else "NO")
    console.print(table)
    return all(promises.values())


def told(requests: dict[str, int]) -> str:
    """Requests by method."""
    return ", ".join(f"{count:,} {method}" for method, count in sorted(requests.items())) or "none"


def alone(function: Callable[[Path, str], Result], lake: Path, endpoint: str) -> Result:
    """Call in a new process."""
    with ProcessPoolExecutor(1, SPAWN) as pool:
        return pool.submit(function, lake, endpoint).result()


def crawl(root: Path, endpoint: str) -> tuple[Changes, Cost]:
    """Crawl the Hub once."""
    import peace_pipeline.zoo.hub.walk
    from peace_pipeline.lake import Lake
    from peace_pipeline.lake.query import query
    from peace_pipeline.stages.crawl import crawl_zoo

    assert peace_pipeline.zoo.hub.walk
    query("SELECT 1")
    lake = Lake.open(root)
    summary, cost = measured(lambda: crawl_zoo(lake, config_of(endpoint)))
    return Changes(set(summary.new), set(summary.changed), set(summary.deleted)), cost


def index(root: Path, endpoint: str) -> tuple[dict[str, tuple[str, Any]], Cost]:
    """Bring what is stale into the index; model → revision and time of embedding of its row."""
    import lancedb

    from peace_pipeline.encoder import store
    from peace_pipeline.encoder.config import EncoderConfig
    from peace_pipeline.encoder.model import Encoder
    from peace_pipeline.lake import Lake

    lake = Lake.open(root)
    if store.own_version(lake) is None:
        tiny = EncoderConfig(
            width=16, heads=2, rounds=1, token_width=16, transformer_layers=1, attention_heads=2, learned=16
        )
        store.save(lake, Encoder(tiny), {})
    _, cost = measured(lambda: bring_up_to_date(lake, endpoint))
    rows = lancedb.connect(str(lake.index)).open_table("models").to_arrow().to_pylist()
    assert len({row["model_id"] for row in rows}) == len(rows)
    return {row["model_id"]: (row["revision"], row["embedded_at"]) for row in rows}, cost


def bring_up_to_date(lake: Any, endpoint: str) -> None:
    """Every stale batch from its first missing stage on."""
    from peace_pipeline.stages import embed as embeddings
    from peace_pipeline.stages import order, staleness
    from peace_pipeline.stages.extract import extract_batch
    from peace_pipeline.stages.index import update_index
    from peace_pipeline.stages.layers import layer_batch
    from peace_pipeline.stages.respond import respond_batch
    from peace_pipeline.zoo.fetching import Fetcher

    fetcher = Fetcher(config_of(endpoint).build(lake))
    stages: dict[str, Callable[[str], object]] = {
        order.EXTRACT: lambda batch: extract_batch(lake, batch, fetcher),
        order.LAYERS: lambda batch: layer_batch(lake, batch, fetcher),
        order.RESPOND: lambda batch: respond_batch(lake, batch, fetcher),
        order.EMBED: lambda batch: embeddings.embed_batch(lake, batch),
        order.INDEX: lambda batch: update_index(lake, batch),
    }
    for batch, first in staleness.stale_batches(lake).items():
        for stage in order.stages_from(first):
            stages[stage](batch)


def config_of(endpoint: str) -> Any:
    from peace_pipeline.zoo import ZooConfig

    source = {"kind": "huggingface", "endpoint": endpoint, "requests_per_5_minutes": 10**8}
    return ZooConfig(({**source, "token_env": "PEACE_NO_TOKEN"},), Path())


def measured(work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Do it; what it cost this process."""
    from peace_pipeline.zoo import traffic

    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    before, sent, started = memory("VmRSS"), traffic.sent(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    return result, Cost(seconds, dict(traffic.sent() - sent), memory("VmHWM") - before)


def memory(name: str) -> float:
    """A figure of this process's memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


if __name__ == "__main__":
    main()
