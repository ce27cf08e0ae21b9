"""What is left out of an encoder or of its training, or put otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.evaluation.retraining import Recipe
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
        settings = {"epochs": epochs, "patience": epochs, **self.settings}
        return Recipe(Settings.model_validate(settings), PairSettings.model_validate(dict(self.pairs)))


VARIANTS: Mapping[str, Variant] = {
    FULL: Variant("Full"),
    "no-canonical": Variant("Without the scale-canonical form", {"variant": "no-canonical"}),
    "no-sharing": Variant("Layers share no neurons", {"variant": "no-sharing"}),
    "mean-pooling": Variant("Mean over layers for the Transformer", {"variant": "mean-pooling"}),
    "no-probes": Variant("Without learned probes of the weights", {"variant": "no-probes"}),
    "no-twins": Variant("Without broken twins", {"twin_weight": 0.0}),
    "no-noise": Variant("Copies without noise", pairs={"noise": 0.0}),
    "no-dropout": Variant("Copies lack no weights", pairs={"weight_dropout": 0.0}),
    "no-relabelling": Variant("Outputs are not permuted to new tasks", pairs={"relabelled": 0.0}),
    "answers-alone": Variant("Answers never heard with weights", pairs={"joined": 0.0}),
    "answers-joined": Variant("Answers never heard alone", pairs={"joined": 1.0}),
    "accuracy": Variant("A head that predicts accuracy, too", {"accuracy_weight": 0.1}),
    "ntxent": Variant("NT-Xent for SupCon", {"loss": "ntxent"}),
    "triplet": Variant("Triplets for SupCon", {"loss": "triplet"}),
    "hard-pairs": Variant("Hard pairs alone (multi-similarity)", {"miner": "multi-similarity"}),
    "pretrained": Variant("Begun with the shipped encoder", {"start": PRETRAINED}),
}
