"""The atlas of a large index: what it takes to draw it, and how smooth its page is in headless Chromium.

    python benchmarks/atlas.py [--networks 100000 1000000] [--most 100000] [--frames 60]

For each number an index of so many synthetic networks is made (LanceDB's own table with all its columns, vectors of
512 in clusters, one network in fifty the copy of another), its atlas is written by a process of its own, and the page
is used as a reader uses it. Without a GPU Chromium draws by SwiftShader on the CPU, so the page's figures are upper
bounds: the machine's cores are all there is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from playwright.sync_api import sync_playwright

from peace_pipeline.index.tables import MODELS, connect
from peace_pipeline.lake import Lake

SIZES = {"vector": 512, "weights": 128, "responses": 384}
TASKS, ROWS, COPIED = 40, 10_000, 0.02
CHROMIUM = {
    "executable_path": shutil.which("chromium"),
    "args": ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"],
}
FRAME = """async (part) => {
  const { chart } = atlas;
  const turn = 2 * Math.PI * part;
  const scale = chart.whole().scale * (1.5 - 0.5 * Math.cos(turn));
  chart.view = { x: 32768 + 8000 * Math.sin(turn), y: 32768 + 8000 * Math.cos(turn), scale };
  const began = performance.now();
  chart.stale = true;
  chart.render(began);
  chart.gl.readPixels(0, 0, 1, 1, chart.gl.RGBA, chart.gl.UNSIGNED_BYTE, new Uint8Array(4));
  return performance.now() - began;
}"""
"""Milliseconds of a frame with all points, waited for until its pixels are there."""
MOVED = """async (zooming) => {
  const { chart } = atlas;
  chart.view = chart.whole();
  const times = [];
  for (let frame = 0; frame < 90; frame++) {
    if (zooming) chart.zoomAt(frame % 60 < 30 ? 1.05 : 1 / 1.05);
    else chart.pan(frame % 30 < 15 ? 9 : -9, 3);
    times.push(await new Promise(requestAnimationFrame));
  }
  return { seconds: (times[89] - times[29]) / 1000, drawn: Math.min(chart.count, chart.budget) };
}"""
"""Sixty frames of moving, after thirty in which the page finds out how many points it can keep up with."""
DONE = """async ([act, argument]) => {
  const { chart, data } = atlas;
  const canvas = chart.points.getBoundingClientRect();
  const at = (kind, i) => {
    const [left, top] = chart.screen(i);
    const place = { clientX: canvas.left + left, clientY: canvas.top + top, pointerId: 1, bubbles: true };
    chart.points.dispatchEvent(new PointerEvent(kind, place));
  };
  chart.points.setPointerCapture = () => {};
  const enter = (id, kind) => {
    const box = document.getElementById(id);
    box.value = argument;
    box.dispatchEvent(new Event(kind));
  };
  const actions = {
    hover: () => at("pointermove", argument),
    click: () => ["pointerdown", "pointerup"].forEach((kind) => at(kind, argument)),
    search: () => enter("search", "input"),
    colour: () => enter("by", "change"),
    filter: () => document.querySelector("#legend button").click(),
  };
  const began = performance.now();
  actions[act]();
  document.body.offsetHeight;
  while (chart.frame) await new Promise(requestAnimationFrame);
  chart.gl.readPixels(0, 0, 1, 1, chart.gl.RGBA, chart.gl.UNSIGNED_BYTE, new Uint8Array(4));
  return performance.now() - began;
}"""
"""Milliseconds from what a reader does to the picture that answers it."""
SHOWN = """async () => {
  while (!window.atlas?.chart.view || atlas.chart.frame) await new Promise(requestAnimationFrame);
  const { gl } = atlas.chart;
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
}"""
"""Waits for the first picture."""


def make_index(lake: Lake, networks: int, seed: int = 0) -> None:
    """The table ``models`` of so many networks, written ten thousand at a time."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(TASKS, SIZES["vector"])).astype(np.float32)
    recipes = centres[:, None] + generator.normal(size=(TASKS, 25, SIZES["vector"])).astype(np.float32)

    def rows() -> Iterator[pa.RecordBatch]:
        for start in range(0, networks, ROWS):
            numbers = np.arange(start, min(start + ROWS, networks))
            yield _batch(numbers, recipes, generator)

    connect(lake).create_table(
        MODELS.name, pa.RecordBatchReader.from_batches(MODELS.schema(SIZES), rows()), on_bad_vectors="null"
    )


