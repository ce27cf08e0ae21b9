"""Batches: every network has a positive, broken twins are negatives, tasks are relabelled as a whole, and the batch of
a step follows from its number."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peace_pipeline.encoder.batches import HAND, Masks, TrainingSet, Views
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.pair_rule import Attributes
from peace_pipeline.encoder.pairs import Partners
from peace_pipeline.encoder.prepared import Prepared
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.symmetry.network import stacked
from peace_pipeline.zoo.listing import Listing
from tests.encoder.test_pair_rule import listing
from tests.encoder.test_prepared import answers
from tests.networks import networks_of

PLAIN = PairSettings(noise=0, weight_dropout=0, relabelled=0)


def training_set(
    folder: Path,
    members: Mapping[str, Listing],
    partners: Mapping[int, list[int]] | None = None,
    pairs: PairSettings = PLAIN,
    batch_size: int = 4,
    run: bool = True,
    values: int = 4_000_000,
) -> TrainingSet:
    """So many networks with these listings, half of them mlps and half cnns."""
    networks = Prepared(folder / "networks")
    half = len(members) // 2
    for architecture, count in (("mlp", len(members) - half), ("cnn", half)):
        if count:
            (stack,) = stacked(networks_of(architecture, count, dtype=torch.float32))
            networks.add(encoder_input(stack, EncoderConfig()), answers(count) if run else None)
    listed = dict(zip(networks.keys, members.values(), strict=True))
    found = [(partners or {}).get(number, []) for number in range(len(networks))]
    starts = np.cumsum([0, *map(len, found)])
    table = Partners(starts, np.array([other for others in found for other in others], int))
    return TrainingSet(networks, listed, table, pairs, EncoderConfig(), batch_size, 0, values)


def masks_of(training: TrainingSet, batch: Views) -> Masks:
    return training.masks(batch.member, batch.broken, torch.ones_like(batch.broken))


def listings(count: int, **changes: Any) -> dict[str, Listing]:
    return {f"m{i}": listing(f"m{i}", **changes) for i in range(count)}


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_network_has_a_positive_even_without_cards(tmp_path: Path) -> None:
    training = training_set(tmp_path, listings(6, task=None, architecture=None))
    batch = training.views([[number] for number in range(6)], chance())
    found = masks_of(training, batch)
    assert found.positive[~batch.broken].any(1).all()
    assert not (found.positive & found.negative).any()
    assert not found.positive[batch.broken].any()
    alike = batch.member[:, None] == batch.member[None, :]
    assert bool((found.positive <= alike).all()), "a copy of itself is the only positive"


def test_masks_follow_the_rule(tmp_path: Path) -> None:
    names = ("base", "seed2", "animals", "shuffled", "spoilt")
    members = {name: listing(name) for name in names[:4]}
    members["spoilt"] = listing("spoilt", run="s", twin_of="1", recipe="Z", accuracy=0.6)
    training = training_set(tmp_path, members)
    batch = training.views([[0, 1], [2], [3], [4]], chance())
    found = masks_of(training, batch)
    rows = {name: batch.member == number for number, name in enumerate(names)}
    intact = ~batch.broken

    def between(mask: torch.Tensor, a: str, b: str) -> bool:
        part = mask[rows[a] & intact][:, rows[b] & intact]
        assert part.all() or not part.any()
        return bool(part.all())

    assert between(found.positive, "base", "seed2")
    for other in ("animals", "shuffled"):
        assert between(found.negative, "base", other)
        assert not between(found.positive, "base", other)
    assert between(found.twins, "base", "spoilt")
    assert not between(found.negative, "base", "spoilt"), "what differs by little is not pushed away"
    assert not between(found.positive, "base", "spoilt")
    assert between(found.positive, "seed2", "spoilt"), "else it is a network of its task"
    assert found.negative[intact][:, ~intact].all()
    assert not (found.positive & found.negative).any()
    by_answers = training.masks(batch.member, batch.broken, torch.zeros_like(batch.broken))
    assert not by_answers.negative[:, batch.broken].any(), "answers don't meet what has none"


def test_kinds_of_pairs_that_are_left_out(tmp_path: Path) -> None:
    """Copies of a network stay as they are, are no pair, or have no broken twins; the rest stays."""
    members = {name: listing(name, run=name, recipe="R") for name in ("a", "b")}

    def batch_of(*left_out: str) -> tuple[TrainingSet, Views]:
        pairs = PLAIN.model_copy(update={"left_out": [*left_out]})
        training = training_set(tmp_path / "-".join(left_out), members, pairs=pairs)
        return training, training.views([[0], [1]], chance())

    training, batch = batch_of("copy")
    found, alike = masks_of(training, batch), batch.member[:, None] == batch.member
    assert not found.positive[alike].any()
    assert found.positive[~alike & ~batch.broken[:, None] & ~batch.broken].all()
    training, batch = batch_of("same_recipe")
    found, alike = masks_of(training, batch), batch.member[:, None] == batch.member
    assert found.positive.any()
    assert not found.positive[~alike].any()
    assert not batch_of("broken_twin")[1].broken.any()
    for left_out in (["broken_twin"], ["broken_twin", "permutation"]):
        training, batch = batch_of(*left_out)
        stays = []
        for stack in batch.stacks:
            for row, key in enumerate(stack.keys):
                (held,) = training.networks.select([training.networks.keys.index(key)])
                stays += [
                    torch.equal(stack.tensors[name][row], held.stack.tensors[name][0])
                    for name in stack.tensors
                ]
        assert all(stays) == ("permutation" in left_out)


def test_half_of_a_hand_is_broken_and_gives_no_answers(tmp_path: Path) -> None:
    training = training_set(tmp_path, listings(8))
    batch = training.views([[0, 1, 2, 3], [4, 5]], chance())
    assert sorted(batch.member[batch.broken].tolist()) == [0, 1, 4]
    outputs = torch.cat([each.outputs for each in batch.answers if each])
    assert torch.equal(outputs.isfinite().all(2).all(1), ~batch.broken)
    assert torch.equal(batch.answered, ~batch.broken)
    silent = training_set(tmp_path / "silent", listings(8), run=False).views([[0, 1]], chance())
    assert silent.answers == [None]
    assert not silent.answered.any()


def test_a_task_is_relabelled_as_a_whole(tmp_path: Path) -> None:
    """Outputs of networks and their answers are permuted alike for all networks of a task."""
    members = {f"m{i}": listing(f"m{i}", task=("digits", "animals", None)[i % 3]) for i in range(6)}
    training = training_set(tmp_path, members, pairs=PLAIN.model_copy(update={"relabelled": 1.0}))
    batch = training.views([[0, 3], [1, 4], [2, 5]], chance())
    plain = {key: number for number, key in enumerate(training.networks.keys)}
    orders: dict[int, tuple[int, ...]] = {}
    for stack, told in zip(batch.stacks, batch.answers, strict=True):
        assert told is not None
        for row, key in enumerate(stack.keys):
            number = plain[key]
            (held,) = training.networks.select([number])
            assert held.answers is not None
            before = held.answers.outputs[0]
            if told.outputs[row].isfinite().all():
                order = (told.outputs[row][0][:, None] == before[0][None, :]).float().argmax(1)
                assert torch.equal(told.outputs[row], before[:, order])
                last, bias = (
                    held.stack.tensors[name]
                    for name in list(held.stack.wiring.layers[-1].layer.tensors.values())[:2]
                )
                own, own_bias = (
                    stack.tensors[name] for name in list(stack.wiring.layers[-1].layer.tensors.values())[:2]
                )
                norms = last[0].flatten(1).norm(dim=1)[order]
                torch.testing.assert_close(own[row].flatten(1).norm(dim=1), norms)
                torch.testing.assert_close(own_bias[row].flatten(), bias[0].flatten()[order])
                assert orders.setdefault(number % 3, tuple(order.tolist())) == tuple(order.tolist())
    assert orders[2] == (0, 1, 2, 3), "without a task outputs keep their places"
    assert orders[0] != orders[1]


def test_a_task_keeps_its_labels_where_a_network_lacks_some_outputs(tmp_path: Path) -> None:
    """Of many outputs the encoder is given some: others of the task would be relabelled in another way."""
    members = {f"m{i}": listing(f"m{i}", task=("digits", "animals")[i % 2]) for i in range(6)}
    training = training_set(tmp_path, members, pairs=PLAIN.model_copy(update={"relabelled": 1.0}))
    (stack,) = stacked(networks_of("resnet", 1, dtype=torch.float32))
    training.networks.add(encoder_input(stack, EncoderConfig(), most_units=3), answers(1))
    listed = [*members.values(), listing("m6", task="digits")]
    training.attributes = Attributes.of(listed)
    batch = training.views([[0, 2, 4], [1, 3, 5], [6]], chance())
    kept = {}
    for stack, told in zip(batch.stacks, batch.answers, strict=True):
        assert told is not None
        for key, outputs in zip(stack.keys, told.outputs, strict=True):
            number = training.networks.keys.index(key)
            (held,) = training.networks.select([number])
            assert held.answers is not None
            if outputs.isfinite().all():
                kept[number] = torch.equal(outputs, held.answers.outputs[0])
    assert kept == {0: True, 2: True, 4: True, 6: True, 1: False, 3: False, 5: False}


def test_an_epoch_has_every_network_once_in_hands_of_partners(tmp_path: Path) -> None:
    groups = {number: [other for other in range(20) if other % 3 == number % 3 != 2] for number in range(20)}
    training = training_set(tmp_path, listings(20), groups, batch_size=6)
    assert len(training) == 4
    orders = []
    for epoch in range(2):
        hands = [hand for step in training._dealt(epoch) for hand in step]
        assert Counter(number for hand in hands for number in hand) == Counter(range(20))
        for hand in hands:
            assert len(hand) <= HAND
            assert all(other in groups[hand[0]] for other in hand[1:])
        orders.append(hands)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("batch_size", range(2, 9))
def test_every_step_of_an_epoch_has_networks(tmp_path: Path, batch_size: int) -> None:
    training = training_set(tmp_path, listings(9), {n: [*range(9)] for n in range(9)}, batch_size=batch_size)
    seen = [set(training[step].member.tolist()) for step in range(2 * len(training))]
    assert all(seen)
    assert sum(map(len, seen)) == 2 * 9, "each network once an epoch"


def test_a_batch_goes_to_another_process_in_one_piece(tmp_path: Path) -> None:
    """The training set too, where processes are spawned and not forked."""
    training = pickle.loads(pickle.dumps(training_set(tmp_path, listings(6))))
    batch = training.views([[0, 1], [4], [5]], chance())
    packed = batch.packed()
    assert all(tensor.is_meta for tensor in packed.form.tensors)
    again = packed.unpacked(torch.device("cpu"))
    assert len(again.tensors) == len(batch.tensors) > 4
    for one, other in zip(again.tensors, batch.tensors, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_batch_follows_from_the_number_of_its_step(tmp_path: Path) -> None:
    members = listings(12)
    pairs = PairSettings()
    one = training_set(tmp_path / "a", members, {n: [*range(12)] for n in range(12)}, pairs)
    other = training_set(tmp_path / "b", members, {n: [*range(12)] for n in range(12)}, pairs)
    for step in (7, 0, 5):
        a, b = one[step], other[step]
        assert torch.equal(a.member, b.member)
        for left, right in zip(a.stacks, b.stacks, strict=True):
            assert all(torch.equal(left.tensors[name], right.tensors[name]) for name in left.tensors)
    assert not torch.equal(one[0].stacks[0].tensors["0.weight"][:1], one[3].stacks[0].tensors["0.weight"][:1])


def test_of_large_networks_a_batch_has_fewer(tmp_path: Path) -> None:
    """Networks that are large for a batch count for several of it, and still every one comes once."""
    ordinary = training_set(tmp_path / "ordinary", listings(40), batch_size=16)
    largest = max(ordinary.networks.sizes)
    large = training_set(tmp_path / "large", listings(40), batch_size=16, values=2 * largest)
    assert len(large) > len(ordinary)
    steps = large._dealt(0)
    assert len(steps) == len(large)
    assert all(steps)
    assert sorted(number for step in steps for hand in step for number in hand) == list(range(40))
    assert max(sum(map(len, step)) for step in steps) < 16
