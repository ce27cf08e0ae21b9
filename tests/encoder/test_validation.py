"""Validation: average precision by the definition, over networks of other runs with true labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision

from peace_pipeline.encoder.model import RESPONSES, WEIGHTS, Encoder
from peace_pipeline.encoder.prepared import Prepared
from peace_pipeline.encoder.validation import Validation, average_precisions
from peace_pipeline.zoo.listing import Listing
from tests.encoder.test_pair_rule import listing
from tests.encoder.test_prepared import answers, stack_of

CPU = torch.device("cpu")


def test_average_precision_of_every_query_that_has_something_to_find() -> None:
    torch.manual_seed(0)
    similarity = torch.rand(12, 12)
    relevant, others = torch.rand(12, 12) < 0.3, torch.rand(12, 12) < 0.8
    relevant[4] = False
    others[5] = False
    expected = [
        retrieval_average_precision(similarity[i][others[i]], relevant[i][others[i]])
        for i in range(12)
        if (relevant[i] & others[i]).any()
    ]
    assert len(expected) <= 10
    torch.testing.assert_close(average_precisions(similarity, relevant, others), torch.stack(expected))


def listed(prepared: Prepared, **changes: Any) -> dict[str, Listing]:
    return {
        key: listing(
            key,
            **{"run": f"{i // 2}", "task": (None, "digits", "animals")[i % 3], "shuffled_labels": i == 10}
            | changes,
        )
        for i, key in enumerate(prepared.keys)
    }


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Networks of two architectures; the last was not run."""
    found = Prepared(tmp_path / "networks")
    mlps, cnns = stack_of("mlp", 7), stack_of("cnn", 4)
    found.add(mlps.select([0, 1, 2]), answers(3))
    found.add(cnns, answers(4, seed=1))
    found.add(mlps.select([3, 4, 5]), answers(3, seed=2))
    found.add(mlps.select([6]), None)
    return found


def test_validation_is_the_mean_over_networks_of_other_runs_with_true_labels(prepared: Prepared) -> None:
    members = listed(prepared)
    torch.manual_seed(0)
    encoder = Encoder().train()
    found = Validation(prepared, members).mean_average_precisions(encoder, CPU)
    assert encoder.training
    assert found.keys() == {"both", "weights", "responses"}
    encoder.eval()
    vectors: dict[str, list[torch.Tensor]] = {name: [] for name in found}
    heard = []
    for number in range(len(prepared)):
        (held,) = prepared.select([number])
        with torch.no_grad():
            senses = encoder.perceived([held.stack], [held.answers])
            vectors["both"].append(encoder.joined(senses).networks)
            vectors["weights"].append(encoder.joined(senses, senses.only(WEIGHTS)).networks)
            vectors["responses"].append(encoder.joined(senses, senses.only(RESPONSES)).networks)
        heard.append(held.answers is not None)
    for name, rows in vectors.items():
        known = torch.cat(rows)
        scores = []
        for i, query in enumerate(members.values()):
            asked = name != "responses" or heard[i]
            others = torch.tensor([
                other.run != query.run and (name != "responses" or heard[j])
                for j, other in enumerate(members.values())
            ])  # fmt: skip
            relevant = torch.tensor([
                query.task is not None and query.task == other.task
                and not (query.shuffled_labels or other.shuffled_labels)
                for other in members.values()
            ])  # fmt: skip
            if asked and (relevant & others).any():
                similarity = (known @ known[i])[others] + 2
                scores.append(retrieval_average_precision(similarity, relevant[others]))
        assert found[name] == pytest.approx(float(torch.stack(scores).mean()), abs=1e-5), name


def test_large_networks_and_many_answers_are_embedded_few_at_a_time(prepared: Prepared) -> None:
    members, encoder = listed(prepared), Encoder()
    sizes = np.add(prepared.sizes, prepared.answer_sizes)
    whole, parts = (Validation(prepared, members, values) for values in (10**8, 5000))
    assert [len(chunk) for chunk in whole.chunks] == [len(prepared)]
    assert 3 < len(parts.chunks) < len(prepared)
    assert all(len(chunk) == 1 or sizes[chunk].sum() < 2 * 5000 for chunk in parts.chunks)
    assert sorted(np.concatenate(parts.chunks)) == list(range(len(prepared)))
    expected = whole.mean_average_precisions(encoder, CPU)
    assert parts.mean_average_precisions(encoder, CPU) == pytest.approx(expected, abs=1e-5)


def test_nothing_to_validate_on(tmp_path: Path) -> None:
    assert Validation(Prepared(tmp_path / "none"), {}).mean_average_precisions(Encoder(), CPU) == {}


def test_no_labels_to_validate_by(prepared: Prepared) -> None:
    members = listed(prepared, task=None)
    assert Validation(prepared, members).mean_average_precisions(Encoder(), CPU) == {}
