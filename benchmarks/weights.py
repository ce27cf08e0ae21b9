"""Reads a checkpoint of 1.1 billion parameters, whole and by ranges, and the networks of the package zoo.

    python benchmarks/weights.py [--home .peace] [--folder DIR] [--wheelhouse DIR] [--seed 0]

The checkpoint is LLaMA-shaped: bfloat16, two shards, random weights. Every step runs in a process of its own; its
peak of memory is above what it had after its imports. The file is read once before, so that all steps find it in the
page cache. Embeddings are those of the lake's encoder (`make demo` trains one). Package networks are read in full and
within budgets: some for all of them, which count for those that are larger, and shares of each file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

SHAPE = {"vocabulary": 32_000, "width": 2048, "layers": 22, "heads": 32, "keys": 256, "inner": 5632}
BUDGET, LLAMA_BYTES = 64 << 20, 2_200_119_864
MOST_MEMORY, MOST_TIME, MOST_BYTES, LEAST_COSINE = 1.2 * 1024, 2.0, 1.05, 0.99
SAME, OTHER = (".jit", ".onnx", "_openvino_16k.onnx"), ("_16k.safetensors", "_half.onnx")
FRACTIONS = (1 / 100, 1 / 33, 1 / 16, 1 / 8, 1 / 4, 1 / 2)


@dataclass
class Cost:
    """Seconds, and the peak of memory in MiB above that after the imports."""

    seconds: float
    memory: float


def main() -> None:
    """Print the tables; exit with 1 where a promise is broken."""
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # as make does: torch's threads wait for each other at length
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--home", default=None, help="a lake with an encoder (default $PEACE_HOME, else .peace)"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the checkpoint is written (2.2 GB; by default temporary)"
    )
    parser.add_argument("--wheelhouse", help="where the packages' wheels are (by default pip fetches them)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = Path(folder) / "models" / "llama"
        alone(write_llama, model, arguments.seed)
        passed = [whole(console, arguments.home, model), ranges(console, arguments.home, Path(folder))]
    passed.append(packages(console, arguments.home, arguments.wheelhouse))
    sys.exit(not all(passed))


def alone(step: Callable[..., Any], *arguments: Any) -> tuple[Any, Cost]:
    """Run a step in a process of its own; what it returns and cost."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measured, step, *arguments).result()


