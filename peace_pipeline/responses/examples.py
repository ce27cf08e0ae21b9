"""Labelled examples of somebody's task, as each network reads them: rows of numbers, pictures, signals or texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import CannotRun
from peace_pipeline.responses.standard import NUMBERS, TEXT
from peace_pipeline.responses.tokenizing import tokenised
from peace_pipeline.zoo.card import TOKENIZER

MOST = 1000
"""Examples that networks are asked, at most: drawn from more."""
LABEL, TEXTS = "label", "text"
"""Columns of a table."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SIDE = 128
"""To which pictures of a folder are brought before networks see them at their own size."""


class BadExamples(ValueError):
    """Examples that can't be used, and why."""


@dataclass(frozen=True)
class Examples:
    """Inputs (examples, …), numbers or ids of tokens, or so many texts; labels (examples,) from 0, and the names of the
    ``classes`` that they stand for."""

    inputs: NDArray[Any] | tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, inputs: Any, labels: Any) -> Examples:
        """Of arrays, tensors or lists; of more than ``MOST`` examples so many are drawn.

        Raises:
            BadExamples: where there are not as many labels as inputs, fewer than two classes, or hardly an example of
                each; where inputs are neither numbers nor texts, or not all finite.
        """
        x, y = _inputs(inputs), np.asarray(labels).reshape(-1)
        if len(x) != len(y):
            raise BadExamples(f"{len(x):,} inputs, but {len(y):,} labels")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise BadExamples("a label is missing")
        names, places = np.unique(y, return_inverse=True)
        if len(names) < 2 or 2 * len(names) > len(y):
            raise BadExamples(
                f"{len(y):,} examples of {len(names):,} classes: two or more are needed, and examples of each"
            )
        if len(y) > MOST:
            drawn = np.sort(np.random.default_rng(0).choice(len(y), MOST, replace=False))
            x = tuple(x[place] for place in drawn) if isinstance(x, tuple) else x[drawn]
            names, places = np.unique(y[drawn], return_inverse=True)
        return cls(x, places.astype(np.int64), tuple(str(name) for name in names))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The inputs as rows (examples, values), where they are numbers."""
        if isinstance(self.inputs, tuple):
            return None
        return self.inputs.reshape(len(self), -1).astype(np.float64)

    def read_by(self, spec: InputSpec, folder: Path, step: int) -> Iterator[Tensor]:
        """The inputs as a network with its files in ``folder`` takes them, ``step`` at a time: (step, *spec.shape).

        Raises:
            CannotRun: where it doesn't.
        """
        if isinstance(self.inputs, tuple):
            yield from torch.from_numpy(_in_tokens(self.inputs, spec, folder)).split(step)
        elif spec.kind != NUMBERS:
            yield from torch.from_numpy(_ids(self.inputs, spec)).split(step)
        else:
            for start in range(0, len(self), step):
                part = np.asarray(self.inputs[start : start + step], np.float32)
                yield _as_shaped(torch.from_numpy(part), spec.shape)


def read_examples(path: Path) -> Examples:
    """The examples in a file or folder: an .npz file with ``x`` and ``y``, whose numbers are taken as they are; a .csv
    or .parquet file with a column ``label``, and either a column ``text`` or columns of numbers; or a folder of
    pictures, in a folder for each class. The numbers of a column, and of all pictures, are brought to mean 0 and
    deviation 1.

    Raises:
        BadExamples: where it is none of these or can't be read, and as :meth:`Examples.of`.
    """
    if path.is_dir():
        return Examples.of(*_pictures(path))
    if not path.exists():
        raise BadExamples(f"{path}: no such file or folder")
    read = {".npz": _arrays, ".csv": _table, ".parquet": _table}.get(path.suffix.lower())
    if read is None:
        raise BadExamples(f"{path}: no .npz, .csv or .parquet file, and no folder of pictures")
    try:
        return Examples.of(*read(path))
    except BadExamples as error:
        raise BadExamples(f"{path}: {error}") from None


def _inputs(given: Any) -> NDArray[Any] | tuple[str, ...]:
    """What is given, as an array of numbers or as texts."""
    if not hasattr(given, "shape") and all(isinstance(one, str) for one in given):
        return tuple(given)
    x = np.asarray(given)
    if x.dtype.kind in "OU":
        if not (x.ndim == 1 and all(isinstance(one, str) for one in x)):
            raise BadExamples("inputs are neither numbers nor texts")
        return tuple(map(str, x))
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise BadExamples(
            f"inputs of {x.dtype} and shape {list(x.shape)}: a row of numbers an example is needed"
        )
    if not np.isfinite(x).all():
        raise BadExamples("not all numbers are finite")
    return x


def _arrays(path: Path) -> tuple[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := {"x", "y"} - set(file.files):
                raise BadExamples(f"it has no array {' and no '.join(sorted(missing))}")
            return file["x"], file["y"]
    except BadExamples:
        raise
    except Exception as error:  # zip, npy and zlib have many of their own
        raise BadExamples(f"can't be read: {error}") from error


def _table(path: Path) -> tuple[Any, Any]:
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path) if path.suffix.lower() == ".parquet" else csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise BadExamples(f"can't be read: {str(error).splitlines()[0]}") from error
    if LABEL not in table.column_names:
        raise BadExamples(f"no column is called {LABEL}: {', '.join(table.column_names[:10])}")
    labels = table[LABEL]
    if labels.null_count:
        raise BadExamples("a label is missing")
    if TEXTS in table.column_names:
        return [text or "" for text in table[TEXTS].to_pylist()], labels.to_pylist()
    rest = table.drop_columns([LABEL])
    if others := [field.name for field in rest.schema if not _is_number(field.type)]:
        raise BadExamples(f"column {others[0]} is no number: only numbers, or a column {TEXTS}")
    if not rest.num_columns:
        raise BadExamples(f"no column but {LABEL}")
    x = np.column_stack([column.to_numpy().astype(np.float64) for column in rest.columns])
    if not np.isfinite(x).all():
        raise BadExamples("numbers are missing, or are not finite")
    return _standardised(x, 0), labels.to_pylist()


def _is_number(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _pictures(folder: Path) -> tuple[Any, Any]:
    """Pictures (examples, 3, side, side) and the names of their folders."""
    from PIL import Image, UnidentifiedImageError

    found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in PICTURES)
    if not found:
        raise BadExamples(f"{folder} has no pictures in a folder for each class")
    if len(found) > MOST:
        drawn = np.random.default_rng(0).choice(len(found), MOST, replace=False)
        found = [found[place] for place in np.sort(drawn)]
    values = np.empty((len(found), 3, _SIDE, _SIDE), np.float32)
    for place, path in enumerate(found):
        try:
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise BadExamples(f"{path} can't be read: {error}") from error
        values[place] = np.asarray(small).transpose(2, 0, 1)
    return _standardised(values, None), [path.parent.name for path in found]


def _standardised(x: NDArray[Any], axis: int | None) -> NDArray[Any]:
    spread = x.std(axis)
    return (x - x.mean(axis)) / np.where(spread > 0, spread, 1)


def _as_shaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers (examples, …) as inputs of this shape: a row is read along a picture or a signal, a picture brought to
    another size, one channel repeated, several averaged to one."""
    own, values = x.shape[1:], x[0].numel()
    if _without_ones(own) == _without_ones(shape) or (values == _size(shape) and 1 in (len(own), len(shape))):
        return x.reshape(-1, *shape)
    if len(shape) == 3 and len(own) in (2, 3):
        pictures = x if len(own) == 3 else x[:, None]
        if pictures.shape[1] != shape[0] and 1 in (pictures.shape[1], shape[0]):
            pictures = pictures.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
        if pictures.shape[1] == shape[0]:
            return F.interpolate(pictures, shape[1:], mode="bilinear", antialias=True)
    raise CannotRun(f"it takes inputs of shape {list(shape)}, not {list(own)}")


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


