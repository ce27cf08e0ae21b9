"""The page of the retrieval report: what the figures say, in words, tables and plots."""

from __future__ import annotations

from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.embedder import OWN, PEACE
from peace_pipeline.evaluation.metrics import NDCG
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.retrieval import descriptions, plots
from peace_pipeline.evaluation.retrieval.grades import ALIKE
from peace_pipeline.evaluation.retrieval.results import (
    ACROSS,
    ALL,
    DISGUISED,
    HYBRIDS,
    SCOPES,
    SEEN,
    UNSEEN,
    WITHIN,
    Grade,
    Results,
    title,
)
from peace_pipeline.evaluation.retrieval.tables import (
    cell,
    chosen,
    description_tables,
    lead_table,
    metrics_table,
    signed_text,
    text,
)

_CARDS = (
    "BM25 reads cards, not networks, and a card that names the task answers the question: it stands beside the others, "
    "not among them."
)
_AGREEMENT = (
    "What networks answer to the probes decides which have the same profile, and PEACE and the raw responses read just "
    "these answers: on that grade only methods that read weights alone can be compared with each other."
)
_SLOW = (
    "Methods that take longer to learn stand in `python benchmarks/encoders.py --home LAKE`, not here: learned probes, "
    "boosting, and neural functional networks, MLP and autoencoder on flattened weights trained until nothing is "
    "gained. Neural functional networks stand here where nfn is installed (`pip install nfn`)."
)
_PARTS = {
    ACROSS: "Networks of other architectures alone",
    WITHIN: "Networks of the query's own architecture alone",
    DISGUISED: "Queries in disguise: permuted at random, rescaled by up to 10^±2",
    UNSEEN: "Queries of tasks that the encoder never learned from",
    SEEN: "Queries of tasks that the encoder learned from, by other training runs",
}


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_first_section(results), _task_section(results)]
    if results.same_function.scopes:
        sections.append(_function_section(results))
    sections.append(_graded_section(results))
    if results.descriptions.scopes:
        sections.append(_description_section(results.descriptions))
    sections.append(_map_section(results))
    caveats = [_CARDS] if len(results.same_task.methods()) > len(OWN) else []
    caveats += [_AGREEMENT] if results.same_profile.scopes else []
    return Page(
        summary(results),
        _facts(results),
        sections,
        losses=losses(results),
        method=_method(results),
        caveats=[*caveats, _SLOW],
    )


def losses(results: Results) -> list[str]:
    """A sentence for each method that reads networks and finds the same task, or the same function, better than PEACE
    does, best first."""
    said = []
    graded = [
        (results.same_task, ALL, "Networks of the same task", "map", "a MAP"),
        (results.same_task, ACROSS, "Networks of the same task in other architectures", "map", "a MAP"),
        (results.same_task, UNSEEN, "Networks of tasks that PEACE never learned from", "map", "a MAP"),
        (results.same_function, ALL, "Originals of disguised networks", "recall_at_1", "a recall@1"),
        (results.related_task, ALL, "Networks of related tasks", NDCG, "an nDCG"),
        (results.same_profile, ALL, "Networks that answer alike", NDCG, "an nDCG"),
    ]
    for grade, scope, what, metric, name in graded:
        if scope in grade.scopes:
            ours = grade.estimate(PEACE, metric, scope)
            said += [
                f"{what} are found better by “{title(method)}”: {name} of {text(found)}, PEACE {text(ours)}."
                for method in grade.rivals(metric, scope)
                if (found := grade.estimate(method, metric, scope)).mean > ours.mean
            ]
    return said


def summary(results: Results) -> str:
    """Two sentences on what the figures say, whichever way they fall."""
    task = results.same_task
    best = task.best_rival()
    lead, ours = task.difference(PEACE, best), task.estimate(PEACE, "map")
    standing = "ahead of" if lead.low > 0 else "behind" if lead.high < 0 else "not clearly apart from"
    rival = task.estimate(best, "map")
    second = (
        f"Asked for networks of the same task from other training runs, PEACE reaches a MAP of {text(ours)}, "
        f"{standing} the best method that reads no cards ({title(best)}: {text(rival)}; difference "
        f"{signed_text(lead)})."
    )
    return f"{_function_sentence(results.same_function)} {second}"


def _function_sentence(function: Grade) -> str:
    if not function.scopes:
        return "No test network has known symmetries, so none was disguised."
    found = function.estimate(PEACE, "recall_at_1").mean
    count = len(function.scopes[ALL][PEACE].queries)
    share = "all" if found == 1 else f"{found:.1%} of"
    return f"Permuted at random and rescaled by up to 10^±2, {share} {count} test networks find their original first."


