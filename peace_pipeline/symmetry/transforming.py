"""Checkpoints of the same function in other coordinates: a random element of the symmetry group acts on the files."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.group.actions import Action
from peace_pipeline.symmetry.group.elements import ALL, Element, Strength, Tensors, random_element
from peace_pipeline.symmetry.group.perturbations import add_noise
from peace_pipeline.symmetry.opening import LocalModel, OpenNetwork, folder_of
from peace_pipeline.symmetry.wiring.symmetries import NORMALISED, PERMUTE, SCALE, SHUFFLE, SIGN
from peace_pipeline.symmetry.wiring.types import CHAIN, INDEPENDENT, Group, Wiring
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import memory_errors
from peace_pipeline.weights.logical import LogicalTensors
from peace_pipeline.weights.parts import named_parts
from peace_pipeline.weights.rewriting import rewrite
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.zoo.card import read_config

_NOTHING = Strength(permute=False, heads=False)
_BY_FLAG = {
    "--permute": replace(_NOTHING, permute=True),
    "--scale": _NOTHING,
    "--signs": replace(_NOTHING, signs=True),
    "--heads": replace(_NOTHING, heads=True),
    "--mix": replace(_NOTHING, mix=True),
}
_MOVES = (PERMUTE, SHUFFLE)
_ROUND_NOTHING = (*_MOVES, SCALE, NORMALISED, SIGN)
"""Actions that are exact in any floating-point format, where factors are powers of two."""
_STATISTICS = ("mean", "var")
_LAYERS_AT_HAND = 4


class RefusedTransformation(ValueError):
    """A transformation that doesn't apply, or that would not leave the function as it is; with the reason."""


@dataclass(frozen=True)
class Transformation:
    """What was done to a checkpoint: the groups' actions in data-flow order, and the deviation of the noise."""

    seed: int
    noise: float
    actions: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        actions = [{"group": group, "action": action} for group, action in self.actions]
        return {"seed": self.seed, "noise": self.noise, "actions": actions}


def strengths(flags: Iterable[str], *, everything: bool, decades: float | None) -> dict[str, Strength]:
    """Flag of `peace transform` → what it asks for; ``everything`` is all of them."""
    wanted = {"--scale": replace(_NOTHING, decades=decades or ALL.decades)}
    return {flag: wanted.get(flag, _BY_FLAG[flag]) for flag in (_BY_FLAG if everything else flags)}


def transform(
    source: LocalModel,
    destination: Path,
    wanted: Mapping[str, Strength],
    *,
    lenient: bool = False,
    noise: float = 0.0,
    seed: int = 0,
    assume: bool = False,
    progress: Progress | None = None,
) -> Transformation:
    """Write a checkpoint of the same function, a folder in Hub layout or a single file: a random element of the
    symmetry group acts on it, of the strengths in ``wanted`` (each with a name for messages) together.

    Below float32 scales are powers of two and nothing is rounded; else layers are computed in float32, or in float64
    where they are stored so. Permutations alone move the stored values. At the end every weight (not the running
    statistics of norms) gets Gaussian ``noise`` of so many standard deviations of its tensor. One layer is in memory
    at a time, and what the last ones still have to give. The destination appears when it is whole.

    Raises:
        RefusedTransformation: where one of ``wanted`` applies to no group (``lenient``: where none does), would have
            to round below float32 (``lenient``: what would is left out), or gives values that its dtype can't hold;
            where the wiring isn't known, or is assumed and not to be (``assume``); where only a part of the
            checkpoint is there.
        RefusedDestination: where the destination exists or doesn't suit.
        UnreadableCheckpoint: where the source can't be read, or is stored in a way that can't be overwritten.
    """
    if any(prefix for _, prefix in named_parts(source.weights).values()):
        raise RefusedTransformation("a whole of several parts, to be transformed one by one")
    with memory_errors(), open_checkpoint(source.weights) as checkpoint:
        opened = OpenNetwork.of(checkpoint, read_config(folder_of(source.path, source.weights)))
        network, wiring = opened.logical, opened.wiring
        if network.sampled:
            raise RefusedTransformation("only a part of its values is there")
        is_short = any(map(_is_short, network.tensors.values()))
        if wanted and wiring.assumes and not assume:
            raise RefusedTransformation(
                f"nothing proves that {' and '.join(wiring.assumes)}: `--assume {CHAIN}` takes it as given"
            )
        acting = _acting(opened, wanted, lenient, is_short)
        element = random_element(
            acting, 1, torch.Generator().manual_seed(seed), _joint(wanted.values()), dtype=torch.float64
        )
        new = _NewTensors(network, wiring, _in_powers_of_two(element) if is_short else element, noise, seed)
        done = 0

        def stored(name: str) -> torch.Tensor | None:
            nonlocal done
            done += 1
            if progress:
                progress(done, len(checkpoint.tensors))
            return network.rewritten(name, new)

        rewrite(source.path, destination, source.weights, stored)
    actions = tuple((group.name, action) for group in acting.groups.values() for action in group.actions)
    return Transformation(seed, noise, actions)


