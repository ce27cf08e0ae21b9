"""Scores of how well a network would transfer, from what it makes of the target's training examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def leep(probabilities: Array, labels: NDArray[np.int64]) -> Array:
    """The log expected empirical prediction of each network (networks,): ``probabilities`` (networks, examples,
    outputs) by its own head, ``labels`` (examples,) from 0.

    Nguyen et al. (2020), https://arxiv.org/abs/2002.12462: the mean log likelihood of the labels when an output is
    drawn by the network's probabilities, and a label by how often it comes with this output.
    """
    one_hot = np.eye(labels.max() + 1)[labels]
    joint = np.einsum("mno,nc->moc", probabilities, one_hot) / len(labels)
    given = joint / joint.sum(2, keepdims=True).clip(1e-12)
    expected = np.einsum("mno,moc->mnc", probabilities, given)
    return np.log((expected * one_hot).sum(2).clip(1e-12)).mean(1)


def logme(features: Array, labels: NDArray[np.int64], steps: int = 11) -> float:
    """The log maximum evidence of a linear model of the labels (one-hot) on a network's features (examples, width): per
    example, the mean over classes.

    You et al. (2021), https://arxiv.org/abs/2102.11005, by the fixed-point iteration that its Algorithm 1 gives.
    """
    examples, width = features.shape
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    sigma = singular**2
    wanted = np.eye(labels.max() + 1)[labels]
    projected = (left.T @ wanted) ** 2  # (rank, classes)
    outside = ((wanted**2).sum(0) - projected.sum(0)).clip(0)
    alpha, beta = np.ones(wanted.shape[1]), np.ones(wanted.shape[1])
    for _ in range(steps):
        kept = beta * sigma[:, None] / (alpha + beta * sigma[:, None])
        gamma = kept.sum(0)
        size, error = _size_and_error(alpha, beta, sigma, projected, outside)
        alpha = (gamma / size.clip(1e-12)).clip(1e-12, 1e12)
        beta = ((examples - gamma) / error.clip(1e-12)).clip(1e-12, 1e12)
    size, error = _size_and_error(alpha, beta, sigma, projected, outside)
    determinant = np.log(alpha + beta * sigma[:, None]).sum(0) + (width - len(sigma)) * np.log(alpha)
    evidence = (
        width * np.log(alpha)
        + examples * np.log(beta)
        - determinant
        - beta * error
        - alpha * size
        - examples * np.log(2 * np.pi)
    ) / 2
    return float(evidence.mean() / examples)


def _size_and_error(
    alpha: Array, beta: Array, sigma: Array, projected: Array, outside: Array
) -> tuple[Array, Array]:
    """The squared norm of the posterior mean, and the squared error of what it predicts, of each class."""
    shrunk = alpha + beta * sigma[:, None]
    size = (beta**2 * sigma[:, None] * projected / shrunk**2).sum(0)
    error = ((alpha / shrunk) ** 2 * projected).sum(0) + outside
    return size, error
