"""Perceptrons of scikit-learn are chains of layers as PyTorch has them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnsupportedFormat
from tests.weights.formats.pickled import read_all, refusal

INPUTS = np.random.default_rng(0).normal(size=(40, 6))
WRITERS: dict[str, Callable[[Any, Path], object]] = {
    "pickle": lambda model, path: path.write_bytes(pickle.dumps(model)),
    "joblib": joblib.dump,
}


def fitted(kind: type[Any], **settings: Any) -> Any:
    targets = np.arange(40) % 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it hasn't converged
        return kind(**settings).fit(INPUTS, targets)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_perceptrons(kind: type[Any], write: str, tmp_path: Path) -> None:
    model, path = fitted(kind, hidden_layer_sizes=(8, 5), max_iter=2), tmp_path / "m.pkl"
    WRITERS[write](model, path)
    found = read_all(path)
    x = torch.from_numpy(INPUTS)
    for layer in range(3):
        x = x @ found[f"layers.{layer}.weight"].T + found[f"layers.{layer}.bias"]
        x = x.relu() if layer < 2 else x
    expected = model.predict_proba(INPUTS) if kind is MLPClassifier else model.predict(INPUTS)[:, None]
    torch.testing.assert_close(x.softmax(1) if kind is MLPClassifier else x, torch.from_numpy(expected))
    with open_checkpoint([path]) as checkpoint:
        assert OpenNetwork.of(checkpoint, {}).wiring.method == "chain"


def test_what_is_no_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(fitted(RandomForestClassifier, n_estimators=2)))
    assert "sklearn.ensemble._forest.RandomForestClassifier" in refusal(path, UnsupportedFormat)
    for estimator in (StandardScaler(), KMeans(3, n_init=1), PCA(2), SVC()):
        path.write_bytes(pickle.dumps(estimator.fit(INPUTS, np.arange(len(INPUTS)) % 4)))
        assert type(estimator).__name__ in refusal(path, UnsupportedFormat)
    path.write_bytes(pickle.dumps({"X_train": INPUTS, "y_train": np.ones(40)}))
    assert "X_train" in refusal(path, UnsupportedFormat)
    path.write_bytes(pickle.dumps(fitted(LogisticRegression)))
    assert read_all(path)["coef_"].shape == (4, 6)
