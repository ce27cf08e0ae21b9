"""Labelled examples of somebody's task, as each network reads them: rows of numbers, pictures, signals or texts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import CannotRun
from peace_pipeline.responses.standard import NUMBERS
from peace_pipeline.responses.tokenizing import tokenised
from peace_pipeline.zoo.card import TOKENIZER

MOST = 1000
"""Examples that networks are asked, at most: drawn from more."""
LABEL, TEXTS = "label", "text"
"""Columns of a table."""
PICTURES = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"},
    **{".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP"},
}
"""Suffixes of pictures, and the formats that are read."""
_SIDE = 128
"""To which pictures of a folder are brought before networks see them at their own size."""
_LETTERS = 16
"""Of a token, at most: what is beyond so many for each token that a network reads isn't looked at."""


class BadExamples(ValueError):
    """Examples that can't be used, and why."""


@dataclass(frozen=True)
class Examples:
    """Inputs (examples, …), numbers or ids of tokens, or so many texts; labels (examples,) from 0, and the names of the
    ``classes`` that they stand for; ``given`` is of how many examples these were drawn."""

    inputs: NDArray[Any] | tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    given: int

    @classmethod
    def of(cls, inputs: Any, labels: Any) -> Examples:
        """Of arrays, tensors or lists; of more than ``MOST`` examples so many are drawn, of rare classes as many as
        there are.

        Raises:
            BadExamples: where there is no label for each input, there are fewer than two classes, or more than half as
                many as examples; where inputs are neither numbers of float32 nor texts.
        """
        x, (places, names) = _inputs(inputs), _classes(labels)
        if len(x) != len(places):
            raise BadExamples(f"{len(x):,} inputs, but {len(places):,} labels")
        if len(names) < 2:
            raise BadExamples("all examples have one label: two classes or more are needed")
        if 2 * len(names) > min(len(places), MOST):
            raise BadExamples(
                f"{len(names):,} different labels of {len(places):,} examples: at most half as many classes as "
                f"examples, and {MOST // 2:,}"
            )
        drawn = _drawn(places)
        chosen = tuple(x[place] for place in drawn) if isinstance(x, tuple) else x[drawn]
        return cls(chosen, places[drawn], names, len(places))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The inputs as rows (examples, values), where they are no texts."""
        if isinstance(self.inputs, tuple):
            return None
        return self.inputs.reshape(len(self), -1).astype(np.float64)

    @property
    def commonest(self) -> float:
        """The share of the most frequent class: what one who always says it gets right."""
        return float(np.bincount(self.labels).max() / len(self))

    @property
    def distinct(self) -> int:
        """How many inputs differ."""
        rows = self.inputs if isinstance(self.inputs, tuple) else (row.tobytes() for row in self.inputs)
        return len(set(rows))

    @property
    def are_ids(self) -> bool:
        """Whether they may be ids of tokens."""
        return not isinstance(self.inputs, tuple) and self.inputs.dtype.kind in "iu" and self.inputs.ndim == 2

    def refused_by(self, kind: str, shape: Sequence[int] | None) -> str | None:
        """Why networks that take a ``kind`` of inputs, of a ``shape`` where that is known, don't take these."""
        if isinstance(self.inputs, tuple):
            return "it reads numbers, not texts" if kind == NUMBERS else None
        if kind != NUMBERS and not self.are_ids:
            return "it reads tokens, not numbers"
        if shape is None:
            return None
        own = self.inputs.shape[1:]
        if kind != NUMBERS:
            return f"it is asked {shape[0]} tokens, not {own[0]}" if own[0] > shape[0] else None
        if _is_same(own, shape) or _is_picture(own, shape):
            return None
        return f"it takes inputs of shape {list(shape)}, not {list(own)}"

    def read_by(self, spec: InputSpec, folder: Path, step: int) -> Iterator[Tensor]:
        """The inputs as a network with its files in ``folder`` takes them, ``step`` at a time: (step, *spec.shape).

        Raises:
            CannotRun: where it doesn't.
        """
        if reason := self.refused_by(spec.kind, spec.shape):
            raise CannotRun(reason)
        if isinstance(self.inputs, tuple):
            return iter(torch.from_numpy(_in_tokens(self.inputs, spec, folder)).split(step))
        if spec.kind != NUMBERS:
            return iter(torch.from_numpy(_ids(self.inputs, spec)).split(step))
        parts = (self.inputs[start : start + step] for start in range(0, len(self), step))
        return (_as_shaped(torch.from_numpy(np.array(part, np.float32)), spec.shape) for part in parts)


