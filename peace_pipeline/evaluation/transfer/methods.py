"""How networks are chosen for a target: by likeness to queries, by description, by rules of thumb, by trying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.baselines.cards import bm25
from peace_pipeline.evaluation.baselines.flattened import flattened
from peace_pipeline.evaluation.baselines.registry import Method
from peace_pipeline.evaluation.baselines.responses import raw_responses
from peace_pipeline.evaluation.baselines.statistics import statistics
from peace_pipeline.evaluation.embedder import OWN, PEACE
from peace_pipeline.evaluation.metrics import fused, ranks
from peace_pipeline.evaluation.readings import Readings
from peace_pipeline.evaluation.transfer.outcomes import Choice, Outcomes
from peace_pipeline.index.exploring import explore
from peace_pipeline.stages.recommend import FIRST
from peace_pipeline.zoo.listing import Listing

Floats = NDArray[np.float64]
RANDOM, HINDSIGHT, SCRATCH, OWN_SHAPES = "random", "hindsight", "scratch", "peace_shapes"
RECOMMENDED, WORDED, RANDOM_LOGME = "recommended", "recommended_words", "random_logme"
HYBRID, RAW_HYBRID = "hybrid", "raw_hybrid"
DRAWS = 100
"""Of a choice by lot."""
TRIES = 20
"""Candidates that are run on the target's examples where not all are."""

LIKENESS: dict[str, Method] = {
    method.__name__: method for method in (raw_responses, statistics, flattened, bm25)
}
"""Baselines that compare queries with candidates."""
TITLES = {
    **OWN,
    RECOMMENDED: "PEACE with examples",
    WORDED: "PEACE with examples and words",
    "raw_responses": "Raw responses",
    "statistics": "Layer statistics",
    "flattened": "Flattened weights",
    "bm25": "BM25 of the description",
    HYBRID: "PEACE and the description",
    RAW_HYBRID: "Raw responses and the description",
    "own_accuracy": "Most accurate on its own task",
    "largest": "Largest",
    "large_and_accurate": "Large and accurate",
    "logme": "LogME",
    "leep": "LEEP",
    RANDOM_LOGME: "LogME on a random shortlist",
    RANDOM: "Random choice",
    SCRATCH: "From scratch",
    OWN_SHAPES: "PEACE's shapes, from scratch",
    HINDSIGHT: "Best in hindsight",
}
"""The methods, in the order of the page."""
EXPLAINED = {
    PEACE: "cosine of the queries' embeddings and the candidates', as the index compares them.",
    RECOMMENDED: f"`peace recommend`: of {TRIES} candidates that are run on the target's training examples, those "
    "of the most evidence (LogME with an intercept, of features of one scale); which ones are run PEACE's vectors say, "
    "those near to what did well. What it is ahead of LogME on a random shortlist is due to them, the rest is LogME's.",
    WORDED: f"the same, with the {FIRST} first that BM25 of the description puts first (`--text`).",
    "raw_responses": "cosine of what queries and candidates answer to PEACE's standard probes; nothing is learned.",
    "statistics": "cosine of the statistics of each layer's weights, within one shape.",
    "flattened": "cosine of all weights, within one shape.",
    "bm25": "BM25 of the target's description over the candidates' whole cards.",
    HYBRID: "the ranks by PEACE and by BM25 of the description, fused by reciprocal rank (Cormack et al. 2009), "
    "in the manner of `peace search` with a network and words. That "
    "ranks are joined was not settled on other tasks than the targets.",
    RAW_HYBRID: "the same with raw responses.",
    "own_accuracy": "accuracy that the card reports, whatever the task.",
    "largest": "number of parameters.",
    "large_and_accurate": "mean rank by size and by reported accuracy.",
    "logme": "evidence of a linear model on the features of the target's training examples (You et al. 2021, "
    "arXiv:2102.11005). Every candidate has to be run on the target's data.",
    "leep": "log expected empirical prediction from the candidate's own outputs (Nguyen et al. 2020, "
    "arXiv:2002.12462). Every candidate has to be run on the target's data.",
    RANDOM_LOGME: f"LogME on {TRIES} candidates that are drawn at random, in the mean over {DRAWS} draws.",
    RANDOM: f"{DRAWS} draws of as many candidates.",
    SCRATCH: "new networks of the shapes of the networks chosen at random, with the same budget.",
    OWN_SHAPES: "new networks of the shapes of those that PEACE chooses. What PEACE is ahead of them is due to "
    "weights, not to architectures.",
    HINDSIGHT: "the candidates of the largest area under the curve: what nobody could know before.",
}


