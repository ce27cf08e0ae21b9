"""How well a network's features tell labelled examples apart: the evidence of a linear model on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Of a linear model of the labels: the log evidence an example (``logme``), and ``accuracy``, the share of examples
    that it gets right when it learns from all the others."""

    logme: float
    accuracy: float


def evidence(features: Array, labels: NDArray[np.int64], steps: int = 11) -> Evidence:
    """LogME of a network's features (examples, width) for labels (examples,) from 0: the log maximum evidence of a
    linear model of the one-hot labels, per example, in the mean over classes; and how well that model does on examples
    that it didn't learn from.

    You et al. (2021), https://arxiv.org/abs/2102.11005, by the fixed-point iteration that its Algorithm 1 gives. The
    accuracy is leave-one-out, from the diagonal of the hat matrix.
    """
    examples, width = features.shape
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    sigma = singular**2
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
