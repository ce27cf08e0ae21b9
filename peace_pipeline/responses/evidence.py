"""How well a network's features tell labelled examples apart: the evidence of a linear model on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_STEPS = 11


@dataclass(frozen=True)
class Evidence:
    """Of a linear model of the labels: the log ``evidence`` an example, in the mean over classes, and ``linear``, the
    share of examples that it gets right when it learns from all the others."""

    evidence: float
    linear: float


def evidence(features: Array, labels: NDArray[np.int64]) -> Evidence:
    """What a linear model with an intercept makes of features (examples, width) for labels (examples,) from 0.

    It is LogME of the features, brought to a mean square of 1 around their means, and a constant: so their scale tells
    nothing, and where 0 lies hardly anything.
    """
    spread = np.sqrt(np.square(features - features.mean(0)).mean()) if features.size else 0.0
    told = features / spread if spread > 0 else np.zeros((len(features), 0))
    return _linear_model(np.column_stack([told, np.ones(len(told))]), labels, _STEPS)


def logme(features: Array, labels: NDArray[np.int64], steps: int = _STEPS) -> float:
    """LogME of a network's features (examples, width) for labels (examples,) from 0: the log maximum evidence of a
    linear model of the one-hot labels, per example, in the mean over classes.

    You et al. (2021), https://arxiv.org/abs/2102.11005, by the fixed-point iteration that its Algorithm 1 gives.
    """
    return _linear_model(features, labels, steps).evidence


def _linear_model(features: Array, labels: NDArray[np.int64], steps: int) -> Evidence:
    """How often it is right is leave-one-out, from the diagonal of the hat matrix, regularised as by all examples."""
    examples, width = features.shape
    left, sigma = _principal(features)
    wanted = np.eye(labels.max() + 1)[labels]
    along = left.T @ wanted  # (rank, classes)
    projected = along**2
    outside = ((wanted**2).sum(0) - projected.sum(0)).clip(0)
    alpha, beta = np.ones(wanted.shape[1]), np.ones(wanted.shape[1])
    for _ in range(steps):
        gamma = _kept(alpha, beta, sigma).sum(0)
        size, error = _size_and_error(alpha, beta, sigma, projected, outside)
        alpha = (gamma / size.clip(1e-12)).clip(1e-12, 1e12)
        beta = ((examples - gamma) / error.clip(1e-12)).clip(1e-12, 1e12)
    size, error = _size_and_error(alpha, beta, sigma, projected, outside)
    determinant = np.log(alpha + beta * sigma[:, None]).sum(0) + (width - len(sigma)) * np.log(alpha)
    found = (
        width * np.log(alpha)
        + examples * np.log(beta)
        - determinant
        - beta * error
        - alpha * size
        - examples * np.log(2 * np.pi)
    ) / 2
    kept = _kept(alpha, beta, sigma)
    own = left**2 @ kept  # of each prediction what is due to the example itself
    others = (left @ (kept * along) - own * wanted) / (1 - own).clip(1e-9)
    return Evidence(float(found.mean() / examples), float((others.argmax(1) == labels).mean()))


def _principal(features: Array) -> tuple[Array, Array]:
    """The left singular vectors (examples, rank) and squared singular values (rank,); of wide features by the products
    of examples, which takes less."""
    examples, width = features.shape
    if width <= examples:
        left, singular, _ = np.linalg.svd(features, full_matrices=False)
        return left, singular**2
    sigma, left = np.linalg.eigh(features @ features.T)
    return left, sigma.clip(0)


def _kept(alpha: Array, beta: Array, sigma: Array) -> Array:
    """How much of the labels along each singular vector the model follows (rank, classes)."""
    return beta * sigma[:, None] / (alpha + beta * sigma[:, None])


def _size_and_error(
    alpha: Array, beta: Array, sigma: Array, projected: Array, outside: Array
) -> tuple[Array, Array]:
    """The squared norm of the posterior mean, and the squared error of what it predicts, of each class."""
    shrunk = alpha + beta * sigma[:, None]
    size = (beta**2 * sigma[:, None] * projected / shrunk**2).sum(0)
    error = ((alpha / shrunk) ** 2 * projected).sum(0) + outside
    return size, error
