"""Validation: average precision by the definition, over networks of other runs with true labels."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.validation import Validation, average_precisions
from peace_pipeline.symmetry.network import Stack, stacked
from tests.encoder.test_pair_rule import listing
from tests.networks import networks_of

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


@pytest.fixture(scope="module")
def stacks() -> list[Stack]:
    networks = [*networks_of("mlp", 7, dtype=torch.float32), *networks_of("cnn", 4, dtype=torch.float32)]
    return [encoder_input(stack, EncoderConfig()) for stack in stacked(networks)]


def test_validation_is_the_mean_over_networks_of_other_runs_with_true_labels(stacks: list[Stack]) -> None:
    keys = [key for stack in stacks for key in stack.keys]
    members = {
        key: listing(key, run=f"{i // 2}", task=(None, "digits", "animals")[i % 3], shuffled_labels=i == 10)
        for i, key in enumerate(keys)
    }
    torch.manual_seed(0)
    encoder = Encoder().train()
    found = Validation(stacks, members).mean_average_precision(encoder, CPU)
    assert encoder.training
    encoder.eval()
    with torch.no_grad():
        vectors = encoder(stacks).learned
    scores = []
    for i, query in enumerate(members.values()):
        others = torch.tensor([other.run != query.run for other in members.values()])
        relevant = torch.tensor([
            query.task is not None and query.task == other.task
            and not (query.shuffled_labels or other.shuffled_labels)
            for other in members.values()
        ])  # fmt: skip
        if (relevant & others).any():
            similarity = (vectors @ vectors[i])[others] + 2
            scores.append(retrieval_average_precision(similarity, relevant[others]))
    assert found == pytest.approx(float(torch.stack(scores).mean()), abs=1e-5)


def test_nothing_to_validate_on() -> None:
    assert Validation([], {}).mean_average_precision(Encoder(), CPU) == 0


def test_no_labels_to_validate_by(stacks: list[Stack]) -> None:
    members = {key: listing(key, task=None) for stack in stacks for key in stack.keys}
    assert Validation(stacks, members).mean_average_precision(Encoder(), CPU) == 0