def _batch(numbers: np.ndarray, recipes: np.ndarray, generator: np.random.Generator) -> pa.RecordBatch:
    count = len(numbers)
    originals = np.arange(count)
    copies = generator.random(count) < COPIED
    originals[copies] = generator.integers(count, size=copies.sum())
    tasks, own = generator.integers(TASKS, size=count), generator.integers(25, size=count)
    vectors = recipes[tasks, own] + 0.5 * generator.standard_normal((count, SIZES["vector"]), np.float32)
    vectors = vectors[originals] / np.linalg.norm(vectors[originals], axis=1, keepdims=True)
    tasks, own = tasks[originals], own[originals]
    columns: dict[str, object] = {
        "model_id": [f"huggingface:org-{number % 997}/network-{number:07}" for number in numbers],
        "source": ["huggingface"] * count,
        "task": [f"task-{task}" for task in tasks],
        "datasets": [[f"data-{task}-{recipe % 5}"] for task, recipe in zip(tasks, own, strict=True)],
        "architecture": np.array(["bert", "vit", "resnet", "llama", "t5"])[own % 5].tolist(),
        "library": ["transformers"] * count,
        "parameters": (10 ** generator.uniform(4, 10, size=count)).astype(np.int64),
        "content": [f"{number:064x}" for number in numbers[originals]],
        "metrics": [[{"name": "accuracy", "value": value}] for value in generator.random(count)],
        "encoder_version": ["synthetic"] * count,
        "run_by": np.where(generator.random(count) < 0.5, "torch", None).tolist(),
    }
    for name, part in {
        "vector": vectors,
        "weights": vectors[:, : SIZES["weights"]],
        "responses": vectors[:, SIZES["weights"] :],
    }.items():
        flat = pa.array(np.ascontiguousarray(part).ravel())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, SIZES[name])
    schema = MODELS.schema(SIZES)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for field in schema
        for column in [columns.get(field.name, [None] * count)]
    ]
    return pa.record_batch(arrays, schema=schema)


def exported(lake: Lake, most: int) -> dict[str, float]:
    """Write the atlas by `peace atlas`: its seconds, those of the processor, and the most memory that it held."""
    command = [Path(sys.executable).with_name("peace"), "atlas", "--write", "--most", str(most)]
    began = time.monotonic()
    started = subprocess.Popen([*command, "--home", str(lake.root)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(started.pid, 0)
    if status:
        raise SystemExit("the atlas was not written")
    return {
        "export s": time.monotonic() - began,
        "export CPU s": used.ru_utime + used.ru_stime,
        "export GB": used.ru_maxrss / 1e6,
        "page MB": lake.atlas.stat().st_size / 1e6,
    }


def used(path: Path, frames: int) -> dict[str, float]:
    """How long a reader waits for the page of an atlas, in a window of 1280 by 800: milliseconds by the clock, and
    those that all processes of the browser compute, which say what a machine with nothing else to do takes at most."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.set_default_timeout(300_000)
        processes = browser.new_browser_cdp_session()

        def computed() -> float:
            told = processes.send("SystemInfo.getProcessInfo")
            return 1000 * sum(each["cpuTime"] for each in told["processInfo"])

        def timed(name: str, script: str, arguments: Sequence[object]) -> dict[str, float]:
            before = computed()
            times = [page.evaluate(script, argument) for argument in arguments]
            spent = (computed() - before) / len(arguments)
            page.wait_for_timeout(200)
            return {f"{name} ms": median(times), f"{name} CPU ms": spent}

        began, before = time.monotonic(), computed()
        page.goto(path.as_uri())
        page.evaluate(SHOWN)
        found = {
            "first picture ms": 1000 * (time.monotonic() - began),
            "first picture CPU ms": computed() - before,
        }
        page.wait_for_timeout(1000)
        found |= timed("a frame with all points", FRAME, [place / frames for place in range(frames)])
        for name in ("panning", "zooming"):
            before = computed()
            moved = page.evaluate(MOVED, name == "zooming")
            found |= {
                f"{name} frames a second": 60 / moved["seconds"],
                f"{name} points drawn": moved["drawn"],
                f"{name} CPU ms a frame": (computed() - before) / 90,
            }
        page.wait_for_timeout(1000)
        some = np.random.default_rng(0).integers(page.evaluate("atlas.data.count"), size=9).tolist()
        names = page.evaluate("some => some.map((i) => atlas.data.ids[i])", some)
        found |= timed("hover", DONE, [["hover", each] for each in some])
        found |= timed("click", DONE, [["click", each] for each in some])
        found |= timed("search of a name", DONE, [["search", each] for each in names])
        found |= timed("search of a letter", DONE, [["search", each] for each in "nopqr"])
        found |= timed("colour", DONE, [["colour", each] for each in ("architecture", "parameters", "task")])
        found |= timed("filter", DONE, [["filter", None]] * 3)
        found["page memory MB"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        browser.close()
        return found


def main() -> None:
    """Measure and print one JSON line an index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=60)
    given = parser.parse_args()
    for networks in given.networks:
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(Path(folder))
            make_index(lake, networks)
            found = exported(lake, given.most) | used(lake.atlas, given.frames)
            rounded = {name: round(value, 2) for name, value in found.items()}
            print(json.dumps({"networks": networks, **rounded}), flush=True)


if __name__ == "__main__":
    main()
