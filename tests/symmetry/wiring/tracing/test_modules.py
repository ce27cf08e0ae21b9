"""What is claimed of networks that no table has, proven by running them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from peace_pipeline.symmetry.group.elements import is_of_heads
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.testing import STRENGTHS, assert_invariant, assert_module_invariant
from peace_pipeline.symmetry.wiring.symmetries import GAIN, PERMUTE, SCALE, SIGN
from peace_pipeline.symmetry.wiring.tracing import trace
from peace_pipeline.symmetry.wiring.tracing.libraries import wiring_in_library
from peace_pipeline.symmetry.wiring.types import Wiring, WiringMismatch
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.logical import LogicalTensors
from peace_pipeline.zoo.card import read_config
from tests.specimens import FAMILIES, Specimen
from tests.specimens.plain import LABELS, normal
from tests.specimens.running import Saved
from tests.specimens.specimen import TorchSpecimen, draw
from tests.symmetry.wiring.tracing.networks import CLAIMS, LIBRARY, claims, flattened, squeezenet, transformer


class Traced(Saved):
    """A saved specimen whose wiring is traced: of a class of transformers, else of the module itself."""

    @contextmanager
    def _opened(self) -> Iterator[tuple[LogicalTensors, Wiring]]:
        config = read_config(self.folder)
        with open_checkpoint(self._weights) as checkpoint:
            network = OpenNetwork.of(checkpoint, {**config, "architectures": None}).logical
            if "architectures" not in config:
                yield network, trace(self.module, *self.specimen.inputs(1).values())
                return
            shapes = {name: info.shape for name, info in network.tensors.items() if info.is_floating}
            yield network, wiring_in_library(shapes, config)


class Gated(nn.Module):
    """A residual block with a projection and gates of channels (Hu et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(6, 9, 3, padding=1),
            nn.BatchNorm2d(9),
            nn.ReLU(),
            nn.Conv2d(9, 8, 3, padding=1),
            nn.BatchNorm2d(8),
        )
        self.gate = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8), nn.Sigmoid())
        self.project = nn.Sequential(nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, LABELS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        inner = self.body(x)
        inner = inner * self.gate(inner.mean((2, 3)))[:, :, None, None]
        return self.head(F.relu(inner + self.project(x)).mean((2, 3)))


class UNet(nn.Module):
    """Channels of before and after a bottleneck, joined (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 10, 3, padding=1)
        self.up, self.act = nn.ConvTranspose2d(10, 7, 2, stride=2), nn.PReLU(7)
        self.norm, self.mix = nn.GroupNorm(1, 13), nn.Conv2d(13, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        early = F.relu(self.down(x))
        late = self.act(self.up(F.relu(self.inner(F.max_pool2d(early, 2)))))
        return self.out(torch.tanh(self.mix(self.norm(torch.cat([late, early], 1)))))


class Mixer(nn.Module):
    """Layers along places and along channels in turn (Tolstikhin et al. 2021), the same block twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(3, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.norm1, self.norm2, self.norm = nn.LayerNorm(8), nn.RMSNorm(8), nn.LayerNorm(8)
        self.along = nn.Sequential(nn.Linear(6, 7), nn.GELU(), nn.Linear(7, 6))
        self.up, self.gate, self.down = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)
        self.scale, self.head = nn.Parameter(torch.ones(8)), nn.Linear(8, LABELS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.places
        for _ in range(2):
            x = x + self.along(self.norm1(x).transpose(1, 2)).transpose(1, 2)
            inner = self.norm2(x)
            x = x + self.scale * self.down(self.up(inner) * F.silu(self.gate(inner)))
        return self.head(self.norm(x).mean(1))


def plain(module: Callable[[], nn.Module], *shape: int) -> Specimen:
    return TorchSpecimen(normal(*shape), module, {})


MODULES: dict[str, Specimen] = {
    "squeezenet": plain(squeezenet, 3, 12, 12),
    "gated": plain(Gated, 3, 10, 10),
    "unet": plain(UNet, 3, 8, 8),
    "mixer": plain(Mixer, 6, 3),
    "flattened": plain(flattened, 3, 6, 6),
    "transformer": plain(transformer, 7, 3),
}


@pytest.mark.parametrize("name", [*MODULES, *LIBRARY])
def test_all_that_is_claimed_leaves_the_function_as_it_is(name: str, tmp_path: Path) -> None:
    saved = Traced.build((MODULES | LIBRARY)[name], tmp_path / "old")
    assert saved.wiring.method == "traced"
    assert claims(saved.wiring) == CLAIMS[name]
    assert Wiring.from_json(saved.wiring.to_json()) == saved.wiring
    assert_invariant(saved.function(tmp_path / "new"), saved.wiring, saved.tensors)


@pytest.mark.parametrize("name", ["gated", "unet", "mixer", "flattened"])
def test_whatever_moves_has_to(name: str, tmp_path: Path) -> None:
    saved = Traced.build(MODULES[name], tmp_path / "old")
    other = saved.acted(saved.element(STRENGTHS["permutation"]), tmp_path / "new")
    left_out = saved.left_out(other)
    assert len(left_out) > 8
    assert min(left_out.values()) > 1e-4


def test_groups_are_found_where_they_are(tmp_path: Path) -> None:
    unet = Traced.build(MODULES["unet"], tmp_path).wiring
    groups = unet.groups
    mix = next(wired for wired in unet.layers if wired.layer.name == "mix")
    assert mix.into is not None
    parts = groups[mix.into.group].parts or groups[groups[mix.into.group].along or ""].parts
    assert [groups[part].size for part in parts] == [7, 6]
    flat = trace(flattened(), torch.zeros(2, 3, 6, 6))
    first, reader = flat.layers[:2]
    assert reader.into is not None
    assert first.norm is not None
    assert (reader.into.group, reader.into.block) == (first.out.group, 4)


TABLES = ("resnet_basic_hf", "resnet_bottleneck_hf", "convnext_hf", "vit_hf", "bert_mlm", "llama")


@pytest.mark.parametrize("name", TABLES)
def test_traces_agree_with_tables(name: str, tmp_path: Path) -> None:
    """The same permutations but for those of heads, over the same axes, and else no more than
    factors: a learned scale is a layer, and the last norm of BERT is read by the head alone."""
    saved = Traced.build(FAMILIES[name], tmp_path)
    table = Saved(saved.specimen, saved.folder, saved.module).wiring
    assert table.method == "family"
    assert moved_together(saved.wiring) == moved_together(table)
    assert claims(saved.wiring) <= claims(table) | {SCALE, SIGN, GAIN}


def moved_together(wiring: Wiring) -> set[frozenset[tuple[str, int]]]:
    """For each permutation (but those of heads) the dimensions of weights and gains that it moves."""
    axes: dict[str, set[tuple[str, int]]] = {}
    for wired in wiring.layers:
        moved = [(axis.group, wired.weight, axis.dim) for axis in wired.axes]
        moved += [(wired.out.group, wired.norm.tensors.get("gain", ""), 0)] if wired.norm else []
        moved += [(wired.into.group, wired.before.tensors["gain"], 0)] if wired.into and wired.before else []
        for name, tensor, dim in moved:
            group = wiring.groups[name]
            while group.along:
                group = wiring.groups[group.along]
            if PERMUTE in group.actions and not is_of_heads(wiring, group):
                axes.setdefault(group.name, set()).add((tensor, dim))
    return {frozenset(moved) for moved in axes.values()}


@dataclass(frozen=True)
class Step:
    """One operation on the ``a``-th and ``b``-th last results so far."""

    kind: str
    a: int
    b: int
    width: int


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "gelu": F.gelu, "twice": lambda x: 2 * x,
    "more": lambda x: x + 1, "max": partial(F.max_pool2d, kernel_size=3, stride=1, padding=1),
    "mean": partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1), "softmax": partial(torch.softmax, dim=1),
    "half": lambda x: x.chunk(2, 1)[0], "unit": partial(F.normalize, dim=1), "turned": lambda x: x.transpose(2, 3),
    "mixed": lambda x: x.view(len(x), 2, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2),
    "roll": lambda x: x.roll(1, 1),
    "cumulative": lambda x: x.cumsum(1), "in place": lambda x: x.clone().relu_(),
}  # fmt: skip

LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "conv": partial(nn.Conv2d, kernel_size=3, padding=1), "pointwise": partial(nn.Conv2d, kernel_size=1),
    "norm": lambda into, _: nn.BatchNorm2d(into), "depthwise": lambda into, _: nn.Conv2d(into, into, 1, groups=into),
    "grouped": lambda into, _: nn.Conv2d(into, into, 1, groups=2), "channels": lambda into, _: nn.GroupNorm(1, into),
}  # fmt: skip

PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add, "multiply": torch.mul, "subtract": torch.sub, "larger": torch.maximum,
    "joined": lambda a, b: torch.cat([a, b], 1), "gate": lambda a, b: a * torch.sigmoid(b.mean((2, 3), keepdim=True)),
}  # fmt: skip


class Random(nn.Module):
    """A network of drawn steps on images (channels, 4, 4); all pairs have as many channels as the smaller has."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps, self.layers = steps, nn.ModuleDict()
        self.stem = nn.Conv2d(3, 4, 1)
        x = [self.stem(torch.zeros(1, 3, 4, 4))]
        for number, step in enumerate(steps):
            if step.kind in LAYERS:
                layer = LAYERS[step.kind](x[-1 - step.a % len(x)].shape[1], step.width)
                self.layers[str(number)] = layer.eval()
            x.append(self.step(number, step, x))
        self.head = nn.Linear(x[-1].shape[1], LABELS)

    def step(self, number: int, step: Step, x: list[Tensor]) -> Tensor:
        a, b = x[-1 - step.a % len(x)], x[-1 - step.b % len(x)]
        if step.kind in ACTIVATIONS:
            return ACTIVATIONS[step.kind](a)
        if step.kind in LAYERS:
            return self.layers[str(number)](a)
        width = min(a.shape[1], b.shape[1])
        return PAIRS[step.kind](a[:, :width], b[:, :width])

    def forward(self, x: Tensor) -> Tensor:
        results = [self.stem(x)]
        for number, step in enumerate(self.steps):
            results.append(self.step(number, step, results))
        return self.head(results[-1].mean((2, 3)))


STEPS = st.builds(
    Step,
    st.one_of(
        *(st.sampled_from(list(kinds)) for kinds in (ACTIVATIONS, LAYERS, PAIRS, ["conv", "pointwise"]))
    ),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.integers(0, 4),
    st.sampled_from([4, 6, 8]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=9))
def test_random_networks(steps: list[Step]) -> None:
    specimen = TorchSpecimen(normal(3, 4, 4), lambda: Random(steps), {})
    module, inputs = specimen.build(0), specimen.inputs(1)
    wiring = trace(module, *inputs.values())
    assume(claims(wiring) and specimen.run(module, inputs).std(0).mean() > 1e-6)
    assert_module_invariant(module, wiring, *inputs.values())


def test_what_is_unknown_is_fixed() -> None:
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.cummax(self.first(x), 1).values)

    assert not claims(trace(Unknown(), torch.zeros(2, 3)))


def test_control_flow_on_values_is_refused() -> None:
    class Branching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(WiringMismatch, match="can't be traced"):
        trace(Branching(3, 2), torch.zeros(1, 3))


def test_a_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    trace(module, draw(torch.Generator(), 3).float())
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


class Written(nn.Module):
    """Two layers, and between them what ``between`` does with the hidden units."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(5, 8), nn.Linear(8, LABELS), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(torch.relu(self.first(x))))


