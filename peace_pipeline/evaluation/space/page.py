"""The page of the report on the embedding space."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from peace_pipeline.evaluation.embedder import OWN, PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.metrics import Estimate
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.probing import DESCRIPTION as PROBING
from peace_pipeline.evaluation.representations import CANONICAL, CHANCE, FLATTENED, KNOW_CARDS, STATISTICS
from peace_pipeline.evaluation.representations import DESCRIPTION as VECTORS
from peace_pipeline.evaluation.resampling import Resampled
from peace_pipeline.evaluation.space import plots
from peace_pipeline.evaluation.space.labels import ARCHITECTURE, DATASET, PERFORMANCE, TASK
from peace_pipeline.evaluation.space.results import METHOD_TITLES, Results
from peace_pipeline.evaluation.space.results import Table as Figures

Part = str | Table | Figure
_COLOURED = (TASK, ARCHITECTURE, DATASET, PERFORMANCE)


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_clusters(results), _probes(results), _distances(results), _actions(results)]
    sections += [_maps(results), _beside(results)]
    return Page(
        summary(results),
        _facts(results),
        [each for each in sections if each.parts],
        losses=results.losses(),
        method=_method(results),
        caveats=_CAVEATS,
    )


def summary(results: Results) -> str:
    """What the figures say."""
    losses, count = len(results.losses()), len(results.silhouettes) + len(results.probes)
    first = f"Of {count} silhouettes and probes PEACE is behind the best other method that reads networks in {losses}."
    still = [
        f"{_short(figures[WEIGHTS_ALONE].value)} under {kind}" for kind, figures in results.distances.items()
    ]
    moved = (
        f" Symmetries move its vectors by weights alone, in units of the nearest other network, by {', '.join(still)}."
        if still
        else ""
    )
    read = ", ".join(
        f"{target} {figures[PEACE].value:.2f}"
        for target, figures in results.probes.items()
        if target in (TASK, DATASET, ARCHITECTURE, PERFORMANCE, "accuracy")
    )
    return f"{first}{moved} Linear probes on PEACE's vectors score on test runs: {read}."


def _facts(results: Results) -> dict[str, str]:
    return {
        **{f"{side} networks": f"{count:,}" for side, count in results.networks.items()},
        "test runs": f"{len({member.listing.run for member in results.members}):,}",
        "encoder": results.encoder_version,
        "seed": str(results.seed),
    }


def _clusters(results: Results) -> Section:
    if not results.silhouettes:
        return Section("Clusters", [])
    labels = list(results.silhouettes)
    return Section(
        "How the vectors cluster",
        [
            "Mean silhouette by cosine, of test networks: 1 is apart from all other classes, 0 is mixed, below 0 is "
            "nearer to another class. A network belongs to one class of each label, so no space can be apart by all. "
            "Performance is the third of its dataset's training networks in which a network's accuracy lies.",
            _table(results.silhouettes, labels),
            "Davies-Bouldin index of the same: the smaller, the more apart.",
            _indices(results, labels),
        ],
    )


def _probes(results: Results) -> Section:
    if not results.probes:
        return Section("Linear probes", [])
    named = {target: of for target, of in results.probes.items() if target not in results.values}
    valued = {target: of for target, of in results.probes.items() if target in results.values}
    parts: list[Part] = []
    if named:
        parts += [
            "The share of test networks whose class a linear probe names. Cards state the answers: they stand beside.",
            _table(named, list(named)),
            Figure(
                plots.probe_bars(named),
                "The share of test networks whose class the probes of some methods name.",
            ),
        ]
    if valued:
        parts += [
            "The share of the variance that a linear probe explains (R², about the mean of the training split; below "
            "0 it is worse than that mean):",
            _table(valued, list(valued)),
            Figure(
                plots.probe_bars(valued), "The share of the variance that the probes of some methods explain."
            ),
        ]
    return Section("What a linear probe reads off", parts)


def _distances(results: Results) -> Section:
    if not results.distances:
        return Section("Distances", [])
    return Section(
        "From original to transformed network",
        [
            "Each test network is acted on by a random element of its symmetry group, of one kind and then of all. The "
            "distance between its vectors before and after, over the distance to the nearest other test network, "
            "median over networks; below, the share that stays nearer to itself than to any other. Below 1 a copy is "
            "found. Responses and cards are those of the original: a copy answers what its original answers.",
            _table(results.distances, list(results.distances), _magnitude, results.nearest),
        ],
    )


def _actions(results: Results) -> Section:
    if not results.actions:
        return Section("Actions", [])
    methods = [WEIGHTS_ALONE, STATISTICS, CANONICAL, FLATTENED, CHANCE]
    rows: list[list[str | Cell]] = [
        [
            action,
            str(len(moved.families)),
            *(_magnitude(moved.ratios[method].estimate) for method in methods),
            _short(moved.largest),
        ]
        for action, moved in results.actions.items()
    ]
    header = ["Action", "Families", *(METHOD_TITLES[method] for method in methods), "Largest by PEACE"]
    return Section(
        "Every action of the symmetry room",
        [
            "The same on random networks of every family that has the action, each action alone and then all at once, "
            "computed in float32 as the index is. "
            "These networks are not run and have no cards, so responses and metadata know nothing of them. The nearest "
            "other is the nearest of all families' networks for PEACE and chance, of the same family for the rest.",
            Table(header, rows),
        ],
    )


def _maps(results: Results) -> Section:
    parts: list[Part] = []
    for name, found in results.maps[PEACE].items():
        parts.append(
            f"{name} of PEACE's vectors, by cosine (trustworthiness {found.trustworthiness:.2f}; 1 means that "
            "neighbours on the map are neighbours in the space). Distances between clusters on it mean little."
        )
        for label in _COLOURED:
            drawn = plots.coloured(found, label, results.labels[label], results.members)
            parts.append(
                Figure(drawn, f"{name}, coloured by {label}; hollow marks were trained on shuffled labels.")
            )
    return Section("The test networks on a map", parts)


def _beside(results: Results) -> Section:
    parts: list[Part] = []
    for method, maps in results.maps.items():
        if method != PEACE:
            name, found = next(iter(maps.items()))
            drawn = plots.coloured(found, DATASET, results.labels[DATASET], results.members)
            about = f"{name} of {METHOD_TITLES[method].lower()}, coloured by {DATASET}"
            parts.append(Figure(drawn, f"{about} (trustworthiness {found.trustworthiness:.2f})."))
    return Section("The same networks by other methods", parts)


def _method(results: Results) -> list[str]:
    most = results.most
    return [
        "Splits are by training run: 60% train, 15% validate, 25% test. Intervals are 95% bootstrap intervals over "
        "test runs (of families, for random networks); differences are paired.",
        VECTORS,
        PROBING,
        f"Of a larger zoo a sample is measured, drawn at random with the seed {results.seed}: at most {most.train:,} "
        f"networks to learn from, {most.validation:,} to choose by and {most.test:,} to score. UMAP and t-SNE use the "
        "same seed.",
    ]


_CAVEATS = (
    "The encoder was not trained on test runs, but on other runs of the same tasks and architectures.",
    "Model cards state what is probed for: metadata stand beside the methods that read networks, not among them.",
    "No space can be apart by every label at once: what tells tasks apart mixes architectures.",
)


def _table(
    figures: Figures,
    columns: list[str],
    cell: Callable[[Estimate], Cell] | None = None,
    below: Mapping[str, Mapping[str, Resampled]] | None = None,
) -> Table:
    """Methods × columns."""
    show = cell or _cell
    methods = list(dict.fromkeys(method for label in columns for method in figures[label]))
    rows: list[list[str | Cell]] = []
    for method in [
        *OWN,
        *sorted(set(methods) - {*OWN}, key=lambda name: (name in KNOW_CARDS, methods.index(name))),
    ]:
        row: list[str | Cell] = [METHOD_TITLES[method]]
        for label in columns:
            if method not in figures[label]:
                row.append("–")
                continue
            shown = show(figures[label][method].estimate)
            if below:
                shown = Cell(shown.text, f"{below[label][method].value:.0%} nearest")
            row.append(shown)
        rows.append(row)
    return Table(["Method", *columns], rows, lead=METHOD_TITLES[PEACE])


def _indices(results: Results, labels: list[str]) -> Table:
    methods = list(dict.fromkeys(method for of in results.indices.values() for method in of))
    rows = [
        [
            METHOD_TITLES[method],
            *(f"{of[method]:.2f}" if method in (of := results.indices[label]) else "–" for label in labels),
        ]
        for method in methods
    ]
    return Table(["Method", *labels], rows, lead=METHOD_TITLES[PEACE])


def _cell(found: Estimate) -> Cell:
    if not math.isfinite(found.mean):
        return Cell("–")
    return Cell(f"{found.mean:z.3f}", f"{found.low:z.2f} … {found.high:z.2f}")


def _magnitude(found: Estimate) -> Cell:
    """Ratios from 10^−7 to some."""
    if not math.isfinite(found.mean):
        return Cell("–")
    return Cell(_short(found.mean), f"{_short(found.low)} … {_short(found.high)}")


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.01 or ratio == 0 else f"{ratio:.0e}"
