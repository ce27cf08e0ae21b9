"""Training batches: networks, their noisy copies and their broken twins, with who is like whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.pair_rule import Attributes, reasons, signs
from peace_pipeline.encoder.pairs import Partners
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import ALL, Strength, random_element
from peace_pipeline.symmetry.group.perturbations import add_noise, break_wiring, breakable, drop_weights
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.zoo.listing import Listing

INTACT, BROKEN = 0, 1


@dataclass(frozen=True)
class Views:
    """A training batch. For each row of the stacks, in order: ``member`` (which network) and ``view``."""

    stacks: list[Stack]
    member: torch.Tensor
    view: torch.Tensor


class TrainingSet(torch.utils.data.Dataset[int]):
    """The training networks in memory, stacked; an item is a network's number, a batch is :class:`Views`.

    Networks are numbered in the order of ``keys_of(stacks)``.
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        members: Mapping[str, Listing],
        partners: Partners,
        pairs: PairSettings,
        config: EncoderConfig,
        seed: int,
    ) -> None:
        self.stacks = list(stacks)
        self.attributes = Attributes.of([members[key] for key in keys_of(stacks)])
        self.partners, self.pairs, self.config = partners, pairs, config
        self.generator = torch.Generator().manual_seed(seed)
        self._starts = np.cumsum([0, *(len(stack) for stack in stacks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, member: int) -> int:
        return member

    def collate(self, anchors: list[int]) -> Views:
        """The anchors and a positive partner of each, all as disguised noisy copies, and the anchors' broken twins.

        The partner of an anchor that has no other positive is a second copy of itself.
        """
        partners = [self._partner(anchor) for anchor in anchors]
        alone = [anchor for anchor, partner in zip(anchors, partners, strict=True) if anchor == partner]
        intact = sorted([*set(anchors) | set(partners), *alone])
        stack_of = np.searchsorted(self._starts, intact, "right") - 1
        stacks, members, views = [], [], []
        for number in np.unique(stack_of):
            stack, start = self.stacks[number], int(self._starts[number])
            own = [intact[place] for place in np.flatnonzero(stack_of == number)]
            parts = [self._copy(stack.select([member - start for member in own]))]
            twins = sorted(set(own) & set(anchors)) if self._breakable(stack) else []
            if twins:
                parts.append(self._broken(self._copy(stack.select([member - start for member in twins]))))
            stacks.append(Stack.joined(parts))
            members += own + twins
            views += [INTACT] * len(own) + [BROKEN] * len(twins)
        return Views(stacks, torch.tensor(members), torch.tensor(views))

    @staticmethod
    def _breakable(stack: Stack) -> bool:
        return bool(breakable(stack.wiring))

    def twins(self, batch: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the intact networks that have a broken twin in the batch, and the rows of those twins."""
        broken = (batch.view == BROKEN).nonzero().flatten()
        intact = (batch.view == INTACT).nonzero().flatten()
        row_of = dict(zip(batch.member[intact].tolist(), intact.tolist(), strict=True))
        return torch.tensor(
            [row_of[member] for member in batch.member[broken].tolist()], dtype=torch.long
        ), broken

    def masks(self, batch: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """Positive and negative masks (rows, rows). Broken twins are negatives of all, and no anchors."""
        own = self.attributes.at(batch.member.numpy())
        found = reasons(own.at((slice(None), None)), own.at(None), self.pairs.far_off)
        related = torch.from_numpy(signs(found))
        intact = batch.view != BROKEN
        both = intact[:, None] & intact[None, :]
        itself = torch.eye(len(intact), dtype=torch.bool)
        positive = both & (related > 0) & ~itself
        negative = (both & (related < 0)) | (intact[:, None] & ~intact[None, :])
        return positive, negative

    def _partner(self, anchor: int) -> int:
        """A random positive of the anchor; itself where it has no other."""
        partners = self.partners.of(anchor)
        if not len(partners):
            return anchor
        return int(partners[int(torch.randint(len(partners), (1,), generator=self.generator))])

    def _copy(self, stack: Stack) -> Stack:
        """A disguised copy that weights are dropped from and noise is added to.

        All but permutations are the identity under the canonical form, so they are left out there.
        """
        strength = Strength() if self.config.canonical else ALL
        element = random_element(stack.wiring, len(stack), self.generator, strength)
        tensors = act(stack.wiring, stack.tensors, element)
        dropped = drop_weights(tensors, self._share(stack, self.pairs.weight_dropout), self.generator)
        return stack.with_tensors(add_noise(dropped, self._share(stack, self.pairs.noise), self.generator))

    def _share(self, stack: Stack, most: float) -> torch.Tensor:
        return most * torch.rand(len(stack), generator=self.generator)

    def _broken(self, stack: Stack) -> Stack:
        share = self.pairs.broken * (0.25 + 0.75 * torch.rand(len(stack), generator=self.generator))
        return stack.with_tensors(break_wiring(stack.wiring, stack.tensors, share, self.generator))


def keys_of(stacks: Sequence[Stack]) -> list[str]:
    """What the networks of the stacks are called, in order."""
    return [key for stack in stacks for key in stack.keys]
