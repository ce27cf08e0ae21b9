"""Batches: every anchor has a positive, broken twins are negatives, and the rule says who else is like whom."""

from __future__ import annotations

import numpy as np
import torch

from peace_pipeline.encoder.batches import INTACT, TrainingSet, keys_of
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.pairs import Partners
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.symmetry.network import stacked
from tests.encoder.test_pair_rule import listing
from tests.networks import networks_of


def test_every_anchor_has_a_positive_even_without_cards() -> None:
    networks = networks_of("mlp", 6, dtype=torch.float32)
    stacks = [encoder_input(stack, EncoderConfig()) for stack in stacked(networks)]
    members = {key: listing(key, task=None, architecture=None) for key in keys_of(stacks)}
    nobody = Partners(np.zeros(7, int), np.zeros(0, int))
    training = TrainingSet(stacks, members, nobody, PairSettings(), EncoderConfig(), seed=0)
    batch = training.collate(list(range(6)))
    positive, negative = training.masks(batch)
    intact = batch.view == INTACT
    assert positive[intact].any(1).all()
    assert not (positive & negative).any()
    assert not positive[~intact].any()
    alike = batch.member[:, None] == batch.member[None, :]
    assert bool((positive <= alike).all()), "a copy of itself is the only positive"


def test_masks_follow_the_rule_and_partners_the_list() -> None:
    stacks = [
        encoder_input(stack, EncoderConfig()) for stack in stacked(networks_of("mlp", 4, dtype=torch.float32))
    ]
    names = ("base", "seed2", "animals", "shuffled")
    members = {key: listing(name) for key, name in zip(keys_of(stacks), names, strict=True)}
    partners = Partners(np.array([0, 1, 2, 2, 2]), np.array([1, 0]))
    training = TrainingSet(stacks, members, partners, PairSettings(), EncoderConfig(), seed=0)
    batch = training.collate([0])
    assert batch.member[batch.view == INTACT].tolist() == [0, 1]
    batch = training.collate([0, 1, 2, 3])
    positive, negative = training.masks(batch)
    rows = {name: batch.member == number for number, name in enumerate(names)}
    intact = batch.view == INTACT

    def between(mask: torch.Tensor, a: str, b: str) -> bool:
        found = mask[rows[a] & intact][:, rows[b] & intact]
        assert found.all() or not found.any()
        return bool(found.all())

    assert between(positive, "base", "seed2")
    for other in ("animals", "shuffled"):
        assert between(negative, "base", other)
        assert not between(positive, "base", other)
    assert negative[intact][:, ~intact].all()
    assert not (positive & negative).any()
