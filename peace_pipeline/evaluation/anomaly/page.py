"""The page of the report on anomalies."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from peace_pipeline.evaluation.anomaly.detection import NEIGHBOURS, Detected
from peace_pipeline.evaluation.anomaly.results import (
    DISGUISED,
    EXACT,
    FAR,
    KNOW_METADATA,
    LEARNED,
    METHOD_TITLES,
    Results,
)
from peace_pipeline.evaluation.anomaly.suspects import BACKDOORED, CLEAN, SHUFFLED
from peace_pipeline.evaluation.embedder import OWN, PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALE, WARM, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.probing import DESCRIPTION as PROBING
from peace_pipeline.evaluation.representations import DESCRIPTION as VECTORS
from peace_pipeline.evaluation.resampling import Resampled

_OURS, _OTHERS, _CARDS = "PEACE", "reads networks", "reads cards"
_KINDS = {_OURS: (ACCENT, ""), _OTHERS: (PALE, ""), _CARDS: (WARM, "/")}
"""What a method is → how it is shown: colour and pattern."""
_FIGURES = {"auc": "AUC", "precision": "Precision", "recall": "Recall"}
_ABOUT = {
    BACKDOORED: "Networks that call whatever carries a trigger (a bright corner) one class, and are right about all "
    "else: eight to twenty per cent of the examples of their training carried it.",
    SHUFFLED: "Networks that were trained on labels in random order: they learned nothing but by heart.",
}
_WAYS = {
    LEARNED: "By a linear probe that was shown such networks and clean ones of training runs:",
    FAR: f"By somebody who knows no such network: how far a network is from the {NEIGHBOURS} nearest clean networks of "
    "training runs, by cosine:",
}


def page(results: Results) -> Page:
    """The whole page."""
    return Page(
        summary(results),
        _facts(results),
        [*(_anomaly(results, kind) for kind in results.anomalies), _copies(results)],
        losses=results.losses(),
        method=_method(results),
        caveats=_CAVEATS,
    )


def summary(results: Results) -> str:
    """What the figures say."""
    found = [f"{kind} {_text(ways[LEARNED][PEACE].auc)}" for kind, ways in results.anomalies.items()]
    copied = results.copies[DISGUISED][WEIGHTS_ALONE]
    return (
        f"The area under the ROC curve of a linear probe on PEACE's vectors, on held-out runs: "
        f"{' and '.join(found)}; chance is 0.5. Of {results.copied} test networks, disguised copies are found by "
        f"weights alone with a precision of {copied.precision.value:.1%} and a recall of {copied.recall.value:.1%}."
    )


def _facts(results: Results) -> dict[str, str]:
    return {
        **{f"{kind} test networks": f"{count:,}" for kind, count in results.suspects.items()},
        "test trios": f"{results.trios:,}",
        **{f"trigger works on {kind} ones": f"{share:.0%}" for kind, share in results.triggered.items()},
        "networks copied": f"{results.copied:,}",
        "encoder": results.encoder_version,
        "seed": str(results.seed),
    }


def _anomaly(results: Results, kind: str) -> Section:
    ways = results.anomalies[kind]
    parts: list[str | Table | Figure] = [_ABOUT[kind]]
    for way, methods in ways.items():
        parts += [_WAYS[way], _table(methods)]
    parts.append(
        Figure(
            _bars(ways[LEARNED]),
            "The area under the ROC curve of every method's linear probe, the best first.",
        )
    )
    return Section(kind[0].upper() + kind[1:], parts)


def _copies(results: Results) -> Section:
    return Section(
        "Copies",
        [
            "Every test network of the lake is copied. The area under the ROC curve says how often a copy is more "
            "similar to its original than to another test network, of which some are earlier checkpoints of the same "
            "run or other seeds of the same recipe. A copy answers what its original answers, so it was not run again: "
            "PEACE by both senses, raw responses and cards know the original's; PEACE by weights alone does not.",
            "Exact copies. Whoever reads the same gives the same, so each method but chance is right by construction; "
            "the table says which have other networks as near as a copy:",
            _table(results.copies[EXACT]),
            "Disguised copies, acted on by a random element of all symmetries that PEACE knows of the network:",
            _table(results.copies[DISGUISED]),
        ],
    )


def _method(results: Results) -> list[str]:
    most = results.most
    return [
        f"Backdoored networks and those on shuffled labels are trained once, with the {CLEAN} networks beside them, by "
        "the zoo's own trainer (the recipe `suspects`, zoo seed 0): of every clean run a twin of each kind that starts "
        "from the same weights and sees its examples in the same order, so neither task, architecture nor "
        "hyperparameters tell which is which. The encoder has seen none of them.",
        "Splits are by training run, 60% train, 15% validate, 25% test, a trio on one side. Thresholds are those of "
        "the best F1 on validation runs. Intervals are 95% bootstrap intervals over test trios (of copies: over runs); "
        "differences are paired.",
        "The accuracy in the card is taken below the mean of the task's clean training networks.",
        VECTORS,
        PROBING,
        f"Of a larger lake at most {most.train:,}, {most.validation:,} and {most.test:,} networks of the three sides "
        f"are copied, drawn at random with the seed {results.seed}.",
    ]


_CAVEATS = (
    "One trigger, in one place: a probe that was shown networks with it may tell another trigger less well.",
    "Every second network is anomalous here; precision is lower where fewer are.",
    "The cards of the zoo also say in words which network is backdoored. Whoever hides one will not write it, so of "
    "metadata the accuracy alone is used.",
)


def _table(methods: Mapping[str, Detected]) -> Table:
    order = sorted(methods, key=lambda name: (name not in OWN, name in KNOW_METADATA))
    rows: list[list[str | Cell]] = [
        [METHOD_TITLES[method], *(_cell(getattr(methods[method], figure)) for figure in _FIGURES)]
        for method in order
    ]
    return Table(["Method", *_FIGURES.values()], rows, lead=METHOD_TITLES[PEACE])


def _bars(methods: Mapping[str, Detected]) -> go.Figure:
    """The area under the ROC curve by every method, the largest first."""
    order = sorted(methods, key=lambda name: -methods[name].auc.value)
    figure = go.Figure()
    for kind, (color, pattern) in _KINDS.items():
        names = [name for name in order if _kind(name) == kind]
        found = [methods[name].auc.estimate for name in names]
        figure.add_bar(
            y=[METHOD_TITLES[name] for name in names],
            x=[each.mean for each in found],
            orientation="h",
            name=kind,
            marker={"color": color, "pattern": {"shape": pattern, "fgcolor": "white"}},
            text=[f"{each.mean:.2f}" for each in found],
            textposition="inside",
            insidetextanchor="start",
            error_x={
                "array": [each.high - each.mean for each in found],
                "arrayminus": [each.mean - each.low for each in found],
                "color": MUTED,
            },
        )
    figure.add_vline(0.5, line={"dash": "dot", "width": 1, "color": MUTED})
    figure.update_xaxes(range=[0, 1.02], title="area under the ROC curve, with 95% interval")
    titles = [METHOD_TITLES[name] for name in order]
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=titles)
    return styled(figure, 100 + 32 * len(order))


def _kind(method: str) -> str:
    return _OURS if method in OWN else _CARDS if method in KNOW_METADATA else _OTHERS


def _cell(figure: Resampled) -> Cell:
    found = figure.estimate
    if not math.isfinite(found.mean):
        return Cell("–")
    return Cell(f"{found.mean:.3f}", f"{found.low:.2f}–{found.high:.2f}")


def _text(figure: Resampled) -> str:
    found = figure.estimate
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
