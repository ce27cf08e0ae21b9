"""Holding what PEACE claims of a subject against what the subject computes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from peace_pipeline.comparison.thresholds import THRESHOLDS, Thresholds
from peace_pipeline.comparison.verdict import EQUIVALENT, describe
from peace_pipeline.symmetry.opening import LocalModel, OpenNetwork
from peace_pipeline.symmetry.testing import STRENGTHS, acted
from peace_pipeline.symmetry.transforming import RefusedTransformation, strengths, transform
from peace_pipeline.symmetry.wiring.tracing import trace
from peace_pipeline.symmetry.wiring.types import INDEPENDENT, Wiring, WiringMismatch
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.zoo.card import read_config

from .subject import Outputs, Plain, Subject, Unbuildable

GROUPS = PLAIN_CHECKPOINTS, FOLLOWED, LIBRARY = (
    "plain modules, their checkpoints alone", "plain modules, followed by `trace`", "classes of transformers",
)  # fmt: skip
VERDICTS = RIGHT, ASSUMED, REFUSED, ASSUMED_WRONG, WRONG, UNTRIED = (
    "right", "assumed", "refused", "assumed, wrong", "wrong", "not tried",
)  # fmt: skip
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Outcome:
    """What came of a subject of a group: ``reason`` says why it was refused or not tried, what is assumed, or which
    actions are wrong; ``moved`` is how far the outputs moved, relative to their largest; ``compared`` is what `peace
    compare` says of the two."""

    name: str
    group: str
    kind: str
    verdict: str
    reason: str = ""
    wiring: str = ""
    moved: float | None = None
    compared: str = ""

    @property
    def false_equivalence(self) -> bool:
        """Whether two functions are said to be equivalent, with no assumption, that are not."""
        return self.verdict == WRONG and self.compared == EQUIVALENT

    @property
    def missed(self) -> bool:
        """Whether the same function isn't said to be equivalent."""
        return self.verdict in (RIGHT, ASSUMED) and self.compared not in ("", EQUIVALENT)


def judged(subject: Subject, group: str, seed: int = 0) -> Outcome:
    """Transform a subject's checkpoint by all that is claimed of it, and run it before and after.

    Raises:
        Unbuildable: where it can't be built, run, or loaded again as it was.
    """
    module = subject.build(seed)
    inputs = subject.inputs(module)
    about = (subject.name, group, subject.kind)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "own").mkdir()
        path = subject.save(module, Path(folder) / "own")
        loaded = subject.load(path)
        before = [subject.run(loaded, each) for each in inputs]
        if any(moved(subject.run(module, x), own) > TOLERANCE for x, own in zip(inputs, before, strict=True)):
            raise Unbuildable("what is loaded isn't what was saved")
        local = LocalModel(path, weight_files(path))
        try:
            wiring, reason = read_as(local)
        except UnreadableCheckpoint as error:
            return Outcome(*about, REFUSED, str(error))

        def after(*flags: str) -> float:
            """How far all actions, or those of some flags alone, move the outputs."""
            destination = Path(folder) / "_".join(("new", *flags)) / path.name
            destination.parent.mkdir()
            wanted = strengths(flags, everything=not flags, decades=None)
            transform(local, destination, wanted, lenient=True, seed=seed, assume=True)
            new = subject.load(destination)
            pairs = zip(inputs, before, strict=True)
            return max(moved(subject.run(new, each), own) for each, own in pairs)

        try:
            far = after()
        except (RefusedTransformation, UnreadableCheckpoint) as error:
            why = reason if wiring.method == INDEPENDENT else str(error)
            return Outcome(*about, REFUSED, why, wiring.method)
        compared = compared_as(local, Path(folder) / "new" / path.name)
        flags = "" if far <= TOLERANCE else _wrong_kinds(after, strengths((), everything=True, decades=None))
        return verdict(about, wiring, far, compared, flags)


