"""PEACE's encoder beside its peers: the same networks, splits, pairs and time, with intervals.

    python benchmarks/encoders.py --home LAKE [--measure retrieval …] [--encoder VERSION] [--out FOLDER]

The lake must hold embeddings of the encoder (the current one, or that of ``--encoder``) and, for what runs networks,
responses. Each measure writes FOLDER/MEASURE.json and FOLDER/MEASURE.md. Peers are trained once and their outputs kept
in FOLDER/peers; ``--budget`` and ``--most`` are seconds of the processor's time. nfn (in the extra ``dev``) takes
chains of linear layers and convolutions alone: MLPs, CNNs and VGGs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peers import accuracy, function, negatives, real, retrieval, speed
from peers.learning import PEERS
from peers.methods import Training
from peers.tables import Table
from peers.zoo import SPLITS, Zoo

from peace_pipeline.lake import Lake

Measure = Callable[[argparse.Namespace, Training], list[Table]]
MEASURES: dict[str, tuple[str, Measure]] = {
    "retrieval": (
        retrieval.NOTE,
        lambda arguments, training: retrieval.measure(_zoo(arguments), training, arguments.left_out),
    ),
    "accuracy": (accuracy.NOTE, lambda arguments, training: accuracy.measure(_zoo(arguments), training)),
    "negatives": (negatives.NOTE, lambda arguments, training: negatives.measure(_zoo(arguments), training)),
    "real": (real.NOTE, lambda arguments, training: real.measure(_zoo(arguments))),
    "function": (function.NOTE, lambda arguments, training: function.measure(_zoo(arguments))),
    "speed": (speed.NOTE, lambda arguments, training: speed.measure(_zoo(arguments))),
}
"""Measure → what its figures are, and how they are taken."""


def main() -> None:
    """Take the measures that are asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--encoder", default=None, help="version (default the current one)")
    parser.add_argument("--measure", choices=MEASURES, nargs="+", default=list(MEASURES))
    parser.add_argument("--out", type=Path, default=None, help="default LAKE/peers")
    parser.add_argument("--seeds", type=int, default=Training.seeds, help="of each peer that is trained")
    parser.add_argument("--budget", type=float, default=Training.budget, help="equal time")
    parser.add_argument("--most", type=float, default=Training.most, help="to convergence at most")
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=list(PEERS), help="those to train")
    parser.add_argument(
        "--left-out", nargs="*", default=(), help="beginnings of data sets' names that the encoder never saw"
    )
    parser.add_argument(
        "--elsewhere", default=None, help="a lake whose networks learned probes are trained on, too"
    )
    parser.add_argument("--splits", choices=SPLITS, nargs="+", default=SPLITS, help="runs that are looked at")
    arguments = parser.parse_args()
    out = arguments.out or Lake.open(arguments.home).root / "peers"
    out.mkdir(parents=True, exist_ok=True)
    elsewhere = Zoo.of(Lake.open(arguments.elsewhere)) if arguments.elsewhere else None
    training = Training(
        out / "outputs", arguments.seeds, arguments.budget, arguments.most, tuple(arguments.peers), elsewhere
    )
    for name in arguments.measure:
        start = time.perf_counter()
        note, measure = MEASURES[name]
        tables = measure(arguments, training)
        (out / f"{name}.json").write_text(json.dumps([table.as_dict() for table in tables], indent=1))
        text = "\n".join([note, "", *(table.markdown() for table in tables)])
        (out / f"{name}.md").write_text(text)
        print(f"{out / name}.md and .json: {time.perf_counter() - start:.0f} s", flush=True)


def _zoo(arguments: argparse.Namespace) -> Zoo:
    return Zoo.of(Lake.open(arguments.home), arguments.encoder, arguments.splits)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
