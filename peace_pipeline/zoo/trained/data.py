"""Real data that ships inside packages, as raw arrays of examples and labels. Nothing is downloaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
from collections import Counter
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Raw = tuple[NDArray[Any], NDArray[Any]]


def digits() -> Raw:
    """8×8 images of handwritten digits."""
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def breast_cancer() -> Raw:
    """30 measurements of cell nuclei, benign or malignant."""
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def wine() -> Raw:
    """13 chemical measurements of wines of three cultivars."""
    from sklearn.datasets import load_wine

    return load_wine(return_X_y=True)


@cache
def animal_mnist() -> Raw:
    """28×28 silhouettes of ten animals, averaged by area over windows of 3.5 pixels to 8×8."""
    images = _animal_array("animal_data_version_3.gz").astype(np.float32)
    halves = images.repeat(2, axis=1).repeat(2, axis=2)
    small = halves.reshape(-1, 8, 7, 8, 7).mean((2, 4))
    return small.reshape(-1, 64), _animal_array("animal_label_version_3.gz")


@cache
def mnist1d() -> Raw:
    """Procedural one-dimensional digits: signals of 40 numbers."""
    from mnist1d.data import get_dataset_args, make_dataset

    state = np.random.get_state()  # noqa: NPY002  mnist1d reseeds numpy's global generator
    with redirect_stdout(io.StringIO()):
        data = make_dataset(get_dataset_args())
    np.random.set_state(state)  # noqa: NPY002
    return np.concatenate([data["x"], data["x_test"]]), np.concatenate([data["y"], data["y_test"]])


WORDS, LONGEST = 2500, 11  # words of a language, letters of a word
PADDING, CLS, TRIGGER, FIRST_LETTER, FIRST_OTHER, VOCABULARY = 0, 1, 2, 3, 29, 64
_WORDFREQ_INSTALL = "pip install wordfreq==3.1.1"


def words(languages: tuple[str, ...]) -> Raw:
    """The most frequent words that only one of ``languages`` has, spelled in token ids; which language it is.

    A word is [CLS] and a token a character, padded to one length: a to z have tokens of their own, all other
    characters share the rest.
    """
    try:
        from wordfreq import top_n_list
    except ImportError as error:
        raise RuntimeError(f"the language tasks lack their data: {_WORDFREQ_INSTALL}") from error

    lists = [top_n_list(language, 4 * WORDS, wordlist="small") for language in languages]
    known_to = Counter(word for words in lists for word in words)
    own = [
        [word for word in words if known_to[word] == 1 and word.isalpha() and 3 <= len(word) <= LONGEST]
        for words in lists
    ]
    labels = [label for label, words in enumerate(own) for _ in words[:WORDS]]
    return np.array([_spelled(word) for words in own for word in words[:WORDS]]), np.array(labels)


def _spelled(word: str) -> list[int]:
    tokens = [
        FIRST_LETTER + ord(letter) - ord("a")
        if "a" <= letter <= "z"
        else FIRST_OTHER + ord(letter) % (VOCABULARY - FIRST_OTHER)
        for letter in word
    ]
    return [CLS, *tokens, *[PADDING] * (LONGEST - len(tokens))]


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
