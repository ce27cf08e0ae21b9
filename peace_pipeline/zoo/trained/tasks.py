"""The tasks of the trained zoo: real data that ships inside packages, all of one shape.

Every task has 64 inputs (an 8×8 image, or features and signals padded with zeros), labels below 10, and a
fixed split. Nothing is downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUTS, LABELS = 64, 10
TRAIN, TEST = 2000, 1000
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Raw = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """A classification task: inputs (examples, 64), labels (examples,), and what they are."""

    name: str
    title: str
    pipeline_tag: str
    x_train: Floats
    y_train: Integers
    x_test: Floats
    y_test: Integers

    @property
    def chance(self) -> float:
        """Accuracy of always answering the test split's most common label."""
        return float(np.bincount(self.y_test).max() / len(self.y_test))


def _digits() -> Raw:
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def _breast_cancer() -> Raw:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def _animal_mnist() -> Raw:
    """28×28 silhouettes, averaged by area over windows of 3.5 pixels to 8×8."""
    images = _animal_array("animal_data_version_3.gz").astype(np.float32)
    halves = images.repeat(2, axis=1).repeat(2, axis=2)
    small = halves.reshape(-1, 8, 7, 8, 7).mean((2, 4))
    return small.reshape(-1, INPUTS), _animal_array("animal_label_version_3.gz")


def _mnist1d() -> Raw:
    from mnist1d.data import get_dataset_args, make_dataset

    state = np.random.get_state()  # noqa: NPY002  mnist1d reseeds numpy's global generator
    with redirect_stdout(io.StringIO()):
        data = make_dataset(get_dataset_args())
    np.random.set_state(state)  # noqa: NPY002
    return np.concatenate([data["x"], data["x_test"]]), np.concatenate([data["y"], data["y_test"]])


@dataclass(frozen=True)
class _Source:
    title: str
    pipeline_tag: str
    load: Callable[[], Raw]
    per_feature: bool = False


_SOURCES = {
    "digits": _Source("handwritten digits (scikit-learn)", "image-classification", _digits),
    "breast-cancer": _Source(
        "breast cancer diagnoses (scikit-learn)", "tabular-classification", _breast_cancer, per_feature=True
    ),
    "animal-mnist": _Source("animal silhouettes (animal-mnist)", "image-classification", _animal_mnist),
    "mnist1d": _Source("one-dimensional digits (mnist1d)", "time-series-classification", _mnist1d),
}
TASKS = tuple(_SOURCES)


@cache
def load_task(name: str) -> Task:
    """The task ``name``: standardised on its training split, padded to 64 inputs, split once and for all.

    Images and signals are standardised as a whole, tables feature by feature.

    Raises:
        ValueError: if there is no such task.
        RuntimeError: if the package that carries its data is missing or holds other data than expected.
    """
    if name not in _SOURCES:
        raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}")
    source = _SOURCES[name]
    x, y = _distinct(*source.load())
    order = np.random.default_rng(0).permutation(len(x))
    test = min(TEST, len(x) // 4)
    train = order[test : test + TRAIN]
    axis = 0 if source.per_feature else None
    x = (x - x[train].mean(axis)) / x[train].std(axis)
    x = np.pad(x, ((0, 0), (0, INPUTS - x.shape[1]))).astype(np.float32)
    y = y.astype(np.int64)
    return Task(name, source.title, source.pipeline_tag, x[train], y[train], x[order[:test]], y[order[:test]])


def _distinct(x: NDArray[Any], y: NDArray[Any]) -> Raw:
    """Examples without repetitions, in their order, lest a test example was trained on."""
    _, first = np.unique(x, axis=0, return_index=True)
    first.sort()
    return x[first], y[first]


_ANIMAL_INSTALL = "pip install --no-deps animal-mnist==0.4"
_ANIMAL_HASHES = {
    "animal_data_version_3.gz": "68a30346781a0984f839463a4615d2decb899d1ce65091bb92586311754a34ce",
    "animal_label_version_3.gz": "dec8dba7c469830989fbab46825021a08a38470753a512f27ada847eced97b57",
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays of plain numbers and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not a numpy array")


def _animal_array(name: str) -> NDArray[Any]:
    """An array of the animal-mnist package, read as a file: the package itself would import tensorflow."""
    try:
        found = [file for file in files("animal-mnist") or () if file.name == name]
    except PackageNotFoundError:
        found = []
    if not found:
        raise RuntimeError(f"the task animal-mnist lacks its data: {_ANIMAL_INSTALL}")
    packed = found[0].read_binary()
    if hashlib.sha256(packed).hexdigest() != _ANIMAL_HASHES[name]:
        raise RuntimeError(f"{name} of animal-mnist is not that of version 0.4: {_ANIMAL_INSTALL}")
    return _ArrayUnpickler(io.BytesIO(gzip.decompress(packed))).load()