def followed(subject: Plain, name: str, seed: int = 0) -> Outcome:
    """Hold what `trace` claims of a plain module against what it computes.

    Raises:
        Unbuildable: where it can't be run.
    """
    module = subject.build(seed)
    inputs = subject.inputs(module)
    before = [subject.run(module, each) for each in inputs]
    about = (name, FOLLOWED, subject.kind)
    try:
        wiring = trace(module, *inputs[0].values())
    except WiringMismatch as error:
        return Outcome(*about, REFUSED, str(error))
    if not any(group.actions for group in wiring.groups.values()):
        return Outcome(*about, REFUSED, "it has no symmetry that is known", wiring.method)
    state = module.state_dict()
    infos = [TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in state.items()]
    views = {name: (view, view.sources[0]) for name, view in views_of(infos, {}).items()}
    tensors = {name: view.get(state[source])[None] for name, (view, source) in views.items()}

    def after(*flags: str) -> float:
        strength = STRENGTHS[flags[0] if flags else "all"]
        new, acted_on = subject.build(seed), acted(wiring, tensors, strength, seed)
        changed = {name: x.clone() for name, x in state.items()}
        for name, (view, source) in views.items():
            changed[source] = view.put(changed[source], acted_on[name][0])
        new.load_state_dict(changed)
        pairs = zip(inputs, before, strict=True)
        return max(moved(subject.run(new, each), own) for each, own in pairs)

    far = after()
    return verdict(about, wiring, far, "", "" if far <= TOLERANCE else _wrong_kinds(after, STRENGTHS))


def verdict(about: tuple[str, str, str], wiring: Wiring, far: float, compared: str, flags: str) -> Outcome:
    """What comes of a wiring whose actions move the outputs so far."""
    right, wrong = (ASSUMED, ASSUMED_WRONG) if wiring.assumes else (RIGHT, WRONG)
    why = "; ".join(filter(None, (" and ".join(wiring.assumes), flags)))
    return Outcome(
        *about, right if far <= TOLERANCE else wrong, why, wiring.family or wiring.method, far, compared
    )


def read_as(local: LocalModel) -> tuple[Wiring, str]:
    """A checkpoint's wiring, and why it is this one."""
    with open_checkpoint(local.weights) as checkpoint:
        opened = OpenNetwork.of(checkpoint, read_config(local.weights[0].parent))
        return opened.wiring, opened.reason


def compared_as(a: LocalModel, path: Path) -> str:
    """The verdict of `peace compare`."""
    shipped = json.loads((resources.files("peace_pipeline.comparison") / THRESHOLDS).read_text())
    thresholds = Thresholds(shipped["tolerance"], shipped["derived"])
    with open_checkpoint(a.weights) as first, open_checkpoint(weight_files(path)) as second:
        config, folder = read_config(a.weights[0].parent), a.weights[0].parent
        x = OpenNetwork.of(first, config, folder)
        y = OpenNetwork.of(second, config, weight_files(path)[0].parent)
        try:
            return describe(x, y, thresholds)["verdict"]
        except Exception as error:
            return f"fails: {type(error).__name__}: {error}"


def moved(after: Outputs, before: Outputs) -> float:
    """The largest difference of any output, relative to the largest value of that output; infinite where one is no
    number any more."""
    far = 0.0
    for new, old in zip(after, before, strict=True):
        if old.numel():
            apart = (new - old).abs().amax() / old.abs().amax().clamp(min=torch.finfo(old.dtype).tiny)
            far = max(far, float("inf") if apart.isnan() else float(apart))
    return far


def _wrong_kinds(after: Callable[..., float], kinds: Iterable[str]) -> str:
    """Which kinds of actions move the outputs, each alone."""
    wrong = []
    for kind in kinds:
        with suppress(RefusedTransformation):
            if after(kind) > TOLERANCE:
                wrong.append(kind)
    return f"wrong: {' '.join(wrong)}" if wrong else "wrong: only all together"
