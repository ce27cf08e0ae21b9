"""Multilayer perceptrons of scikit-learn, as a pickle has their attributes."""

from __future__ import annotations

import re

from peace_pipeline.weights.formats.pickles import Global, Object
from peace_pipeline.weights.formats.state_dicts import Module, NamedItems, attributes

_CLASS = re.compile(r"sklearn\.neural_network\._?multilayer_perceptron\.MLP(Classifier|Regressor)")


def perceptron(record: Object, named: NamedItems) -> Module | None:
    """The layers of an ``MLPClassifier`` or ``MLPRegressor``, whose matrices are (in, out); ``None`` for anything
    else."""
    if not isinstance(record.maker, Global) or not _CLASS.fullmatch(record.maker.path):
        return None
    own = named(attributes(record))
    weights, biases = own.get("coefs_"), own.get("intercepts_")
    if type(weights) is not list or type(biases) is not list or len(weights) != len(biases):
        return None
    tensors = {
        f"layers.{number}.{role}": value
        for role, values in (("weight", weights), ("bias", biases))
        for number, value in enumerate(values)
    }
    return Module(tensors, {}, is_turned=True)
