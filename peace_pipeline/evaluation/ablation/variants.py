"""What is left out of an encoder or of its training, or put otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from peace_pipeline.encoder.members import training_members
from peace_pipeline.encoder.pair_rule import Attributes, reasons
from peace_pipeline.encoder.reasons import BROKEN_TWIN, COPY, REASONS
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.evaluation.retraining import Recipe
from peace_pipeline.lake import Lake
from peace_pipeline.stages.train import PRETRAINED

FULL = "full"


@dataclass(frozen=True)
class Variant:
    """A training that differs from the full one in some settings, of the training or of the pairs."""

    title: str
    settings: Mapping[str, object] = field(default_factory=dict)
    pairs: Mapping[str, object] = field(default_factory=dict)

    def recipe(self, epochs: int) -> Recipe:
        """At so many epochs, all of which are run."""
        return Recipe.of(epochs, self.settings, self.pairs)


def _without(title: str, *left_out: str) -> Variant:
    return Variant(title, pairs={"left_out": list(left_out)})


VARIANTS: Mapping[str, Variant] = {
    FULL: Variant("Full"),
    # senses
    "weights-alone": Variant("Trained on weights alone", {"variant": "weights-alone"}),
    "responses-alone": Variant(
        "Trained on responses alone", {"variant": "responses-alone"}, {"left_out": [BROKEN_TWIN]}
    ),
    "answers-alone": Variant("Answers never heard with weights", pairs={"joined": 0.0}),
    "answers-joined": Variant("Answers never heard alone", pairs={"joined": 1.0}),
    # the encoder
    "no-canonical": Variant("Scaled copies for the canonical form", {"variant": "no-canonical"}),
    "no-scaling": Variant(
        "Neither canonical form nor scaled copies",
        {"variant": "no-canonical"},
        {"left_out": ["scaling", "signs", "mixing"]},
    ),
    "positions": Variant("Not equivariant: permuted copies instead", {"variant": "positions"}),
    "no-permutation": Variant(
        "Neither equivariance nor permuted copies", {"variant": "positions"}, {"left_out": ["permutation"]}
    ),
    "deep-sets": Variant("Deep sets of weights for the GNN", {"variant": "deep-sets"}),
    "attention": Variant("Graph attention (GAT) for the GNN", {"variant": "attention"}),
    "no-sharing": Variant("Layers share no neurons", {"variant": "no-sharing"}),
    "mean-pooling": Variant("Mean over layers for the Transformer", {"variant": "mean-pooling"}),
    "no-probes": Variant("Without learned probes of the weights", {"variant": "no-probes"}),
    # copies
    "no-noise": Variant("Copies without noise", pairs={"noise": 0.0}),
    "no-dropout": Variant("Copies lack no weights", pairs={"weight_dropout": 0.0}),
    "no-relabelling": Variant("Outputs are not permuted to new tasks", pairs={"relabelled": 0.0}),
    # pairs
    "no-copies": _without("Without pairs of a network's own copies", COPY),
    "no-same-run": _without("Without pairs of one run", "same_run"),
    "no-same-recipe": _without("Without pairs of one recipe", "same_recipe"),
    "no-same-task": _without("Without pairs of one task in other recipes", "same_task"),
    "copies-alone": _without(
        "Alike are a network's own copies alone", "same_run", "same_recipe", "same_task"
    ),
    "no-task": _without("Other tasks are not pushed away", "task"),
    "no-architecture": _without("Other architectures of other tasks are not pushed away", "architecture"),
    "no-shuffled": _without("Shuffled labels are not pushed away", "shuffled_labels"),
    "no-performance": _without("Far-off accuracies are not pushed away", "performance"),
    "no-spoilt": _without("Without spoilt twins (backdoors and others)", "twin"),
    "no-twins": _without("Without broken twins", BROKEN_TWIN),
    "no-twin-margin": Variant("Broken twins without a margin of their own", {"twin_weight": 0.0}),
    # training
    "accuracy": Variant("A head that predicts accuracy, too", {"accuracy_weight": 0.1}),
    "ntxent": Variant("NT-Xent for SupCon", {"loss": "ntxent"}),
    "triplet": Variant("Triplets for SupCon", {"loss": "triplet"}),
    "hard-pairs": Variant("Hard pairs alone (multi-similarity)", {"miner": "multi-similarity"}),
    "pretrained": Variant("Begun with the shipped encoder", {"start": PRETRAINED}),
}


def with_effect(lake: Lake, variants: Mapping[str, Variant], networks: int = 1_000) -> dict[str, Variant]:
    """The variants that differ from the full one on a lake: those that leave out reasons for which there are pairs,
    among so many networks at most."""
    settings = PairSettings.model_validate(
        VARIANTS[FULL].recipe(1).pairs.model_dump() | {"networks": networks}
    )
    own = Attributes.of(training_members(lake, settings))
    numbers = reasons(own.at((slice(None), None)), own.at(None), settings.far_off)
    of_two = numbers[~np.eye(len(numbers), dtype=bool)]
    present = {REASONS[number] for number in np.unique(of_two) if number >= 0}
    return {
        name: each for name, each in variants.items() if _has_effect(each.pairs.get("left_out", ()), present)
    }


def _has_effect(left_out: object, present: set[str]) -> bool:
    assert isinstance(left_out, Sequence)
    return not left_out or any(reason in present or reason not in REASONS for reason in left_out)
