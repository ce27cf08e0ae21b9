"""Function: disguised copies find their originals; symmetries, broken twins and noise move embeddings as they do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import embed_stacks
from peace_pipeline.encoder.pairs import DECADES
from peace_pipeline.evaluation.baselines.registry import Knows, all_baselines
from peace_pipeline.evaluation.invariance import SHARES, Invariance, by_weights
from peace_pipeline.evaluation.invariance import measure as measure_movements
from peace_pipeline.evaluation.population import cohorts, disguising, read_listed
from peace_pipeline.evaluation.readings import Reader, Readings, read
from peace_pipeline.symmetry.opening import LocalModel
from peace_pipeline.symmetry.testing import TOLERANCE
from peace_pipeline.symmetry.transforming import strengths, transform

from .copies import through_a_lake
from .methods import WEIGHTS
from .scoring import Figure, figure
from .tables import Cells, Table
from .untrained import PEERS_HERE, cosine
from .zoo import SENSES, Zoo

NOTE = (
    "Copies of all networks of the zoo, permuted and rescaled by up to 10^±2, look for their originals among all: "
    "recall@1 by weights alone, ties at random. Movements are in units of the spread over 32 networks of an "
    "architecture (the largest of all symmetries; means of broken twins and of noise), by weights alone. Disguised "
    "files went the whole way of a lake, through the probes too where they can be run: movements are the largest of "
    "each, in float32."
)
NETWORKS, LARGEST, FILES = 32, 1_000_000, 256


def measure(zoo: Zoo, files: int = FILES) -> list[Table]:
    """Recall of disguised copies by architecture, of so many disguised files by sense; movements by architecture."""
    return [_disguised(zoo), _disguised_files(zoo, files), _movements(zoo)]


def _disguised(zoo: Zoo, seed: int = 0) -> Table:
    """Of all methods that read weights and learn nothing."""
    readers: dict[str, Reader | None] = {
        one.title: one.reads
        for name, one in all_baselines().items()
        if one.knows == Knows.WEIGHTS and one.reads and name not in PEERS_HERE
    }
    readers = {name: reads for name, reads in readers.items() if "LDA" not in name}
    methods = {one.title: one.similarity for one in all_baselines().values()}
    _, encoder = store.load(zoo.lake, zoo.version)
    readers[WEIGHTS] = lambda cohort: np.stack(
        [each.weights for each in embed_stacks(encoder, [cohort.stack])]
    )
    methods[WEIGHTS] = lambda queries, gallery, train: queries.matrix @ gallery.matrix.T
    originals = read(read_listed(zoo.lake, zoo.members), readers)
    copies = read(read_listed(zoo.lake, zoo.members), readers, disguising(seed))
    cells: Cells = {}
    for name in [WEIGHTS, *(name for name in readers if name != WEIGHTS)]:
        gallery, nobody = originals[name], Readings([])
        acted_on = np.array([member.acted_on for member in gallery.members])
        names = np.array([member.architecture for member in gallery.members])
        places = np.flatnonzero(acted_on)
        similarity = methods[name](copies[name].select(places), gallery, nobody)
        own = similarity[np.arange(len(places)), places]
        # A tie with the original is a miss as often as it is no hit at random.
        found = (own == similarity.max(1)) / np.maximum((similarity == own[:, None]).sum(1), 1)
        row = {"all": figure(found[None])}
        row |= {one: figure(found[names[places] == one][None]) for one in np.unique(names)}
        cells[name] = row
    return Table("Disguised copies, recall@1", cells)


def _disguised_files(zoo: Zoo, most: int, seed: int = 0) -> Table:
    """Of each sense: files of networks at even distances, written in disguise and embedded in a lake of their own."""
    chosen = np.unique(np.linspace(0, len(zoo) - 1, most).round().astype(int))
    wanted = strengths([], everything=True, decades=DECADES)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place in chosen:
            source = LocalModel(zoo.folder(place), [zoo.folder(place) / "model.safetensors"])
            transform(source, root / "copies" / str(place), wanted, lenient=True, seed=seed)
        copies, _ = through_a_lake(zoo, root / "copies", root / "home")
        senses = copies.senses  # read while the folder is there
    places = np.array([int(one.model_id.rpartition("/")[2]) for one in copies.members])
    cells: Cells = {}
    for column, vectors in senses.items():
        known = np.isfinite(vectors).all(1) & np.isfinite(zoo.senses[column][places]).all(1)
        asking, own = vectors[known], places[known]
        gallery = len(asking) + np.arange(len(zoo))
        similarity = cosine(np.concatenate([asking, zoo.senses[column]]), np.arange(len(asking)), gallery)
        found = similarity.argmax(1) == own
        deviation = np.nanstd(zoo.senses[column], 0).mean()
        moved = np.abs(asking - zoo.senses[column][own]).max(1) / deviation
        cells[SENSES[column]] = {
            "recall@1": figure(found[None].astype(float)),
            "moved by, median": Figure(*[float(np.median(moved))] * 5, len(moved), ()),
            "moved by, largest": Figure(*[float(moved.max())] * 5, len(moved), ()),
        }
    return Table("Disguised files", cells)


def _movements(zoo: Zoo) -> Table:
    """Of PEACE's weights sense on networks of each architecture, those that it didn't train on first."""
    _, encoder = store.load(zoo.lake, zoo.version)
    embed = by_weights(encoder)
    cells: Cells = {}
    for name in np.unique(zoo.architectures):
        alike = [
            one
            for one in zoo.members
            if (one.architecture or one.method) == name and one.parameters <= LARGEST
        ]
        alike = sorted(alike, key=lambda one: (one.split == "train", one.model_id))[:NETWORKS]
        stacks = [cohort.stack for cohort in cohorts(read_listed(zoo.lake, alike))]
        if len(alike) > 1:
            cells[str(name)] = _row(measure_movements(embed, stacks, 0))
    return Table("Movements of the embedding by weights alone", cells)


def _row(found: Invariance) -> dict[str, Figure]:
    values = {
        f"symmetries, {str(dtype).removeprefix('torch.')}": max(found.still[dtype].values(), default=0.0)
        for dtype in TOLERANCE
    }
    values |= {f"{share:.0%} broken": found.broken[share] for share in SHARES} | {"1% noise": found.noise}
    return {name: Figure(*[value] * 5, found.networks, ()) for name, value in values.items()}