def _is_short(info: TensorInfo) -> bool:
    """Whether a tensor is stored in fewer bits than float32 has."""
    return (info.stored or info.dtype).startswith(("float16", "bfloat16", "float8"))


def _joint(strengths: Iterable[Strength]) -> Strength:
    """All of the strengths in one."""
    joint = _NOTHING
    for other in strengths:
        joint = Strength(*(max(pair) for pair in zip(astuple(joint), astuple(other), strict=True)))
    return joint


def _acting(opened: OpenNetwork, wanted: Mapping[str, Strength], lenient: bool, is_short: bool) -> Wiring:
    """The wiring with those actions alone that an element is sampled from."""
    wiring, network = opened.wiring, opened.logical
    if wanted and wiring.method == INDEPENDENT:
        raise RefusedTransformation(opened.reason)
    possible = _unrounded(wiring, network) if is_short else wiring
    for name, strength in {} if lenient else wanted.items():
        if not _sampled(wiring, strength):
            raise RefusedTransformation(f"{name} applies to no group of this network")
        if not _sampled(possible, strength):
            raise RefusedTransformation(f"{name} would round values that are stored in less than float32")
    actions = _sampled(possible, _joint(wanted.values()))
    if wanted and not actions:
        more = " that would not round its values" if is_short else ""
        raise RefusedTransformation(f"no symmetry of this network is known{more}: {opened.reason}")
    groups = {name: replace(group, actions=actions.get(name, ())) for name, group in wiring.groups.items()}
    return replace(wiring, groups=groups)


def _sampled(wiring: Wiring, strength: Strength) -> dict[str, tuple[str, ...]]:
    """Group → the actions that an element of this strength really has on it."""
    sampled = {
        group.name: tuple(
            action for action in strength.sampled(wiring, group) if action != PERMUTE or group.size > 1
        )
        for group in wiring.groups.values()
    }
    return {name: actions for name, actions in sampled.items() if actions}


def _unrounded(wiring: Wiring, network: LogicalTensors) -> Wiring:
    """The wiring with those actions that round nothing, where factors are powers of two. Tensors that are computed
    from the stored ones (gains that are stored less one) may only be permuted."""
    computed: set[str] = set()
    for wired in wiring.layers:
        if any(network.tensors[name].stored for name in wired.layer.tensors.values()):
            computed |= {axis.group for axis in wired.axes if axis.charge}
    computed |= {part for name in computed for part in wiring.groups[name].parts}

    def kept(group: Group) -> tuple[str, ...]:
        unrounded = _MOVES if group.name in computed else _ROUND_NOTHING
        return tuple(action for action in group.actions if action in unrounded)

    groups = {name: replace(group, actions=kept(group)) for name, group in wiring.groups.items()}
    return replace(wiring, groups=groups)


