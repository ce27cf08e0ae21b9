"""Training batches: networks, what they answer, their noisy copies and broken twins, with who is like whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.pair_rule import NAMES_TWIN, Attributes, reasons, signs
from peace_pipeline.encoder.pairs import DECADES, Partners
from peace_pipeline.encoder.prepared import Held, Prepared
from peace_pipeline.encoder.reasons import BROKEN_TWIN, COPY, SYMMETRIES
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.responses.answers import Answers
from peace_pipeline.symmetry.group.actions import act, take
from peace_pipeline.symmetry.group.elements import Strength, random_element
from peace_pipeline.symmetry.group.perturbations import add_noise, break_wiring, breakable, drop_weights
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import FIXED, Wiring
from peace_pipeline.zoo.listing import Listing

HAND = 4
"""Most networks that are alike and are drawn together."""


@dataclass(frozen=True)
class Views:
    """A training batch. Each stack has its ``answers``, where it was run. For each row of the stacks, in order:
    ``member`` (which network), ``broken`` (whether it is a broken twin), ``answered`` (whether it is heard by its
    answers) and ``joined`` (whether by its weights beside them)."""

    stacks: list[Stack]
    answers: list[Answers | None]
    member: torch.Tensor
    broken: torch.Tensor
    answered: torch.Tensor
    joined: torch.Tensor

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Views:
        """The same with every tensor of the stacks and of the answers changed."""
        stacks = [
            stack.with_tensors({name: change(tensor) for name, tensor in stack.tensors.items()})
            for stack in self.stacks
        ]
        answers = [each and Answers(each.kind, change(each.outputs)) for each in self.answers]
        return replace(self, stacks=stacks, answers=answers)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Every tensor of the stacks and of the answers, in the order of :meth:`each`."""
        answers = [each.outputs for each in self.answers if each]
        return [tensor for stack in self.stacks for tensor in stack.tensors.values()] + answers

    def packed(self) -> Packed:
        """The same in one piece."""
        values = torch.cat([tensor.flatten() for tensor in self.tensors])
        return Packed(self.each(lambda tensor: tensor.to("meta")), values)


@dataclass(frozen=True)
class Packed:
    """A batch whose networks and answers are one tensor of ``values``: each tensor that goes to another process takes
    a file descriptor, and a batch of networks that are not alike has thousands. ``form`` has their shapes."""

    form: Views
    values: torch.Tensor

    def pin_memory(self) -> Packed:
        """The same where a GPU reads it without waiting: what a data loader calls."""
        return replace(self, values=self.values.pin_memory())

    def unpacked(self, device: torch.device) -> Views:
        """The batch, on a device."""
        sizes = [tensor.numel() for tensor in self.form.tensors]
        parts = iter(self.values.to(device, non_blocking=True).split(sizes))
        return self.form.each(lambda tensor: next(parts).view(tensor.shape))


@dataclass(frozen=True)
class Masks:
    """Who is like whom (rows, rows): ``positive`` and ``negative`` pairs, and ``twins``, which differ by little."""

    positive: torch.Tensor
    negative: torch.Tensor
    twins: torch.Tensor


