"""Every loss and miner, by name: what it prefers, which pairs it sees, and its value on a batch easy to check."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch.nn.functional import normalize, softplus

from peace_pipeline.encoder.losses import LOSSES, MINERS, built, every_pair, pair_loss, twin_loss
from peace_pipeline.encoder.settings import Settings

SETTINGS = Settings().model_dump()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eight unit vectors; pairs of neighbours are positive, those of even distance negative, others not listed."""
    torch.manual_seed(0)
    place = torch.arange(8)
    distance = (place[:, None] - place).abs()
    return (
        normalize(torch.randn(8, 5, dtype=torch.float64)),
        (place[:, None] // 2 == place // 2) & (distance > 0),
        (distance % 2 == 0) & (distance > 0),
    )


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_training_by_any_loss_brings_positives_nearer_than_negatives(loss: str, miner: str) -> None:
    vectors, positive, negative = batch()
    vectors.requires_grad_()
    optimizer = torch.optim.Adam([vectors], lr=0.05)
    build = built(LOSSES[loss], SETTINGS), built(MINERS[miner], SETTINGS)

    def gap() -> float:
        similarity = normalize(vectors.detach()) @ normalize(vectors.detach()).T
        return float(similarity[positive].mean() - similarity[negative].mean())

    before = gap()
    for _ in range(30):
        optimizer.zero_grad()
        pair_loss(*build, normalize(vectors), positive, negative).backward()
        optimizer.step()
    assert gap() > max(before + 0.3, 0.5)


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_that_are_not_listed_do_not_count(loss: str, miner: str) -> None:
    vectors, positive, negative = batch()
    vectors, unlisted = vectors.clone(), 7
    positive[unlisted] = positive[:, unlisted] = negative[unlisted] = negative[:, unlisted] = False
    build = built(LOSSES[loss], SETTINGS), built(MINERS[miner], SETTINGS)
    value = pair_loss(*build, vectors, positive, negative)
    vectors[unlisted] = -vectors[unlisted].flip(0)
    torch.testing.assert_close(pair_loss(*build, vectors, positive, negative), value)
    nothing = torch.zeros_like(positive)
    assert pair_loss(*build, vectors, nothing, nothing) == 0


def test_the_default_is_supcon_over_every_pair() -> None:
    vectors, positive, negative = batch()
    assert (Settings().loss, Settings().miner) == ("supcon", "every-pair")
    expected = SupConLoss(temperature=0.1)(
        vectors, indices_tuple=(*positive.nonzero(as_tuple=True), *negative.nonzero(as_tuple=True))
    )
    loss = built(LOSSES["supcon"], SETTINGS)
    assert torch.equal(pair_loss(loss, every_pair(), vectors, positive, negative), expected)


@pytest.mark.parametrize("without", ["", "negatives of some", "positives of some"])
def test_ntxent_and_its_gradient_are_those_of_the_library(without: str) -> None:
    vectors, positive, negative = batch()
    (negative if without.startswith("negatives") else positive)[: 3 if without else 0] = False
    gradients = []
    for loss in (built(LOSSES["ntxent"], SETTINGS), NTXentLoss(temperature=SETTINGS["temperature"])):
        own = vectors.clone().requires_grad_()
        value = pair_loss(loss, every_pair(), normalize(own), positive, negative)
        value.backward()
        gradients.append((value.detach(), own.grad))
    torch.testing.assert_close(*gradients)


def test_ntxent_by_its_formula() -> None:
    vectors, positive, negative = batch()
    similarity = vectors @ vectors.T / 0.2
    terms = [
        torch.log(similarity[a, p].exp() + (similarity[a].exp() * negative[a]).sum()) - similarity[a, p]
        for a, p in positive.nonzero().tolist()
    ]
    loss = built(LOSSES["ntxent"], SETTINGS | {"temperature": 0.2})
    found = pair_loss(loss, every_pair(), vectors, positive, negative)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_multi_similarity_keeps_pairs_that_are_hard_to_within_the_margin() -> None:
    similarity = torch.tensor([[1.0, 0.9, 0.5, 0.45, 0.8, 0.1]])
    positive = torch.tensor([[False, True, True, False, False, False]])
    negative = torch.tensor([[False, False, False, True, True, True]])
    hard = built(MINERS["multi-similarity"], SETTINGS | {"margin": 0.06})
    kept = hard(similarity, (positive, negative))
    assert [mask.nonzero()[:, 1].tolist() for mask in kept] == [[2], [3, 4]]
    alone = hard(similarity, (positive, torch.zeros_like(negative)))
    assert not alone[0].any(), "positives without a negative are easy"


def test_twins_cost_what_they_are_more_alike_than_the_margin() -> None:
    alike = torch.tensor([0.9, 0.2])
    expected = softplus((alike - 0.5) / 0.1).mean()
    torch.testing.assert_close(twin_loss(alike, 0.5, 0.1), expected)
