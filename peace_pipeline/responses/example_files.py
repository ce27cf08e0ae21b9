"""Examples in the files that people have: arrays, tables, and pictures in a folder for each class."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peace_pipeline.responses.examples import BadExamples, Examples, classes_of, drawn_of, finite

if TYPE_CHECKING:
    from PIL.Image import Image

LABEL, TEXTS = "label", "text"
"""Columns of a table."""
PICTURES = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"},
    **{".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP"},
}
"""Suffixes of pictures, and the formats that are read."""
_SIDE = 128
"""To which pictures of a folder are brought before networks see them at their own size, where they are larger, or of
several sizes."""


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
    found = Examples.of(_standardised(finite(np.column_stack(columns)), 0), labels)
    return replace(found, scaled=True)


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
    """Pictures (examples, channels, height, width), of one channel where all are grey, and the names of their
    folders."""
    found = sorted(path for path in folder.glob("*/[!.]*") if path.suffix.lower() in PICTURES)
    if not found:
        raise BadExamples("it has no pictures in a folder for each class")
    places, _ = classes_of([path.parent.name for path in found])
    chosen = [found[place] for place in drawn_of(places)]
    pictures = [_picture(path) for path in chosen]
    if len({picture.size for picture in pictures}) > 1:
        pictures = [_resized(picture) for picture in pictures]
    values = np.stack([np.asarray(picture) for picture in pictures]).transpose(0, 3, 1, 2)
    if (values == values[:, :1]).all():
        values = values[:, :1]
    drawn = Examples.of(_standardised(values.astype(np.float32), None), [path.parent.name for path in chosen])
    return replace(drawn, given=len(found), scaled=True)


def _picture(path: Path) -> Image:
    """A picture in red, green and blue, no larger than ``_SIDE``. Only the formats of pictures are read, whatever its
    name is: another one may start a program."""
    from PIL import Image, ImageOps

    name = f"{path.parent.name}/{path.name}"
    try:
        with warnings.catch_warnings(action="ignore"):
            with Image.open(path, formats=sorted(set(PICTURES.values()))) as picture:
                deep = picture.mode.startswith(("I", "F"))
                upright = ImageOps.exif_transpose(picture).convert("RGB")
            small = upright if max(upright.size) <= _SIDE else _resized(upright)
    except Exception as error:  # every format has some of its own
        raise BadExamples(f"{name} can't be read as a picture") from error
    if deep:
        raise BadExamples(f"{name} has more than 8 bits a colour")
    return small


def _resized(picture: Image) -> Image:
    from PIL.Image import Resampling

    return picture.resize((_SIDE, _SIDE), Resampling.BILINEAR)


def _standardised(x: NDArray[Any], axis: int | None) -> NDArray[Any]:
    spread = x.std(axis)
    return (x - x.mean(axis)) / np.where(spread > 0, spread, 1)