class TrainingSet(torch.utils.data.Dataset[Views]):
    """The training networks; an item is the batch of a step, and follows from the seed and its number alone.

    ``len`` is the number of steps in an epoch, in which every network comes once; steps are numbered on through the
    epochs. The networks of a batch have about ``values`` weights at most (a step takes some 400 bytes each): of large
    ones there are fewer.
    """

    def __init__(
        self,
        networks: Prepared,
        members: Mapping[str, Listing],
        partners: Partners,
        pairs: PairSettings,
        config: EncoderConfig,
        batch_size: int,
        seed: int,
        values: int = 4_000_000,
    ) -> None:
        self.networks, self.partners, self.pairs, self.config = networks, partners, pairs, config
        self.attributes = Attributes.of([members[key] for key in networks.keys])
        self.batch_size, self.seed = batch_size, seed
        most = max(1, batch_size // (2 * HAND))  # so that no hand is larger than a step
        self._cost = np.clip(np.array(networks.sizes) * batch_size // values, 1, most)
        self._signature = np.array(networks.signatures)
        self._epoch = -1
        self._steps: list[list[list[int]]] = []

    def __len__(self) -> int:
        return -(-int(self._cost.sum()) // self.batch_size)

    def __getitem__(self, step: int) -> Views:
        epoch, place = divmod(step, len(self))
        if epoch != self._epoch:
            self._epoch, self._steps = epoch, self._dealt(epoch)
        chance = torch.Generator().manual_seed(_seed(self.seed, 1, step))
        return self.views(self._steps[place], chance)

    def views(self, hands: Sequence[Sequence[int]], chance: torch.Generator) -> Views:
        """The networks of the ``hands``, all as disguised noisy copies, and broken twins of the first half of each.

        A network that is alone in its hand comes twice. The tasks of some are relabelled: their outputs are permuted
        alike for all networks of a task, which gives new tasks.
        """
        alone = [hand[0] for hand in hands if len(hand) == 1]
        firsts = set(chain.from_iterable(hand[: -(-len(hand) // 2)] for hand in hands))
        stacks: list[Stack] = []
        answers: list[Answers | None] = []
        member: list[int] = []
        broken: list[bool] = []
        drawn = self.networks.select([*chain.from_iterable(hands), *alone])
        labels = _Labels(self.attributes.task, self.pairs.relabelled, chance, drawn)
        for held in drawn:
            held = labels.permuted(held)
            parts = [self._copy(held.stack, chance)]
            twins = [row for row, number in enumerate(held.numbers) if number in firsts]
            if twins and BROKEN_TWIN not in self.pairs.left_out and breakable(held.stack.wiring):
                parts.append(self._broken(self._copy(held.stack.select(twins), chance), chance))
            else:
                twins = []
            stacks.append(Stack.joined(parts))
            answers.append(_padded(held.answers, len(twins)))
            member += [*held.numbers, *(held.numbers[row] for row in twins)]
            broken += [False] * len(held.numbers) + [True] * len(twins)
        answered = [each is not None for each, stack in zip(answers, stacks, strict=True) for _ in stack.keys]
        is_broken = torch.tensor(broken)
        joined = torch.rand(len(member), generator=chance) < self.pairs.joined
        return Views(
            stacks, answers, torch.tensor(member), is_broken, torch.tensor(answered) & ~is_broken, joined
        )

    def masks(self, member: torch.Tensor, broken: torch.Tensor, by_weights: torch.Tensor) -> Masks:
        """Of rows with these members. Broken twins are negatives of all that are heard by their weights alone, as they
        are themselves, and no anchors."""
        own = self.attributes.at(member.numpy())
        left_out = self.pairs.left_out
        found = reasons(own.at((slice(None), None)), own.at(None), self.pairs.far_off, left_out)
        twins = torch.from_numpy(found == NAMES_TWIN)
        related = torch.from_numpy(signs(found))
        related[member[:, None] == member] = 0 if COPY in left_out else 1
        intact = ~broken
        both = intact[:, None] & intact[None, :]
        itself = torch.eye(len(intact), dtype=torch.bool)
        positive = both & (related > 0) & ~itself
        negative = both & (related < 0) & ~twins
        return Masks(positive, negative | ((intact & by_weights)[:, None] & broken[None, :]), both & twins)

    def _dealt(self, epoch: int) -> list[list[list[int]]]:
        """The hands of each step of an epoch. Those of like signatures are together, so that stacks are large; a batch
        has hands of two places at least. Hands are smaller than steps, so every step has some."""
        random = np.random.default_rng(_seed(self.seed, 0, epoch))
        buckets: dict[bytes, list[list[int]]] = {}
        for hand, bucket in self._hands(random):
            buckets.setdefault(bucket, []).append(hand)
        pieces = [
            piece
            for hands in buckets.values()
            for piece in _cut(hands, self._costs(hands), self.batch_size // 2)
        ]
        hands = [hand for number in random.permutation(len(pieces)) for hand in pieces[number]]
        ends = np.cumsum(self._costs(hands))
        step_of = np.minimum((ends - 1) * len(self) // ends[-1], len(self) - 1)
        steps: list[list[list[int]]] = [[] for _ in range(len(self))]
        for step, hand in zip(step_of.tolist(), hands, strict=True):
            steps[step].append(hand)
        return steps

    def _costs(self, hands: Sequence[Sequence[int]]) -> list[int]:
        """What each hand takes of a batch, in networks of ordinary size."""
        return [int(self._cost[hand].sum()) for hand in hands]

    def _hands(self, random: np.random.Generator) -> Iterator[tuple[list[int], bytes]]:
        """All networks in hands of at most ``HAND`` that are alike, each with the signatures around it."""
        size = min(HAND, self.batch_size // 2)
        left = np.ones(len(self.networks), bool)
        for anchor in random.permutation(len(self.networks)).tolist():
            if not left[anchor]:
                continue
            left[anchor] = False
            partners = self.partners.of(anchor)
            free = partners[left[partners]]
            drawn = random.permutation(free)[: size - 1]
            left[drawn] = False
            around = np.unique(self._signature[[anchor, *partners]])
            yield [anchor, *drawn.tolist()], around.tobytes()

    def _copy(self, stack: Stack, chance: torch.Generator) -> Stack:
        """A disguised copy that weights are dropped from and noise is added to.

        All but permutations are the identity under the canonical form, so they are left out there.
        """
        element = random_element(stack.wiring, len(stack), chance, self._strength)
        tensors = act(stack.wiring, stack.tensors, element)
        dropped = drop_weights(tensors, _share(stack, self.pairs.weight_dropout, chance), chance)
        return stack.with_tensors(add_noise(dropped, _share(stack, self.pairs.noise, chance), chance))

    @property
    def _strength(self) -> Strength:
        kept = {name: name not in self.pairs.left_out for name in SYMMETRIES}
        strength = Strength(permute=kept["permutation"], heads=kept["permutation"])
        if self.config.canonical:
            return strength
        decades = DECADES if kept["scaling"] else 0.0
        return replace(strength, decades=decades, signs=kept["signs"], mix=kept["mixing"])

    def _broken(self, stack: Stack, chance: torch.Generator) -> Stack:
        share = self.pairs.broken * (0.25 + 0.75 * torch.rand(len(stack), generator=chance))
        return stack.with_tensors(break_wiring(stack.wiring, stack.tensors, share, chance))


class _Labels:
    """Permutations of the outputs of tasks, each drawn when it is first needed; some tasks keep theirs, and so do those
    of which a network is ``drawn`` that lacks some of its outputs."""

    def __init__(
        self, task: np.ndarray, share: float, chance: torch.Generator, drawn: Sequence[Held]
    ) -> None:
        self.task, self.share, self.chance = task, share, chance
        self.kept = {int(task[number]) for held in drawn if _lacks_outputs(held) for number in held.numbers}
        self.found: dict[tuple[int, int], torch.Tensor] = {}

    def permuted(self, held: Held) -> Held:
        """The networks with the outputs of their tasks permuted, in their answers and in the layers that write them."""
        outputs = _outputs(held.stack.wiring)
        if outputs is None or _lacks_outputs(held):
            return held
        size = held.stack.wiring.groups[outputs].entries
        index = torch.stack([self._of(int(self.task[number]), size) for number in held.numbers])
        tensors = dict(held.stack.tensors)
        for wired in held.stack.wiring.writers(outputs):
            for name in wired.layer.tensors.values():
                tensors[name] = take(tensors[name], 1, index)
        answers = held.answers and Answers(held.answers.kind, take(held.answers.outputs, 2, index))
        return Held(held.numbers, held.stack.with_tensors(tensors), answers)

    def _of(self, task: int, size: int) -> torch.Tensor:
        if task < 0 or task in self.kept:
            return torch.arange(size)
        if (task, size) not in self.found:
            kept = torch.rand((), generator=self.chance) >= self.share
            drawn = torch.randperm(size, generator=self.chance)
            self.found[task, size] = torch.arange(size) if kept else drawn
        return self.found[task, size]


def _outputs(wiring: Wiring) -> str | None:
    """The group of the network's outputs: fixed, written as the first axis of whole layers, read by none."""
    for group in wiring.groups.values():
        writers = wiring.writers(group.name)
        if group.kind == FIXED and writers and not wiring.readers(group.name):
            plain = all(wired.out.dim == 0 and wired.out.block == 1 for wired in writers)
            return group.name if plain and not group.bases else None
    return None


def _lacks_outputs(held: Held) -> bool:
    """Whether the encoder is given some of many outputs alone, or answers are of others than those that are written."""
    outputs = _outputs(held.stack.wiring)
    if outputs is None:
        return False
    group = held.stack.wiring.groups[outputs]
    answered = held.answers is None or held.answers.outputs.shape[2] == group.entries
    return group.entries != group.full_size or not answered


def _padded(answers: Answers | None, rows: int) -> Answers | None:
    """The answers with so many networks more that give none."""
    if answers is None:
        return None
    silent = answers.outputs.new_full((rows, *answers.outputs.shape[1:]), torch.nan)
    return Answers(answers.kind, torch.cat([answers.outputs, silent]))


def _share(stack: Stack, most: float, chance: torch.Generator) -> torch.Tensor:
    return most * torch.rand(len(stack), generator=chance)


def _cut(hands: list[list[int]], costs: list[int], size: int) -> Iterator[list[list[int]]]:
    """The hands in pieces that cost about ``size``."""
    ends = np.cumsum(costs)
    numbers = (ends - 1) // max(1, size)
    for number in np.unique(numbers):
        yield [hands[place] for place in np.flatnonzero(numbers == number)]


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
