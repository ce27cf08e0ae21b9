"""Verdicts on networks of the package zoo whose relations are known, beside the cosine of their values as stored.

    python benchmarks/provenance.py [--home .peace]

The lake must have the package zoo: `peace demo` fetches it.
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from peace_pipeline.comparison.measuring import DERIVED, EQUIVALENT, UNRELATED
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.comparison.verdict import describe
from peace_pipeline.evaluation.provenance.study import plain_cosine
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.zoo.listing import listings

SILERO = "packages:silero-vad/silero_vad/data/silero_vad"
BOTH_RATES = (".jit", ".onnx")
"""Files that hold two networks, for 16 and for 8 kHz."""
ONE_RATE = ("_16k_op15.onnx", "_16k_sequence.onnx", "_openvino_16k.onnx")
ANARCII = "packages:anarcii/"
ENSEMBLES = ("admet_classification/", "admet_regression/", "mtsplice_deep")


def main() -> None:
    """Print the table and how many verdicts are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    lake = Lake.open(parser.parse_args().home)
    thresholds = Thresholds.of(lake)
    pairs = list(known_pairs([network.model_id for network in listings(lake)]))
    table = Table("A", "B", "truth", "verdict", "relation", "similarity", "cosine", "seconds")
    right = 0
    for a, b, truth in track(pairs, "comparing", console=Console(stderr=True)):
        start = time.perf_counter()
        with open_network(lake, a) as first, open_network(lake, b) as second:
            found = describe(first, second, thresholds)
            seconds, cosine = time.perf_counter() - start, plain_cosine(first, second)
        right += found["verdict"] == truth
        mark = "green" if found["verdict"] == truth else "red"
        table.add_row(
            _short(a), _short(b), truth, f"[{mark}]{found['verdict']}[/]", found.get("relation", ""),
            f"{found['similarity']:.3f}", f"{cosine:.3f}", f"{seconds:.1f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(f"{right} of {len(pairs)} right; derived from a similarity of {thresholds.derived:.3f} on.")


def known_pairs(ids: list[str]) -> list[tuple[str, str, str]]:
    """Pairs of models of the zoo, with what is true of them."""
    both, one = ([f"{SILERO}{copy}" for copy in copies] for copies in (BOTH_RATES, ONE_RATE))
    copies = [*both, *one]
    found = [(a, b, EQUIVALENT) for alike in (both, one) for a, b in combinations(alike, 2)]
    found += [(a, b, DERIVED) for a in both for b in one]
    found += [(copy, f"{SILERO}_16k.safetensors", DERIVED) for copy in copies]
    found += [(copy, f"{SILERO}_half.onnx", UNRELATED) for copy in (*copies, f"{SILERO}_16k.safetensors")]
    by_name = {
        name: next(i for i in ids if i.startswith(ANARCII) and f"/{name}_4" in i and "_2_" in i)
        for name in ("antibody", "shark")
    }
    found.append((by_name["antibody"], by_name["shark"], DERIVED))
    for name in ENSEMBLES:
        members = sorted(model_id for model_id in ids if name in model_id)
        found += [(a, b, UNRELATED) for a, b in combinations(members, 2)]
    return found


def _short(model_id: str) -> str:
    return "/".join(model_id.split("/")[-2:]).removeprefix("data/").removeprefix("resources/")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
