"""Statistics of each layer's weights, and a task classifier on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from peace_pipeline.evaluation.baselines.registry import Similarity, baseline, within_signature
from peace_pipeline.evaluation.population import Cohort, Member, Population, in_canonical_form

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@baseline("Layer statistics")
def statistics(queries: Population, gallery: Population, train: Population) -> Similarity:
    """Cosine of layer statistics, standardised on the training split (or the gallery where it has no such network)."""
    return within_signature(_statistics)(queries, gallery, train)


def _statistics(queries: Cohort, gallery: Cohort, train: Cohort | None) -> Similarity:
    scaler = StandardScaler().fit(features(train or gallery))
    return cosine_similarity(scaler.transform(features(queries)), scaler.transform(features(gallery)))


def features(cohort: Cohort) -> NDArray[np.float64]:
    """Mean, standard deviation and quantiles of each layer's weights and biases: (networks, 7 · tensors).

    The features of Unterthiner et al. (2020), https://arxiv.org/abs/2002.11448.
    """
    flat = (values.astype(np.float64) for values in cohort.flat)
    found = ([x.mean(1), x.std(1), *np.quantile(x, QUANTILES, axis=1)] for x in flat)
    return np.stack([column for columns in found for column in columns], 1)


@baseline("Layer statistics, scale-canonical")
def statistics_canonical(queries: Population, gallery: Population, train: Population) -> Similarity:
    """The same statistics of the scale-canonical form: like PEACE, blind to permutation and scaling."""
    return statistics(*(in_canonical_form(population) for population in (queries, gallery, train)))


@baseline("Layer statistics + LDA")
@within_signature
def statistics_lda(queries: Cohort, gallery: Cohort, train: Cohort | None) -> Similarity:
    """Cosine of layer statistics in the discriminant space of the tasks of the training split."""
    discriminant = _discriminant(train) if train else None
    if discriminant is None:
        return _statistics(queries, gallery, train)
    return cosine_similarity(
        discriminant.transform(features(queries)), discriminant.transform(features(gallery))
    )


@baseline("Layer statistics + LDA task probabilities")
def statistics_lda_tasks(queries: Population, gallery: Population, train: Population) -> Similarity:
    """Probability that two networks are of one task, by one LDA of layer statistics for each signature.

    A task classifier on labelled training networks: it compares any two networks of signatures that it was
    fitted on. The tasks of the training split are all that it knows.
    """
    tasks = sorted({member.listing.task or "" for member in train.members if _is_labelled(member)})
    known = {cohort.signature: _discriminant(cohort) for cohort in train.cohorts}
    query, target = (_probabilities(population, known, tasks) for population in (queries, gallery))
    similarity = query @ target.T
    return np.where(np.isnan(similarity), -np.inf, similarity)


def _probabilities(
    population: Population, known: dict[str, Pipeline | None], tasks: list[str]
) -> NDArray[np.float64]:
    """Probabilities (networks, tasks); NaN for signatures without a classifier."""
    probabilities = np.full((len(population), len(tasks)), np.nan)
    for rows, cohort in population.placed():
        discriminant = known.get(cohort.signature)
        if discriminant is not None:
            columns = [tasks.index(task) for task in discriminant.classes_]
            probabilities[rows] = 0.0
            probabilities[rows, columns] = discriminant.predict_proba(features(cohort))
    return probabilities


def _is_labelled(member: Member) -> bool:
    """Whether a network is known to be trained for a task."""
    return bool(member.listing.task) and not member.listing.shuffled_labels


def _discriminant(train: Cohort) -> Pipeline | None:
    """LDA with Ledoit-Wolf shrinkage on standardised statistics; ``None`` for fewer than two tasks."""
    labelled = [place for place, member in enumerate(train.members) if _is_labelled(member)]
    tasks = [train.members[place].listing.task for place in labelled]
    if len(set(tasks)) < 2 or len(tasks) <= len(set(tasks)):
        return None
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    return make_pipeline(StandardScaler(), discriminant).fit(features(train)[labelled], tasks)
