"""What the names and shapes of a checkpoint say that has no config.json: the family, and the settings of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peace_pipeline.weights.conventions import CONVENTIONS, number_in
from peace_pipeline.weights.conventions.facts import Conventions, Marks
from peace_pipeline.weights.logical.tensors import views_of
from peace_pipeline.weights.tensors import Settings, TensorInfo

_FEWEST_HEADS = 4
"""Of networks that are too narrow for heads of the usual width."""
_WIDTH = 64
_WIDE, _WIDTH_OF_WIDE = 3072, 128
"""Of decoders with rotary positions, from this width on."""
_WIDTHS = {"inv_freq": 2, "self_attn.q_norm.weight": 1, "self_attn.query_layernorm.weight": 1}
"""End of a vector's name → entries of a head for each of its values."""
_COUNTED = "relative_attention_bias.weight"
"""Has a value for each head."""
_OF_GGUF_NUMBERS = {"num_experts_per_tok": "expert_used_count"}
_OF_GGUF = {"rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base"}


@dataclass(frozen=True)
class Recognised:
    """A config.json, with what it doesn't say; ``assumes``: what of that is taken for granted, in words."""

    config: dict[str, Any]
    assumes: tuple[str, ...] = ()


def recognised(
    tensors: Iterable[TensorInfo], config: Mapping[str, Any], settings: Settings | None = None
) -> Recognised:
    """The config of a checkpoint with these stored tensors: as it is where it says of what network it is, else with
    what names, shapes and the ``settings`` of a GGUF file say. A number of heads that these leave open is the usual one
    for their width.
    """
    said = dict(config)
    if any(said.get(key) for key in ("model_type", "architecture", "architectures", "peft_type")):
        return Recognised(said)
    tensors = list(tensors)
    shapes = {name: view.info.shape for name, view in views_of(tensors, said).items()}
    shapes |= {info.name: info.shape for info in tensors if info.name not in shapes}
    names = _Names(shapes)
    kind = (settings or {}).get("general.architecture")

    def told(found: tuple[Conventions, Marks]) -> tuple[bool, int]:
        return _is_said(*found, kind), len(found[1].names) + len(found[1].exactly)

    found = max(_fitting(names, kind), key=told, default=None)
    if found is None:
        return Recognised(said)
    conventions, marks = found
    guess: dict[str, Any] = {
        "model_type": conventions.model_types[0],
        "tie_word_embeddings": True,
        **marks.config,
    }
    if marks.language is not None and names.before(marks.names[0]).endswith(marks.language[1]):
        guess["architectures"] = [marks.language[0]]
    guess |= {key: size for key, (weight, axis) in marks.sizes.items() if (size := names.size(weight, axis))}
    guess |= said_in_gguf(settings or {})
    assumes = [f"it is a {guess['model_type']}, as its names and shapes say"]
    counted = _Heads(names, settings or {}, said)
    for key, count in counted.all(marks).items():
        part, _, own = key.rpartition(".")
        (guess.setdefault(part, {}) if part else guess)[own] = count
    if counted.assumed:
        assumes.append(f"its attention has {' and '.join(counted.assumed)}")
    return Recognised(guess | said, tuple(assumes))


def said_in_gguf(said: Settings) -> dict[str, Any]:
    """What a GGUF file says beside numbers of heads."""
    kind = said.get("general.architecture")
    found = {key: said.get(f"{kind}.{name}") for key, name in _OF_GGUF.items()}
    counts = {key: number_in(said, f"{kind}.{name}") for key, name in _OF_GGUF_NUMBERS.items()}
    return {key: float(f"{value:.7g}") for key, value in found.items() if isinstance(value, float)} | {
        key: count for key, count in counts.items() if count
    }


