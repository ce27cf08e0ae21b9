"""A score of how well a network would transfer, from what it makes of the target's training examples."""

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
