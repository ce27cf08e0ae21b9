"""Every setting of a training, described once: command line, Dagster config and records follow from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.losses import LOSSES, MINERS
from peace_pipeline.encoder.reasons import AVOIDABLE

if TYPE_CHECKING:
    Variant: TypeAlias = str
    LossName: TypeAlias = str
    MinerName: TypeAlias = str
else:
    Variant, LossName, MinerName = (Literal[*names] for names in (VARIANTS, LOSSES, MINERS))


_STRICT: ConfigDict = {"frozen": True, "extra": "forbid", "allow_inf_nan": False}


NAMELESS = ""
"""What ``without`` calls networks whose cards name no task."""


class PairSettings(BaseModel, title="Networks and pairs", **_STRICT):
    """Which networks an encoder learns from, and how their pairs are drawn."""

    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Of every random draw.")
    networks: int = Field(
        default=100_000, ge=2, description="Most networks to train on; of more a sample is drawn."
    )
    largest: int = Field(
        default=100_000,
        ge=1,
        description="Most values of one network that an encoder is given; of larger ones fewer neurons of each group.",
    )
    without: list[str] = Field(
        default=[],
        description="An architecture or a task (as cards say it; '' for networks without a task) kept out of training "
        "and of the choice of the epoch; may be said again.",
    )
    tasks: int | None = Field(
        default=None,
        ge=1,
        description="Most tasks to learn from; of more a sample is drawn, and networks without one count for none.",
    )
    widest: int | None = Field(
        default=None,
        ge=1,
        description="Most neurons of a hidden layer: networks with wider ones are kept out as `without` keeps out.",
    )
    deepest: int | None = Field(
        default=None, ge=1, description="Most layers: deeper networks are kept out as `without` keeps out."
    )
    left_out: list[str] = Field(
        default=[],
        description="A reason for which there are pairs otherwise, left out; may be said again.",
    )
    pairs: int = Field(default=128, ge=1, description="Most pairs that a network has for one reason.")
    far_off: float = Field(
        default=0.3,
        ge=0,
        description="Accuracies that differ by more make a negative pair of one task's networks.",
    )
    noise: float = Field(default=0.4, ge=0, description="Most noise of a copy, in deviations of each tensor.")
    weight_dropout: float = Field(
        default=0.05, ge=0, le=1, description="Largest share of weights a copy lacks."
    )
    broken: float = Field(
        default=1.0, ge=0, le=1, description="Largest share of units that a broken twin has moved."
    )
    relabelled: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a batch's tasks whose outputs are permuted to make new tasks.",
    )
    joined: float = Field(
        default=0.67,
        ge=0,
        le=1,
        description="Share of the networks heard by their answers that are heard by their weights too.",
    )

    @field_validator("left_out")
    @classmethod
    def _are_reasons(cls, named: list[str]) -> list[str]:
        """Dagster's config knows no lists of choices."""
        if others := set(named) - set(AVOIDABLE):
            raise ValueError(f"no reason: {', '.join(sorted(others))}; there are {', '.join(AVOIDABLE)}")
        return named


class Settings(BaseModel, title="Training", **_STRICT):
    """How an encoder is trained on the pairs."""

    start: str = Field(
        default="scratch",
        description="What to start from: `scratch`, `pretrained` (the encoder that PEACE ships) or a version.",
    )
    epochs: int = Field(default=40, ge=1, description="Passes over the training networks.")
    patience: int = Field(
        default=20, ge=1, description="Epochs without a better validation after which training ends."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Of every random draw.")
    variant: Variant = Field(default="full", description="The whole encoder, or one that lacks a part.")
    batch_size: int = Field(
        default=128, ge=2, description="Networks in a batch, half of them with a broken twin."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Highest of a one-cycle schedule.")
    weight_decay: float = Field(default=0.05, ge=0, description="Of AdamW.")
    loss: LossName = Field(default="supcon", description="Over a batch's pairs.")
    miner: MinerName = Field(default="every-pair", description="Which of a batch's pairs count.")
    temperature: float = Field(default=0.1, gt=0, description="Of the similarities in a loss that has one.")
    margin: float = Field(default=0.1, ge=0, le=2, description="Of a loss or miner that has one, in cosine.")
    twin_margin: float = Field(
        default=0.5, ge=-1, le=1, description="Similarity that a broken twin may have."
    )
    twin_weight: float = Field(
        default=0.5, ge=0, description="Of the loss over broken twins; 0 leaves it out."
    )
    spoilt_margin: float = Field(
        default=0.9,
        ge=-1,
        le=1,
        description="Similarity that a backdoored or otherwise spoilt twin may have.",
    )
    accuracy_weight: float = Field(
        default=0.0,
        ge=0,
        description="Of the loss of a head that predicts reported accuracies; 0 leaves it out.",
    )
    validation: int = Field(
        default=2_000,
        ge=1,
        description="Most networks to choose the best epoch by; of more a sample is drawn.",
    )
