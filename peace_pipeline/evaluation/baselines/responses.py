"""What networks answer to the probes, as it is."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.special import softmax
from sklearn.metrics.pairwise import cosine_similarity

from peace_pipeline.evaluation.baselines.registry import Knows, Similarity, baseline
from peace_pipeline.evaluation.population import Cohort
from peace_pipeline.evaluation.readings import Readings, Vectors
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import KINDS

MOST_VALUES = 16_384


def probabilities(cohort: Cohort) -> list[Vectors]:
    """Of each network the place of its kind of input in ``KINDS``, how many outputs it has, and its softmax outputs to
    the probes, as float16; of one that was not run nothing."""
    return [_values(each) if each else np.empty(0, np.float16) for each in cohort.responses]


def _values(response: Response, most: int = MOST_VALUES) -> Vectors:
    """Values (2 + probes · outputs,); where these are more than ``most``, of fewer probes at even distances."""
    probes, outputs = response.outputs.shape
    asked = np.linspace(0, probes - 1, min(probes, max(1, most // outputs))).round().astype(int)
    values = softmax(response.outputs[asked], axis=1).ravel()
    return np.concatenate([[KINDS.index(response.kind), outputs], values]).astype(np.float16)


@baseline("Raw responses", reads=probabilities, knows=Knows.RESPONSES)
def raw_responses(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of what two networks answer when they are run on the same probes: softmax outputs less their mean over the
    gallery, of networks with as many outputs and inputs of one kind.

    Nothing is learned. Networks that were not run can't be compared.
    """
    similarity = np.full((len(queries), len(gallery)), -np.inf)
    columns = _asked_alike(gallery)
    for way, rows in _asked_alike(queries).items():
        if way in columns:
            asking, known = queries.select(rows).matrix, gallery.select(columns[way]).matrix
            mean = known.mean(0, dtype=np.float32)
            similarity[np.ix_(rows, columns[way])] = cosine_similarity(asking - mean, known - mean)
    return similarity


def _asked_alike(readings: Readings) -> dict[tuple[int, int], list[int]]:
    """Kind of input and number of outputs → the places of the networks that were run so."""
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, vector in enumerate(readings.vectors):
        if vector.size:
            places[int(vector[0]), int(vector[1])].append(place)
    return dict(places)