def read_examples(path: Path) -> Examples:
    """The examples in a file or folder: an .npz file with ``x`` and ``y``, whose numbers are taken as they are; a .csv
    or .parquet file with a column ``label``, and either a column ``text`` or columns of numbers; or a folder of
    pictures, in a folder for each class. The numbers of a column, and of all pictures, are brought to mean 0 and
    deviation 1.

    Raises:
        BadExamples: where it is none of these or can't be read, and as :meth:`Examples.of`.
    """
    try:
        is_folder = path.is_dir()
        if not path.exists():
            raise BadExamples(f"{path}: no such file or folder")
    except OSError as error:  # no name of a file
        raise BadExamples(f"no such file or folder: {error.strerror}") from error
    kinds = {".npz": _arrays, ".csv": _table, ".parquet": _table}
    read = _pictures if is_folder else kinds.get(path.suffix.lower())
    if read is None:
        raise BadExamples(f"{path}: no .npz, .csv or .parquet file, and no folder of pictures")
    try:
        return read(path)
    except BadExamples as error:
        raise BadExamples(f"{path}: {error}") from None


def _inputs(given: Any) -> NDArray[Any] | tuple[str, ...]:
    """What is given, as an array of numbers or as texts."""
    if isinstance(given, list | tuple) and given and all(isinstance(one, str) for one in given):
        return tuple(given)
    with _understood("inputs"):
        x = np.asarray(_plain(given))
    if x.dtype.kind in "OU" and x.ndim == 1 and len(x) and all(isinstance(one, str) for one in x):
        return tuple(map(str, x))
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise BadExamples(f"inputs are neither rows of numbers nor texts: {x.dtype} of shape {list(x.shape)}")
    return _finite(x)


def _plain(given: Any) -> Any:
    """A tensor as numpy can take it, anything else as it is."""
    if not isinstance(given, Tensor):
        return given
    given = given.detach().cpu()
    return given.float() if given.is_floating_point() else given