def _in_powers_of_two(element: Element) -> Element:
    scales = {name: scale.sign() * 2 ** scale.abs().log2().round() for name, scale in element.scales.items()}
    return replace(element, scales=scales)


class _NewTensors:
    """The new values of logical tensors, acted on layer by layer; keeps what the last layers still have to give."""

    def __init__(
        self, network: LogicalTensors, wiring: Wiring, element: Element, noise: float, seed: int
    ) -> None:
        self._network, self._action = network, Action(wiring, element)
        self._noise, self._seed = noise, seed
        self._only_moves = not noise and not any(
            getattr(element, part.name) for part in fields(element) if part.name != "permutations"
        )
        self._owners: dict[str, int | str] = {}
        """Logical tensor → the position of its layer, or the group that it is the norm before."""
        for position, wired in enumerate(wiring.layers):
            if wired.into and wired.before:
                self._owners |= dict.fromkeys(wired.before.tensors.values(), wired.into.group)
            for own in wired.own:
                self._owners |= dict.fromkeys(own.tensors.values(), position)
        self._statistics = {
            own.tensors[role]
            for wired in wiring.layers
            for own in wired.own
            for role in _STATISTICS
            if role in own.tensors
        }
        self._kept: OrderedDict[int | str, Tensors] = OrderedDict()

    def __call__(self, name: str, old: torch.Tensor) -> torch.Tensor | None:
        """See :data:`peace_pipeline.weights.logical.NewValues`.

        Raises:
            RefusedTransformation: where the tensor's dtype can't hold them.
        """
        if name not in self._owners:
            return None
        acted = self._acted(name, old)
        new = acted.to(old.dtype)
        if not (self._only_moves or _holds(new, acted)):
            raise RefusedTransformation(
                f"tensor {name!r}: {dtype_name(old.dtype)} can't hold its new values: a smaller --scale may do"
            )
        if self._noise and name not in self._statistics:
            new = self._noisy(name, acted).to(old.dtype)
        return None if _same(new, old) else new

    def _acted(self, name: str, old: torch.Tensor) -> torch.Tensor:
        """A tensor's values in the dtype that its layer is computed in."""
        owner = self._owners[name]
        if name not in self._kept.get(owner, ()):
            dtype = None if self._only_moves else self._dtype(owner)

            def read(other: str) -> torch.Tensor:
                tensor = old if other == name else self._network.read(other, None)
                return tensor[None] if dtype is None else tensor[None].to(dtype)

            self._kept[owner] = (
                self._action.norm(owner, read)
                if isinstance(owner, str)
                else self._action.layer(self._action.wiring.layers[owner], read)
            )
            while len(self._kept) > _LAYERS_AT_HAND:
                self._kept.popitem(last=False)
        return self._kept[owner].pop(name)[0]

    def _dtype(self, owner: int | str) -> torch.dtype:
        """What a layer is computed in: float64 where one of its tensors is."""
        wiring = self._action.wiring
        norm = wiring.norm_before(owner) if isinstance(owner, str) else None
        layers = [norm] if norm else wiring.layers[int(owner)].own
        names = [name for layer in layers for name in layer.tensors.values()]
        is_double = any(self._network.tensors[name].dtype == "float64" for name in names)
        return torch.float64 if is_double else torch.float32

    def _noisy(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """A tensor with noise: the same whenever it is asked for."""
        digest = hashlib.sha256(f"{self._seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        return add_noise({name: values[None]}, self._noise, generator)[name][0]


def _holds(stored: torch.Tensor, values: torch.Tensor) -> bool:
    """Whether values are stored as they are; of those that round anyway, whether they are finite."""
    if stored.element_size() >= torch.float32.itemsize:
        return bool(stored.isfinite().all())
    return torch.equal(stored.to(values.dtype), values)


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit."""
    return torch.equal(*(tensor.contiguous().view(torch.uint8) for tensor in (first, second)))