def _fitting(names: _Names, kind: object) -> Iterable[tuple[Conventions, Marks]]:
    """Families and their marks that are all there: of the family that a GGUF file says it is, if that has marks. What
    sizes alone tell counts where no file says it."""
    said = CONVENTIONS.get(kind) if isinstance(kind, str) else None
    every = [said] if said and said.marks else {id(each): each for each in CONVENTIONS.values()}.values()
    for conventions in every:
        for marks in conventions.marks:
            sizes = (names.size(weight, axis) == size for weight, (axis, size) in marks.exactly.items())
            is_it = _is_said(conventions, marks, kind)
            are_its = all(sizes) and not any(name in names for name in marks.without)
            if all(name in names for name in marks.names) and (
                is_it or not marks.exactly or (are_its and kind is None)
            ):
                yield conventions, marks


def _is_said(conventions: Conventions, marks: Marks, kind: object) -> bool:
    """Whether these are marks of a kind that a GGUF file says it is."""
    return marks.config.get("model_type", conventions.model_types[0]) == kind


class _Names:
    """Shapes by the end of names."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self._full: dict[str, str] = {}
        for name in shapes:
            self._full.setdefault(name, name)
            place = name.find(".") + 1
            while place:
                self._full.setdefault(name[place:], name)
                place = name.find(".", place) + 1

    def __contains__(self, end: str) -> bool:
        return end in self._full

    def before(self, end: str) -> str:
        """What stands before an end."""
        return self._full[end].removesuffix(end)

    def size(self, weight: str, axis: int) -> int:
        """Length of an axis; of a name that ends with a dot, how many numbers come after it."""
        if weight.endswith("."):
            numbered = re.compile(rf"(?:.*\.)?{re.escape(weight)}(\d+)\.")
            return len({found[1] for name in self.shapes if (found := numbered.match(name))})
        shape = next((shape for each in weight.split("|") if (shape := self.shape(each))), ())
        return shape[axis] if axis < len(shape) else 0

    def shape(self, end: str) -> tuple[int, ...]:
        """The shape of the first name with this end; empty where there is none."""
        return self.shapes[self._full[end]] if end in self._full else ()


class _Heads:
    """Numbers of heads; ``assumed`` are those that nothing says, in words."""

    def __init__(self, names: _Names, settings: Settings, config: Mapping[str, Any]) -> None:
        self._names, self._config = names, config
        kind = settings.get("general.architecture")
        self._settings = {key.removeprefix(f"{kind}."): value for key, value in settings.items()}
        self.assumed: list[str] = []

    def all(self, marks: Marks) -> dict[str, int]:
        """Key of a config → number of heads."""
        found: dict[str, int] = {}
        for key, weight in marks.heads.items():
            rows = self._rows(weight)
            if not rows:
                continue
            keyed = self._rows(marks.keys[1]) if marks.keys else rows
            said = number_in(self._settings, "attention.head_count") or number_in(self._config, key)
            width = rows // said if said else self._width(rows, keyed, is_wide=marks.keys is not None)
            if not width or rows % width:
                continue
            found[key] = rows // width
            if marks.keys and keyed and keyed % width == 0:
                found[marks.keys[0]] = keyed // width
                found["head_dim"] = width
        return found

    def _rows(self, weight: str) -> int:
        """Rows of the weight, or of its output projection's columns where it is fused."""
        shape = self._names.shape(weight)
        return shape[0] if len(shape) == 2 else 0

    def _width(self, rows: int, keyed: int, *, is_wide: bool) -> int:
        """Entries of a head: as something tells, else what is usual."""
        for end, times in _WIDTHS.items():
            shape = self._names.shape(end)
            if len(shape) == 1 and shape[0] * times < rows and rows % (shape[0] * times) == 0:
                return shape[0] * times
        counted = self._names.shape(_COUNTED)
        if len(counted) == 2 and counted[1] and rows % counted[1] == 0:
            return rows // counted[1]
        width = _WIDTH_OF_WIDE if is_wide and rows >= _WIDE else _WIDTH
        width = min(width, rows // _FEWEST_HEADS)
        while width > 1 and (rows % width or keyed % width):
            width -= 1
        if width:
            self.assumed.append(f"{rows // width} heads of {width}")
        return width