def _finite(x: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        if not np.isfinite(x.astype(np.float32)).all():
            raise BadExamples("not all numbers are finite, and of float32")
    return x


def _classes(labels: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each example, from 0, and what the classes are called."""
    with _understood("labels"):
        y = np.asarray(_plain(labels))
    if y.ndim == 0 or y.size != len(y):
        raise BadExamples(f"labels of shape {list(y.shape)}: one an example is needed")
    with _understood("labels"):
        told = pa.array(y.reshape(-1).tolist(), from_pandas=True)
    if told.null_count:
        raise BadExamples("a label is missing")
    with _understood("labels"):
        names, places = np.unique(told.to_numpy(zero_copy_only=False), return_inverse=True)
    return places.astype(np.int64), tuple(str(name) for name in names)


@contextmanager
def _understood(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # numpy, arrow and torch have many of their own
        raise BadExamples(f"{what} can't be understood: {' '.join(str(error).split())}") from error


def _drawn(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """``MOST`` examples, in their order: the first of every class in a random order, then the second, …"""
    shuffled = np.random.default_rng(0).permutation(len(places))
    by_class = shuffled[places[shuffled].argsort(kind="stable")]
    counts = np.bincount(places)
    turn = np.arange(len(places)) - np.repeat(counts.cumsum() - counts, counts)
    return np.sort(by_class[turn.argsort(kind="stable")[:MOST]])


def _arrays(path: Path) -> Examples:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name in ("x", "y")}
    except Exception as error:  # zip, npy and zlib have many of their own
        raise BadExamples(
            f"it is no .npz file of plain arrays that can be read ({type(error).__name__})"
        ) from error
    if missing := {"x", "y"} - found.keys():
        raise BadExamples(f"it has no array {' and no '.join(sorted(missing))}")
    return Examples.of(found["x"], found["y"])


def _table(path: Path) -> Examples:
    table = _read_table(path)
    names = table.column_names
    if names.count(LABEL) != 1:
        raise BadExamples(f"not one column is called {LABEL}: {', '.join(names[:10])}")
    if not table.num_rows:
        raise BadExamples("it has no row")
    labels = table[LABEL].to_pylist()
    if TEXTS in names:
        texts = table[TEXTS] if names.count(TEXTS) == 1 else None
        if texts is None or not _is_text(texts.type):
            raise BadExamples(f"column {TEXTS} has no texts")
        return Examples.of([text or "" for text in texts.to_pylist()], labels)
    rest = table.drop_columns([LABEL])
    if not rest.num_columns:
        raise BadExamples(f"no column but {LABEL}")
    columns = []
    for name, column in zip(rest.column_names, rest.columns, strict=True):
        if not (_is_number(column.type) or column.null_count == len(column)):
            raise BadExamples(f"column {name} is no number: only numbers, or a column {TEXTS}")
        columns.append(np.array(column.to_pylist(), np.float64))
    return Examples.of(_standardised(_finite(np.column_stack(columns)), 0), labels)


def _read_table(path: Path) -> pa.Table:
    """A table without the columns that pandas numbers rows by."""
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            numbering = (table.schema.pandas_metadata or {}).get("index_columns", [])
            numbering = [name for name in numbering if name not in (LABEL, TEXTS)]
        else:
            told = csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
            table = csv.read_csv(
                path, convert_options=told, parse_options=csv.ParseOptions(newlines_in_values=True)
            )
            numbering = [""]
        names = table.column_names
        return table.select([place for place, name in enumerate(names) if name not in numbering])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BadExamples(f"it can't be read: {str(error).splitlines()[0]}") from error


def _is_number(kind: Any) -> bool:
    of = pa.types
    return of.is_integer(kind) or of.is_floating(kind) or of.is_boolean(kind) or of.is_decimal(kind)


def _is_text(kind: Any) -> bool:
    of = pa.types
    if of.is_dictionary(kind):
        kind = kind.value_type
    return of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind) or of.is_null(kind)


def _pictures(folder: Path) -> Examples:
    """Pictures (examples, 3, side, side) and the names of their folders."""
    found = sorted(path for path in folder.glob("*/[!.]*") if path.suffix.lower() in PICTURES)
    if not found:
        raise BadExamples("it has no pictures in a folder for each class")
    places, _ = _classes([path.parent.name for path in found])
    chosen = [found[place] for place in _drawn(places)]
    values = np.empty((len(chosen), 3, _SIDE, _SIDE), np.float32)
    for place, path in enumerate(chosen):
        values[place] = _picture(path)
    drawn = Examples.of(_standardised(values, None), [path.parent.name for path in chosen])
    return Examples(drawn.inputs, drawn.labels, drawn.classes, len(found))


def _picture(path: Path) -> NDArray[np.uint8]:
    """A picture in red, green and blue (3, side, side). Only the formats of pictures are read, whatever its name is:
    another one may start a program."""
    from PIL import Image, ImageOps

    name = f"{path.parent.name}/{path.name}"
    try:
        with warnings.catch_warnings(action="ignore"):
            with Image.open(path, formats=sorted(set(PICTURES.values()))) as picture:
                deep = picture.mode.startswith(("I", "F"))
                upright = ImageOps.exif_transpose(picture).convert("RGB")
            small = upright.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    except Exception as error:  # every format has some of its own
        raise BadExamples(f"{name} can't be read as a picture") from error
    if deep:
        raise BadExamples(f"{name} has more than 8 bits a colour")
    return np.asarray(small).transpose(2, 0, 1)


def _standardised(x: NDArray[Any], axis: int | None) -> NDArray[Any]:
    spread = x.std(axis)
    return (x - x.mean(axis)) / np.where(spread > 0, spread, 1)


def _is_same(own: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether examples of one shape are read as inputs of another: dimensions of 1 come and go, and a row is read along
    a picture or signal, or one as a row."""
    if [size for size in own if size != 1] == [size for size in shape if size != 1]:
        return True
    return math.prod(own) == math.prod(shape) and 1 in (len(own), len(shape))


def _is_picture(own: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether both are pictures (channels, height, width) of as many channels, or one of them of one."""
    return len(own) == len(shape) == 3 and (own[0] == shape[0] or 1 in (own[0], shape[0]))


def _as_shaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers (examples, …) as inputs of a shape that takes them: a picture is brought to another size, its one channel
    repeated, or several averaged to one."""
    if _is_same(x.shape[1:], shape):
        return x.reshape(-1, *shape)
    if x.shape[1] != shape[0]:
        x = x.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    return F.interpolate(x, shape[1:], mode="bilinear", antialias=True)


def _ids(x: NDArray[Any], spec: InputSpec) -> NDArray[np.int64]:
    """Ids of tokens (examples, *spec.shape), padded."""
    least, most = int(x.min()), int(x.max())
    if least < 0 or most >= spec.vocabulary:
        raise CannotRun(f"it has {spec.vocabulary:,} tokens: none of id {least if least < 0 else most}")
    found = np.full((len(x), *spec.shape), spec.padding)
    found[:, : x.shape[1]] = x
    return found


def _in_tokens(texts: tuple[str, ...], spec: InputSpec, folder: Path) -> NDArray[np.int64]:
    """The first tokens of texts, as many as the network is asked (examples, *spec.shape), padded; of those that a text
    has, the one that stands for padding is left out."""
    length = spec.shape[0]
    cut = [text[: _LETTERS * length].encode("utf-8", "replace").decode() for text in texts]
    if (found := tokenised(folder / TOKENIZER, cut, length)) is None:
        raise CannotRun(f"it has no {TOKENIZER} that reads these texts, within bounds of time and memory")
    ids = np.full((len(texts), *spec.shape), spec.padding)
    for row, tokens in zip(ids, found, strict=True):
        kept = [token for token in tokens if token != spec.padding]
        row[: len(kept)] = kept
    if ids.max() >= spec.vocabulary:
        raise CannotRun(f"its {TOKENIZER} has more tokens than it")
    return ids