def _ids(x: NDArray[Any], spec: InputSpec) -> NDArray[np.int64]:
    """Ids of tokens (examples, *spec.shape), padded."""
    if x.dtype.kind not in "iu" or x.ndim != 2:
        raise CannotRun("it reads tokens, not numbers")
    if x.shape[1] > spec.shape[0]:
        raise CannotRun(f"it takes {spec.shape[0]} tokens, not {x.shape[1]}")
    if x.min() < 0 or x.max() >= spec.vocabulary:
        raise CannotRun(f"it has {spec.vocabulary} tokens: none of id {x.max() if x.min() >= 0 else x.min()}")
    found = np.full((len(x), *spec.shape), spec.padding)
    found[:, : x.shape[1]] = x
    return found


def _in_tokens(texts: tuple[str, ...], spec: InputSpec, folder: Path) -> NDArray[np.int64]:
    """Texts in the tokens of a network (examples, *spec.shape), as far as it reads them, padded."""
    if spec.kind == NUMBERS:
        raise CannotRun("it reads numbers, not texts")
    found = tokenised(folder / TOKENIZER, texts, spec.shape[0]) if spec.kind == TEXT else None
    if found is None:
        raise CannotRun(f"it has no {TOKENIZER} by which texts can be read")
    ids = np.full((len(texts), *spec.shape), spec.padding)
    for row, tokens in zip(ids, found, strict=True):
        row[: len(tokens)] = tokens
    return ids
