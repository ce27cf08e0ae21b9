"""How smooth the atlas is: frame times in headless Chromium, of synthetic indices.

    python benchmarks/atlas.py [--networks 100000] [--frames 60]

Each page is moved and zoomed, frame by frame with all its points, and each frame is waited for until its pixels are
there. Then it is dragged, when it draws as many of its points as it can keep up with. Without a GPU Chromium draws by
SwiftShader on the CPU, so these are upper bounds: the machine's cores are all there is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from peace_pipeline.atlas.export import render
from peace_pipeline.atlas.lineage import Lineage
from peace_pipeline.atlas.neighbours import Neighbours
from peace_pipeline.atlas.points import Points

CHROMIUM = {
    "executable_path": shutil.which("chromium"),
    "args": ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"],
}
FRAMES = """async (count) => {
  const { chart } = atlas;
  const pixel = new Uint8Array(4);
  const times = [];
  for (let frame = 0; frame < count; frame++) {
    const part = (2 * Math.PI * frame) / count;
    const scale = chart.whole().scale * (1.5 - 0.5 * Math.cos(part) + (frame % 2) * 1e-3);
    chart.view = { x: 32768 + 8000 * Math.sin(part), y: 32768 + 8000 * Math.cos(part), scale };
    const began = performance.now();
    chart.render(began);
    chart.gl.readPixels(0, 0, 1, 1, chart.gl.RGBA, chart.gl.UNSIGNED_BYTE, pixel);
    times.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 0));
  }
  return times;
}"""
MOVED = """async () => {
  const { chart } = atlas;
  const times = [];
  for (let frame = 0; frame < 60; frame++) {
    chart.pan(frame % 2 ? 9 : -9, 3);
    times.push(await new Promise(requestAnimationFrame));
  }
  const apart = times.slice(31).map((time, at) => time - times[at + 30]).sort((a, b) => a - b);
  return [apart[apart.length >> 1], Math.min(chart.count, chart.budget)];
}"""


def synthetic(count: int, seed: int = 0, k: int = 10) -> str:
    """The page of so many networks in 40 clouds."""
    generator = np.random.default_rng(seed)
    clouds = generator.integers(40, size=count)
    centres = generator.normal(size=(40, 2)) * 6
    places: NDArray[np.float32] = (centres[clouds] + generator.normal(size=(count, 2))).astype(np.float32)
    tasks = np.array([f"task-{number}" for number in range(40)])[clouds]
    known = pa.table(
        {
            "model_id": [f"hub:org-{number % 997}/network-{number:07}" for number in range(count)],
            "source": ["hub"] * count,
            "task": tasks,
            "datasets": [[f"data-{cloud % 11}"] for cloud in clouds],
            "architecture": np.array(["bert", "vit", "resnet", "llama"])[generator.integers(4, size=count)],
            "library": ["transformers"] * count,
            "parameters": (10 ** generator.uniform(4, 10, size=count)).astype(np.int64),
            "metrics": pa.array(
                [[]] * count, pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
            ),
            "run_by": np.where(generator.random(count) < 0.5, "torch", None),
            "encoder_version": ["synthetic"] * count,
        }
    )
    neighbours = Neighbours(
        generator.integers(count, size=(count, k)).astype(np.uint32),
        np.sort(generator.random((count, k)).astype(np.float32))[:, ::-1],
    )
    alone = np.zeros(count, np.uint32)
    points = Points(known, np.zeros((count, 1), np.float32), count)
    return render(points, places, neighbours, Lineage([], alone, alone), seed)


def measure(page_path: Path, frames: int) -> dict[str, float]:
    """Seconds until the page can be used, and frame times in milliseconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        began = time.monotonic()
        page.goto(page_path.as_uri())
        page.locator("#state:not(:empty)").wait_for(timeout=200_000)
        opened = time.monotonic() - began
        page.wait_for_timeout(500)
        times = np.array(page.evaluate(FRAMES, frames))
        apart, drawn = page.evaluate(MOVED)
        found = {
            "MB": page_path.stat().st_size / 1e6,
            "seconds to open": opened,
            "frame p50 ms": float(np.median(times)),
            "frame p95 ms": float(np.quantile(times, 0.95)),
            "moving: ms from frame to frame": apart,
            "moving: points drawn": drawn,
        }
        browser.close()
        return found


def main() -> None:
    """Measure and print one JSON line an index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--frames", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in given.networks:
            path = Path(folder) / f"{count}.html"
            path.write_text(synthetic(count), encoding="utf-8")
            found = {name: round(value, 2) for name, value in measure(path, given.frames).items()}
            print(json.dumps({"networks": count, **found}), flush=True)


if __name__ == "__main__":
    main()
