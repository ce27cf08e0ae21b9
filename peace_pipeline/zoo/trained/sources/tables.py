"""Kinds of tables, each a generator of data sets of up to 64 features."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .kinds import EXAMPLES, TABLE, Array, Kind, Raw, balanced, drawn, quantised, teacher


def features(rng: Generator, least: int = 4, most: int = 40) -> Array:
    """Correlated features of several distributions."""
    count = int(rng.integers(least, most))
    mixing = np.eye(count) + rng.uniform(0, 0.5) * rng.normal(size=(count, count)) / np.sqrt(count)
    x = rng.normal(size=(EXAMPLES, count)) @ mixing
    shapes = rng.integers(4, size=count)
    return np.choose(shapes, [x, np.exp(0.7 * x), np.tanh(2 * x), np.round(1.5 * x)])


def mixtures(rng: Generator, classes: int) -> Raw:
    """Classes of two Gaussian clouds each."""
    y, count = drawn(rng, classes), int(rng.integers(3, 41))
    centres = rng.normal(size=(classes, 2, count)) * rng.uniform(1.2, 2.5) / np.sqrt(count / 4)
    spread = np.exp(rng.normal(scale=0.3, size=(classes, count)))
    return centres[y, rng.integers(2, size=EXAMPLES)] + spread[y] * rng.normal(size=(EXAMPLES, count)), y


def trees(rng: Generator, classes: int) -> Raw:
    """Features, labelled by a random tree."""
    x = features(rng, 4, 24)
    leaf = np.zeros(EXAMPLES, int)
    depth = int(np.ceil(np.log2(classes))) + 1
    for _ in range(depth):
        chosen = rng.integers(x.shape[1], size=1 << depth)[leaf]
        value = x[np.arange(EXAMPLES), chosen] + rng.normal(scale=1e-6, size=EXAMPLES)
        middle = np.zeros(EXAMPLES)
        for one in np.unique(leaf):
            middle[leaf == one] = np.quantile(value[leaf == one], rng.uniform(0.35, 0.65))
        leaf = 2 * leaf + (value > middle)
    order = rng.permutation(1 << depth) % classes
    return x, order[leaf]


def parities(rng: Generator, classes: int) -> Raw:
    """Whether two features have one sign, for one or more pairs of them."""
    bits = int(np.log2(classes))
    x = rng.normal(size=(EXAMPLES, int(rng.integers(2 * bits, 12))))
    x = np.sign(x) * (0.3 + abs(x))
    odd = (x[:, 0 : 2 * bits : 2] > 0) ^ (x[:, 1 : 2 * bits : 2] > 0)
    return x[:, rng.permutation(x.shape[1])], odd @ (1 << np.arange(bits))


def iris(rng: Generator, classes: int) -> Raw:
    """Four measurements of irises: their species."""
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


def diabetes(rng: Generator, classes: int) -> Raw:
    """Patients' measurements: the progression of their diabetes, or one of the measurements from the others."""
    from sklearn.datasets import load_diabetes

    x, progression = load_diabetes(return_X_y=True)
    target = int(rng.choice([0, 2, 3, 4, 5, 6, 7, 8, 9, 10]))  # not the sex
    values = progression if target == 10 else x[:, target]
    return np.delete(x, target, 1) if target < 10 else x, quantised(values, classes)


def tabular_teachers(rng: Generator, classes: int) -> Raw:
    """Features, labelled by a random network."""
    x = features(rng, 4, 16)
    return x, teacher(rng, (x - x.mean(0)) / x.std(0), classes)


def linear(rng: Generator, classes: int) -> Raw:
    """Features, labelled by random linear scores of them under noise."""
    x = features(rng)
    scores = (x - x.mean(0)) / x.std(0) @ rng.normal(size=(x.shape[1], classes))
    return x, balanced(scores + rng.uniform(0, 1) * scores.std() * rng.normal(size=scores.shape))


def greatest(rng: Generator, classes: int) -> Raw:
    """Which of some features is the greatest, or the least."""
    x = rng.gumbel(size=(EXAMPLES, classes + int(rng.integers(0, 10))))
    order = rng.permutation(x.shape[1])[:classes]
    return x, x[:, order].argmax(1) if rng.random() < 0.5 else x[:, order].argmin(1)


def products(rng: Generator, classes: int) -> Raw:
    """How great a sum of products of features is."""
    x = rng.normal(size=(EXAMPLES, int(rng.integers(4, 16))))
    a, b = rng.permutation(x.shape[1])[:4].reshape(2, 2)
    return x, quantised((x[:, a] * x[:, b]).sum(1), classes)


def categories(rng: Generator, classes: int) -> Raw:
    """Answers to multiple-choice questions, of other frequencies in every class."""
    y, questions, choices = drawn(rng, classes), int(rng.integers(8, 16)), int(rng.integers(3, 6))
    odds = rng.dirichlet([0.6] * choices, size=(classes, questions)).cumsum(2)
    answers = (rng.random((EXAMPLES, questions, 1)) > odds[y]).sum(2).clip(0, choices - 1)
    return (answers[..., None] == np.arange(choices)).reshape(EXAMPLES, -1)[:, :64].astype(float), y


TABLES = {
    "mixtures": Kind("mixtures of Gaussians", TABLE, mixtures),
    "trees": Kind("features, labelled by a tree", TABLE, trees, (2, 3, 4, 5, 6, 8)),
    "parities": Kind("parities", TABLE, parities, (2, 4)),
    "iris": Kind("species of irises (scikit-learn)", TABLE, iris, (3,), datasets=1, share=0.25),
    "diabetes": Kind(
        "progression of diabetes (scikit-learn)", TABLE, diabetes, (2, 3), datasets=20, share=0.5
    ),
    "tabular-teachers": Kind("features, labelled by a network", TABLE, tabular_teachers, (2, 3, 4, 5, 6, 8)),
    "linear": Kind("features, labelled by linear scores", TABLE, linear),
    "greatest": Kind("the greatest of some features", TABLE, greatest),
    "products": Kind("sums of products", TABLE, products, (2, 3, 4)),
    "categories": Kind("answers to questions", TABLE, categories),
}