def rules_of_thumb(candidates: Sequence[Listing]) -> dict[str, Floats]:
    """Scores (candidates,) that look at no target."""
    accuracy = np.array([-np.inf if each.accuracy is None else each.accuracy for each in candidates])
    size = np.array([float(each.parameters) for each in candidates])
    both = sum(np.searchsorted(np.sort(values), values) / len(values) for values in (accuracy, size))
    return {"own_accuracy": accuracy, "largest": size, "large_and_accurate": np.asarray(both)}


def likeness(queries: Mapping[str, Readings], candidates: Mapping[str, Readings]) -> dict[str, Floats]:
    """Similarities (queries, candidates) by PEACE and by baselines; ``-inf`` where two can't be compared."""
    own = {name: queries[name].matrix @ candidates[name].matrix.T for name in OWN}
    nothing = {name: candidates[name].select([]) for name in LIKENESS}
    return own | {
        name: method(queries[name], candidates[name], nothing[name]) for name, method in LIKENESS.items()
    }


def of_own_shape(similarity: Floats, queries: NDArray[np.int64]) -> Floats:
    """Of similarities (queries, candidates) those to the query of each candidate's own shape (…, candidates): its place
    is in ``queries`` (…, candidates), -1 where there is none, as networks of its shape can't read the target."""
    found = similarity[queries, np.arange(similarity.shape[1])]
    return np.where(queries >= 0, found, -np.inf)


def joined(found: Mapping[str, Floats]) -> dict[str, Floats]:
    """Scores (targets, seeds, candidates) by likeness and by the description's words, their ranks fused."""
    shape = found["bm25"].shape
    rows = {name: values.reshape(-1, shape[-1]) for name, values in found.items()}

    def with_words(name: str) -> Floats:
        return fused(rows[name], rows["bm25"]).reshape(shape)

    return {HYBRID: with_words(PEACE), RAW_HYBRID: with_words("raw_responses")}


def recommended(
    vectors: NDArray[np.float32],
    evidence: Floats,
    words: Floats,
    possible: NDArray[np.bool_],
    tries: int = TRIES,
) -> dict[str, Floats]:
    """The evidence (targets, seeds, candidates) of those candidates that are run where their vectors (candidates,
    dimension) say which, without and with those first that have the ``words`` best (their BM25); ``-inf`` for the
    others."""
    scores = {name: np.full(possible.shape, -np.inf) for name in (RECOMMENDED, WORDED)}
    for at in np.ndindex(possible.shape[:2]):
        (places,) = np.nonzero(possible[at])
        known, told = evidence[at][places], words[at][places]
        in_words = [place for place in (-told).argsort(kind="stable")[:FIRST] if told[place] > 0]
        for name, first in ((RECOMMENDED, []), (WORDED, in_words)):
            tried = list(explore(vectors[places], known.tolist().__getitem__, tries, first))
            scores[name][at][places[tried]] = known[tried]
    return scores


def choose(
    scores: Mapping[str, Floats], outcomes: Outcomes, k: int, seed: int, tries: int = TRIES
) -> dict[str, Choice]:
    """The ``k`` networks of each target and seed that every method puts first, ties broken at random.

    ``scores`` are (targets, seeds, candidates). Of those that can't read a target's inputs none is chosen.
    """
    possible = outcomes.possible
    chosen = {name: _best(values, possible, k, seed)[:, :, None] for name, values in scores.items()}
    chosen[HINDSIGHT] = _best(outcomes.area[:, :, : outcomes.candidates], possible, k, seed)[:, :, None]
    level, seeds = np.zeros(possible.shape), range(seed, seed + DRAWS)
    chosen[RANDOM] = np.stack([_best(level, possible, k, each) for each in seeds], 2)
    lists = [_best(level, possible, tries, each) for each in seeds]
    among = [_best(_among(scores["logme"], one), possible, k, seed) for one in lists]
    chosen[RANDOM_LOGME] = np.stack(among, 2)
    chosen[SCRATCH] = outcomes.alike[chosen[RANDOM]]
    chosen[OWN_SHAPES] = outcomes.alike[chosen[PEACE]]
    return {name: chosen[name] for name in TITLES}


def _among(scores: Floats, places: Choice) -> Floats:
    """The scores (targets, seeds, candidates) of those at these places (targets, seeds, some), ``-inf`` for others."""
    found = np.full(scores.shape, -np.inf)
    np.put_along_axis(found, places, np.take_along_axis(scores, places, 2), 2)
    return found


def _best(scores: Floats, possible: NDArray[np.bool_], k: int, seed: int) -> Choice:
    """Places of the ``k`` highest scores (targets, seeds, k), best first."""
    flat = np.where(
        possible, np.maximum(np.nan_to_num(scores.astype(np.float64), nan=-np.inf), -1e300), -np.inf
    )
    placed = ranks(flat.reshape(-1, flat.shape[-1]), seed).reshape(flat.shape)
    return np.argsort(-placed, axis=-1)[..., :k]