def measured(step: Callable[..., Any], *arguments: Any) -> tuple[Any, Cost]:
    """Run a step, its imports first."""
    import peace_pipeline.encoder.checkpoints
    import peace_pipeline.encoder.embed
    import peace_pipeline.stages.extract
    import peace_pipeline.zoo.hub.queries  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = step(*arguments)
    seconds = time.perf_counter() - start
    return result, Cost(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def write_llama(folder: Path, seed: int) -> None:
    """A LLaMA-shaped checkpoint in Hub layout: two shards with an index, bfloat16."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True)
    shards: list[dict[str, torch.Tensor]] = [{}, {}]
    shapes = dict(llama())
    for number, (name, shape) in enumerate(shapes.items()):
        tensor = torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        shards[2 * number // len(shapes)][name] = tensor
    index = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
    key_heads = SHAPE["heads"] * SHAPE["keys"] // SHAPE["width"]
    heads = {"num_attention_heads": SHAPE["heads"], "num_key_value_heads": key_heads}
    (folder / "config.json").write_text(json.dumps(config | heads))


def llama() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a LLaMA of 1.1 billion parameters."""
    width, keys, inner = SHAPE["width"], SHAPE["keys"], SHAPE["inner"]
    yield "model.embed_tokens.weight", (SHAPE["vocabulary"], width)
    for layer in range(SHAPE["layers"]):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (width,)
        for name, out in (("q", width), ("k", keys), ("v", keys), ("o", width)):
            yield f"{prefix}.self_attn.{name}_proj.weight", (out, width)
        yield f"{prefix}.post_attention_layernorm.weight", (width,)
        yield f"{prefix}.mlp.gate_proj.weight", (inner, width)
        yield f"{prefix}.mlp.up_proj.weight", (inner, width)
        yield f"{prefix}.mlp.down_proj.weight", (width, inner)
    yield "model.norm.weight", (width,)
    yield "lm_head.weight", (SHAPE["vocabulary"], width)


def whole(console: Console, home: str | None, model: Path) -> bool:
    """The checkpoint on disk: plain reading, inventory, Parquet, embedding."""
    alone(plain, model)
    steps = {
        "safetensors + sum of every tensor": (plain, model),
        "every tensor read, checked": (checked, model),
        "inventory: every tensor read, checked, hashed": (inventory, model),
        "file to Parquet": (parquet, model),
        "file to embedding": (embedded, home, str(model), None),
        "all stages: crawl, sha256, inventory, Parquet": (stages, model),
    }
    costs = {name: alone(*step)[1] for name, step in steps.items()}
    base = costs["safetensors + sum of every tensor"].seconds
    table = Table(title="LLaMA-shaped, 1.1 billion parameters, bfloat16, two shards")
    for column in ("step", "seconds", "× plain", "peak MiB"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, cost in costs.items():
        table.add_row(name, f"{cost.seconds:.2f}", f"{cost.seconds / base:.2f}", f"{cost.memory:.0f}")
    console.print(table)
    own = [cost for name, cost in costs.items() if not name.startswith("safetensors")]
    return promise(
        console, f"≤ {MOST_MEMORY:.0f} MiB above the imports", max(cost.memory for cost in own) <= MOST_MEMORY
    ) & promise(
        console,
        f"inventory ≤ {MOST_TIME:g}× the plain read",
        costs["inventory: every tensor read, checked, hashed"].seconds <= MOST_TIME * base,
    )


def plain(model: Path) -> float:
    """What `safetensors` takes to read every tensor, and torch to add it up."""
    from safetensors import safe_open

    total = 0.0
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            total += sum(float(file.get_tensor(name).sum()) for name in file.keys())  # noqa: SIM118
    return total


def checked(model: Path) -> int:
    """Number of tensors, all of them finite."""
    from peace_pipeline.weights.checkpoint import open_checkpoint

    with open_checkpoint(sorted(model.glob("*.safetensors"))) as checkpoint:
        return sum(1 for name in checkpoint.tensors if checkpoint.read(name, dtype=None) is not None)


def inventory(model: Path) -> str | None:
    """The hash of the model."""
    from peace_pipeline.weights.checkpoint import open_checkpoint
    from peace_pipeline.weights.inventory import take_inventory

    with open_checkpoint(sorted(model.glob("*.safetensors"))) as checkpoint:
        return take_inventory(checkpoint).content


def parquet(model: Path) -> int:
    """Size of the layer table."""
    from peace_pipeline.stages.layers import layer_rows
    from peace_pipeline.symmetry.form.reduction import Reduction
    from peace_pipeline.symmetry.opening import OpenNetwork
    from peace_pipeline.weights.checkpoint import open_checkpoint
    from peace_pipeline.weights.layer_table import LayerTableWriter
    from peace_pipeline.zoo.card import read_config

    path = model.parent / "layers.parquet"
    with open_checkpoint(sorted(model.glob("*.safetensors"))) as checkpoint, LayerTableWriter(path) as writer:
        opened = OpenNetwork.of(checkpoint, read_config(model))
        network, wiring = opened.logical, opened.wiring
        writer.write_model(layer_rows("llama", "0", Reduction(wiring, network.tensors), network))
    return path.stat().st_size


def stages(model: Path) -> None:
    """The pipeline's own stages on a folder that holds the model alone."""
    from peace_pipeline.lake import Lake
    from peace_pipeline.stages.crawl import crawl_zoo
    from peace_pipeline.stages.extract import extract_batch
    from peace_pipeline.stages.layers import layer_batch
    from peace_pipeline.zoo import ZooConfig

    with tempfile.TemporaryDirectory() as home:
        lake = Lake.open(home)
        source = {"kind": "directory", "path": str(model.parent)}
        (batch,) = crawl_zoo(lake, ZooConfig((source,), Path("/"))).batches
        assert extract_batch(lake, batch).models == layer_batch(lake, batch).models == 1


def embedded(home: str | None, path: str, budget: int | None) -> list[float]:
    """The embedding of a checkpoint."""
    from peace_pipeline.encoder.checkpoints import embed_checkpoints
    from peace_pipeline.lake import Lake

    (row,) = embed_checkpoints(Lake.open(home), [path], budget=budget)
    if row.vector is None:
        raise RuntimeError(row.error)
    assert row.sampled == (budget is not None)
    return row.vector


def ranges(console: Console, home: str | None, folder: Path) -> bool:
    """The checkpoint on a Hub, by ranges within a budget."""
    from tests.standin_hub import StandinHub

    table = Table(title="The same by ranges of a Hub on loopback")
    for column in ("budget MiB", "sent MiB", "requests", "seconds", "peak MiB", "cosine to the whole"):
        table.add_column(column, justify="right")
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder / "hf")}
    os.environ.pop("HF_TOKEN", None)
    within = False
    with StandinHub(folder / "hub") as hub:
        hub.import_folder(folder / "models", "org")
        os.environ["HF_ENDPOINT"] = hub.endpoint
        reference, _ = alone(embedded, home, str(folder / "models" / "llama"), None)
        for budget in (BUDGET // 4, BUDGET, BUDGET * 4, None):
            hub.forget()
            vector, cost = alone(embedded, home, "hf://org/llama", budget)
            asked = [
                seen for seen in hub.requests if seen.path.endswith(".safetensors") and seen.method == "GET"
            ]
            sent = sum(seen.size for seen in asked)
            if budget == BUDGET:
                within = sent <= MOST_BYTES * budget
            table.add_row(
                f"{budget >> 20}" if budget else "none",
                f"{sent / 2**20:.1f}",
                str(len(asked)),
                f"{cost.seconds:.1f}",
                f"{cost.memory:.0f}",
                f"{cosine(vector, reference):.4f}",
            )
    console.print(table)
    return promise(console, f"at most {MOST_BYTES:.0%} of the budget is sent", within)


def packages(console: Console, home: str | None, wheelhouse: str | None) -> bool:
    """The networks of the package zoo: how many are read, and their embeddings within budgets."""
    found, unread = package_networks(home, wheelhouse)
    table = Table(title=f"{sum(map(len, found.values()))} networks of the package zoo are read")
    for column in ("package", "networks", "parameters"):
        table.add_column(column, justify="left" if column == "package" else "right")
    for package, rows in found.items():
        table.add_row(package, str(len(rows)), f"{min(r[1] for r in rows):,} to {max(r[1] for r in rows):,}")
    console.print(table)
    for reason, count in unread.most_common():
        console.print(f"not read, {count}: {reason}", highlight=False)
    agree = silero(console, [path for path, _ in found.get("silero-vad", [])])
    return agree & curve(console, home, [path for rows in found.values() for path, _ in rows])


def silero(console: Console, paths: list[str]) -> bool:
    """Copies of silero's 16 kHz network in several formats: how many of its tensors each file holds, bit by bit."""
    from peace_pipeline.weights.checkpoint import open_checkpoint
    from peace_pipeline.weights.inventory import take_inventory

    hashes: dict[str, set[str | None]] = {}
    for path in paths:
        with open_checkpoint([Path(path)]) as checkpoint:
            hashes[Path(path).name] = {digest for _, digest in take_inventory(checkpoint).tensors}
    reference = hashes.get("silero_vad_16k_op15.onnx", set())
    shared = {name: len(reference & own) for name, own in hashes.items()}
    table = Table(title=f"Tensors in common with silero_vad_16k_op15.onnx, which has {len(reference)}")
    table.add_column("file")
    table.add_column("in common", justify="right")
    for name, count in sorted(shared.items(), key=lambda item: -item[1]):
        table.add_row(name, str(count))
    console.print(table)
    same = all(shared.get(f"silero_vad{name}", 0) == len(reference) > 0 for name in SAME)
    other = all(shared.get(f"silero_vad{name}", 99) < len(reference) / 2 for name in OTHER)
    return promise(console, "the copies agree, tensor by tensor; the other versions do not", same and other)


def package_networks(home: str | None, wheelhouse: str | None) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Package → path and parameters of its networks; and why others are not read."""
    from peace_pipeline.lake import Lake
    from peace_pipeline.weights.checkpoint import open_checkpoint
    from peace_pipeline.weights.errors import UnreadableCheckpoint
    from peace_pipeline.zoo.formats import TEXT
    from peace_pipeline.zoo.known import Known
    from peace_pipeline.zoo.packages import PackagesSource

    source = PackagesSource(Lake.open(home), Path.cwd(), **({"wheelhouse": wheelhouse} if wheelhouse else {}))
    with tempfile.TemporaryDirectory() as empty:
        known = Known(Lake.open(empty), source.source, source.prefix, {}, datetime.now(UTC))
        records = list(source.crawl(known))
    found: dict[str, list[Any]] = {}
    unread: Counter[str] = Counter()
    for record in records:
        weights = [source.fetch(record) / file.path for file in record.files if file.format != TEXT]
        try:
            if record.reason:
                raise UnreadableCheckpoint(record.reason)
            with open_checkpoint(weights) as checkpoint:
                package = record.model_id.split("/")[0].removeprefix(source.prefix)
                found.setdefault(package, []).append((str(weights[0]), checkpoint.parameters))
        except UnreadableCheckpoint as error:
            unread[str(error)] += 1
    return found, unread


def curve(console: Console, home: str | None, paths: list[str]) -> bool:
    """Cosine of the embedding within a budget to that of the whole, over budgets."""
    from peace_pipeline.encoder.checkpoints import embed_checkpoints
    from peace_pipeline.lake import Lake

    lake = Lake.open(home)
    whole = {row.path: row.vector for row in embed_checkpoints(lake, paths) if row.vector}
    sizes = {path: Path(path).stat().st_size for path in whole}
    scaled = round(BUDGET * max(sizes.values()) / LLAMA_BYTES)
    rows = {
        f"{scaled * times / 1024:.0f} KiB": {path: round(scaled * times) for path in whole}
        for times in (1 / 4, 1 / 2, 1, 2, 4)
    } | {f"{share:.1%} of each file": {p: round(share * sizes[p]) for p in whole} for share in FRACTIONS}
    table = Table(title=f"{len(whole)} trained networks within a budget: cosine to the whole")
    for column in ("budget", "larger", "too small for", "least", "10% below", "median", f"≥ {LEAST_COSINE}"):
        table.add_column(column, justify="right")
    kept = False
    for name, budgets in track(rows.items(), "sampling", console=Console(stderr=True)):
        cosines, refused = [], 0
        for path, budget in budgets.items():
            (row,) = embed_checkpoints(lake, [path], budget=budget)
            refused += row.vector is None
            if row.sampled and row.vector:
                cosines.append(cosine(row.vector, whole[path]))
        good = sum(value >= LEAST_COSINE for value in cosines)
        kept |= name == f"{scaled / 1024:.0f} KiB" and good == len(cosines) > 0
        cosines = sorted(cosines) or [math.nan]
        told = (cosines[0], cosines[len(cosines) // 10], statistics.median(cosines))
        table.add_row(name, str(len(cosines) + refused), str(refused), *(f"{v:.4f}" for v in told), str(good))
    console.print(table)
    console.print(
        f"{scaled / 1024:.0f} KiB are to the largest of these what {BUDGET >> 20} MiB are to the LLaMA.",
        highlight=False,
    )
    return promise(console, f"≥ {LEAST_COSINE} for all larger than {scaled / 1024:.0f} KiB", kept)


def cosine(a: list[float], b: list[float]) -> float:
    """Of two vectors of unit norm."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def promise(console: Console, what: str, kept: bool) -> bool:
    """Say whether a promise is kept."""
    console.print(f"[green]✓ {what}[/]" if kept else f"[red]✗ {what}[/]", highlight=False)
    return kept


if __name__ == "__main__":
    main()