def _facts(results: Results) -> dict[str, str]:
    population = results.population
    return {
        "networks in the lake": f"{population['networks']:,.0f}",
        "skipped": f"{population['skipped']:,.0f}",
        "test networks with a task": f"{population['test_networks']:,.0f}",
        "of them run": f"{population['test_networks_run']:,.0f}",
        "drawn as queries": f"{population['test_queries']:,.0f}",
        "test runs": f"{population['test_runs']:,.0f}",
        "tasks": f"{population['test_tasks']:,.0f}",
        "embedded a second": f"{population['networks_per_second']:,.0f}",
        "encoder": results.encoder_version,
        "seed": str(results.seed),
    }


def _first_section(results: Results) -> Section:
    """The few figures that matter, of the few methods that matter."""
    task = results.same_task
    columns = [
        ("Same function", results.same_function, "recall_at_1", ALL),
        ("Same task", task, "map", ALL),
        ("Other architectures", task, "map", ACROSS),
        ("In disguise", task, "map", DISGUISED),
        ("Unseen tasks", task, "map", UNSEEN),
        ("Related tasks", results.related_task, NDCG, ALL),
        ("Same profile", results.same_profile, NDCG, ALL),
    ]
    columns = [column for column in columns if column[3] in column[1].scopes]
    rows: list[list[str | Cell]] = [
        [
            title(method),
            *(
                cell(grade.estimate(method, metric, scope)) if method in grade.scopes[scope] else "–"
                for _, grade, metric, scope in columns
            ),
        ]
        for method in chosen(task, results.same_function)
    ]
    return Section(
        "The figures that matter",
        [
            "PEACE, the best baseline of each kind, and chance; recall@1 of the same function, MAP of the same task, "
            f"nDCG of related tasks and of profiles, with 95% intervals over queries. {_absent(results)}",
            Table(["Method", *(name for name, *_ in columns)], rows, lead=title(PEACE)),
        ],
    )


def _absent(results: Results) -> str:
    """What this lake has no networks for."""
    task = results.same_task
    said = []
    if UNSEEN not in task.scopes:
        said.append(
            "The encoder learned from every task here, so nothing is said of tasks that it never saw."
        )
    elif SEEN not in task.scopes:
        said.append("The encoder learned from none of the tasks here: all of this is zero-shot.")
    if ACROSS not in task.scopes:
        said.append("No task here has networks of two architectures.")
    if not results.related_task.scopes:
        said.append("No two tasks here are related.")
    if not results.same_profile.scopes:
        said.append("No two networks here that were run answer alike.")
    return " ".join(said)


def _task_section(results: Results) -> Section:
    grade = results.same_task
    scored = grade.scopes[ALL][PEACE]
    return Section(
        "Same task, another training run",
        [
            f"{len(scored.queries)} queries; {scored.left_out} networks ask nothing, because they were trained on "
            "shuffled labels or because no other run has their task. A query's own run is no part of its gallery.",
            Figure(
                plots.map_bars(grade, title),
                "MAP of every method with its 95% interval, coloured by what it reads.",
            ),
            metrics_table(grade, folded="Every metric of every method"),
            lead_table(grade),
            *(
                metrics_table(grade, scope, folded)
                for scope, folded in _PARTS.items()
                if scope in grade.scopes
            ),
            *(
                metrics_table(grade, scope, f"Queries and gallery of the architecture {scope}")
                for scope in grade.scopes
                if scope not in SCOPES
            ),
            Figure(
                plots.at_k(grade, chosen(grade), title),
                "Precision and recall among the nearest 1, 5 and 10, of PEACE and the best of each kind.",
            ),
            Figure(
                plots.by_architecture(grade, chosen(grade), title),
                "MAP within one architecture, queries and gallery both, of PEACE and the best of each kind.",
            ),
        ],
    )


def _function_section(results: Results) -> Section:
    grade = results.same_function
    scopes = list(grade.scopes)
    names = ["All", *(scope.removeprefix("wiring_") for scope in scopes[1:])]
    rows: list[list[str | Cell]] = [
        [title(method), *(cell(grade.estimate(method, "recall_at_1", scope)) for scope in scopes)]
        for method in grade.methods()
    ]
    left_out = results.population["test_independent"]
    apart = (
        f" {left_out:.0f} networks have no known symmetries: they are in the gallery only."
        if left_out
        else ""
    )
    return Section(
        "Same function, in disguise",
        [
            "Each test network is permuted at random and rescaled by up to 10^±2, and looks for its original among "
            f"all {len(results.members)} test networks, by weights alone: a copy answers what its original answers. "
            f"Recall@1, by architecture and by how PEACE found the symmetries.{apart} How little embeddings move under "
            "every symmetry is in the report `symmetry`.",
            Table(["Method", *names], rows, lead=title(PEACE)),
        ],
    )


