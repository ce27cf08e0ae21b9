"""Whether `peace compare NETWORK` comes to the network that another was made of.

    python benchmarks/relatives.py --home LAKE [--bases 16] [--seed 0]

Of networks of test runs of a trained zoo in the lake's index everything is made that people make of one, each also
disguised by a random element of everything that is a symmetry. Shares are of those whose origin is among the networks
that are compared with them, by how many are taken of all, and five times as many of those with as many parameters
(`-k`).
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import Unembeddable, embed
from peace_pipeline.evaluation.derivatives import DERIVED, disguised, specimen
from peace_pipeline.index.lookup import Asked
from peace_pipeline.index.tables import served_version
from peace_pipeline.lake import Lake
from peace_pipeline.stages.relatives import candidates
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, sample_listings

K = (1, 5, 20)


def main() -> None:
    """Make, embed, look up, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--bases", type=int, default=16, help="networks of which others are made")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lake, seed = Lake.open(arguments.home), arguments.seed
    version, encoder = store.load(lake, served_version(lake))
    where = f"source = 'trained' AND split = '{TEST}'"
    bases = sample_listings(lake, arguments.bases, seed=seed, where=where)
    records = Current(lake).records(base.model_id for base in bases)
    reached: dict[str, list[list[bool]]] = defaultdict(list)
    for number, base in enumerate(bases, seed):
        first = specimen(records, base)
        made = {"nothing": first} | {kind: make(first, number) for kind, (_, make) in DERIVED.items()}
        hidden = {f"{kind}, disguised": disguised(each, number) for kind, each in made.items()}
        for kind, each in (made | hidden).items():
            network = each.network()
            (embedding,) = embed(
                encoder, [network.in_memory(kind, torch.float32)], torch.float32, responses={}
            )
            assert not isinstance(embedding, Unembeddable), embedding.reason
            asked = Asked(kind, embedding.weights.astype(np.float32), None)
            parameters = network.logical.parameters
            reached[kind].append([base.model_id in candidates(lake, asked, parameters, k)[0] for k in K])
    print(f"encoder {version}, {len(bases)} networks, seed {seed}\n")
    print(f"| what was done | {' | '.join(f'-k {k}' for k in K)} |\n|---|{'---|' * len(K)}")
    for kind, found in reached.items():
        print(f"| {kind} | {' | '.join(f'{share:.2f}' for share in np.mean(found, axis=0))} |")


if __name__ == "__main__":
    main()