def masked(h: Tensor) -> Tensor:
    mask = torch.ones(8, dtype=h.dtype, device=h.device)
    mask[4:] = 0
    return h * mask


def one_by_one(h: Tensor) -> Tensor:
    out, state = torch.zeros_like(h), torch.zeros_like(h[:, 0])
    for t in range(h.shape[1]):
        state = 0.5 * state + h[:, t]
        out[:, t] = state
    return out


def seen_from_beside(h: Tensor) -> Tensor:
    h = h.clone()
    late = h[..., 4:]
    h[..., 2:] = 1.0
    return h[..., :4].repeat(1, 1, 2) + late.sum(-1, keepdim=True)


def at_places(h: Tensor) -> Tensor:
    out = torch.zeros(3, 7, 8, dtype=h.dtype, device=h.device)
    out[torch.tensor([0, 2], device=h.device)] = h[:2]
    return out[: len(h)]


WRITES: dict[str, tuple[Callable[[Tensor], Tensor], set[str]]] = {
    "masked": (masked, set()),
    "one by one": (one_by_one, {PERMUTE}),
    "seen from beside": (seen_from_beside, set()),
    "at places": (at_places, {PERMUTE}),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_to_in_part_is_what_it_was_and_what_it_is(name: str) -> None:
    between, claimed = WRITES[name]
    inputs = torch.randn(3, 7, 5, dtype=torch.float64)
    module = plain(lambda: Written(between), 7, 5).build(0)
    wiring = trace(module, inputs)
    assert claims(wiring) == claimed
    if claimed:
        assert_module_invariant(module, wiring, inputs)