def _graded_section(results: Results) -> Section:
    """Related tasks and profiles, where the lake has any."""
    parts: list[str | Table] = []
    if results.related_task.scopes:
        parts += [
            "Related tasks: the gain of a network is how similar its task is to the query's, from 0 (other data) to 1 "
            "(the same task), as the trained zoo grades the tasks it is made of. To all metrics but nDCG whatever has "
            "a gain is relevant.",
            metrics_table(results.related_task, folded="Related tasks"),
        ]
    if results.same_profile.scopes:
        parts += [
            "Profiles: relevant are networks of other runs that name the same classes for the diagnostic inputs, with "
            f"a Cohen's κ above {ALIKE}; nDCG weighs them by κ. {_AGREEMENT}",
            metrics_table(results.same_profile, folded="Same profile on diagnostic inputs"),
        ]
    return Section("Grades of relevance", parts or [_absent(results)])


def _description_section(grade: Grade) -> Section:
    first, *folded = description_tables(grade)
    return Section(
        "Queries in words",
        [
            f"{len(grade.runs)} descriptions of test networks (the task, the dataset, a bracket of accuracy, all three "
            "in one sentence) look for those that they describe, in cards, by the vectors of PEACE's that are nearest "
            f"to the mean of the {descriptions.HITS} best hits, and by the ranks of both. MAP; intervals are wide, "
            "because there are few descriptions.",
            first,
            " ".join(where_words_fail(grade)),
            *folded,
        ],
    )


def where_words_fail(grade: Grade) -> list[str]:
    """A sentence on each way in which queries in words find no more than chance, or than vectors, or need the cards to
    say it."""
    said = []
    for scope in grade.scopes:
        if scope == ALL:
            continue
        found, chance = (
            grade.estimate(name, "map", scope) for name in (descriptions.TEXT, descriptions.CHANCE)
        )
        if found.mean < chance.mean + 0.1:
            said.append(
                f"Words on {descriptions.KINDS[scope]} fail: MAP {found.mean:.2f}, by chance {chance.mean:.2f}."
            )
    words, blanked, joined = (
        grade.estimate(name, "map").mean
        for name in (descriptions.TEXT, descriptions.BLANKED, descriptions.JOINED)
    )
    if blanked < words:
        said.append(
            "What cards don't name, words don't find: without the words that name a task, dataset or label the MAP "
            f"falls from {words:.2f} to {blanked:.2f}."
        )
    if joined < words:
        said.append(f"Vectors of the hits don't help here: both together have {joined:.2f}.")
    said.append(
        "BM25 knows no numbers and no synonyms: a bracket of accuracy, or another name, is a word to it."
    )
    return said


def _map_section(results: Results) -> Section:
    return Section(
        "The test networks on a map",
        [
            Figure(
                plots.embedding_map(results.members, results.vectors),
                "The first two principal components of the embeddings: colour is the task, shape the architecture, "
                "hollow marks are networks trained on shuffled labels.",
            ),
        ],
    )


def _method(results: Results) -> list[str]:
    most = results.most
    return [
        "Splits are by training run: 60% train, 15% validate, 25% test. Intervals are 95% bootstrap intervals "
        "over queries, ties are broken at random, and whatever a method can't compare ranks last. Intervals over runs "
        "draw all queries of a training run together. p is of Wilcoxon's signed-rank test, a pair a training run, by "
        "Benjamini and Hochberg corrected for the number of methods. Baselines that "
        "learn (LDA, classifiers, the autoencoder, standardisation) learn from the training split, as the encoder "
        "does. Unless said otherwise "
        "they read weights as they were trained, with BatchNorm folded in. PEACE embeds networks as the index "
        "does: with their responses where they were run.",
        f"The encoder learned from {results.learned_from}; a task counts as seen where it is among them, or where "
        "training or validation runs of this lake have it and the encoder is the lake's own.",
        f"Of a larger zoo a sample is measured, drawn at random with the seed {results.seed}: a gallery of at most "
        f"{most.gallery:,} test networks, of which at most {most.queries:,} ask, and {most.training:,} training "
        "networks for the baselines. So the memory that this takes does not grow with the zoo.",
        *(
            f"{title(name)}: {_first_paragraph(name)}"
            for name in results.same_task.methods()
            if name not in OWN
        ),
    ]


def _first_paragraph(method: str) -> str:
    if method in HYBRIDS:
        return "The ranks of both, by reciprocal rank fusion (Cormack et al. 2009)."
    said = all_baselines()[method].similarity.__doc__ or ""
    return " ".join(said.split("\n\n")[0].replace("``", "").split())
