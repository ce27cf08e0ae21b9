"""Messages between the neurons of two layers: what they hear, and what torch-geometric makes of the same."""

from __future__ import annotations

import torch
from torch_geometric.nn import GATConv

from peace_pipeline.encoder.gnn import Attention, Sets, Weighted

BATCH, HEADS, INPUTS, OUTPUTS, WIDTH = 2, 4, 6, 5, 16
EDGES = torch.randn(BATCH, HEADS, OUTPUTS, INPUTS, generator=torch.Generator().manual_seed(0))
SOURCE = torch.randn(BATCH, INPUTS, WIDTH, generator=torch.Generator().manual_seed(1))
TARGET = torch.randn(BATCH, OUTPUTS, WIDTH, generator=torch.Generator().manual_seed(2))


def test_sets_hear_weights_alone() -> None:
    order = torch.arange(INPUTS).flip(0)
    for kind, hears in ((Weighted, True), (Sets, False)):
        message = kind(WIDTH, HEADS)
        found = message(EDGES, SOURCE, TARGET, diagonal=False)
        assert found.shape == (BATCH, OUTPUTS, WIDTH)
        assert torch.equal(found, message(EDGES, SOURCE[:, order], TARGET, diagonal=False)) != hears
        together = message(EDGES[..., order], SOURCE[:, order], TARGET, diagonal=False)
        torch.testing.assert_close(found, together)
        assert not torch.allclose(found, message(2 * EDGES, SOURCE, TARGET, diagonal=False))


def test_attention_is_that_of_torch_geometric() -> None:
    """Of every pair of neurons an edge, whose features are those of the weight."""
    ours = Attention(WIDTH, HEADS)
    theirs = GATConv((WIDTH, WIDTH), WIDTH // HEADS, HEADS, edge_dim=HEADS, add_self_loops=False, bias=False)
    to_edge = torch.zeros(HEADS, WIDTH // HEADS, HEADS)
    to_edge[torch.arange(HEADS), 0, torch.arange(HEADS)] = 1
    with torch.no_grad():
        ours.bias.zero_()
        theirs.lin_src.weight.copy_(ours.weight)
        theirs.lin_dst.weight.copy_(ours.weight)
        theirs.att_src.copy_(ours.sends.movedim(1, 0))
        theirs.att_dst.copy_(ours.hears.movedim(1, 0))
        theirs.lin_edge.weight.copy_(to_edge.flatten(0, 1))
        theirs.att_edge.fill_(1)
    out, into = torch.meshgrid(torch.arange(OUTPUTS), torch.arange(INPUTS), indexing="ij")
    pairs = torch.stack([into.flatten(), out.flatten()])
    found = ours(EDGES, SOURCE, TARGET, diagonal=False)
    for row in range(BATCH):
        known = EDGES[row].flatten(1).T
        torch.testing.assert_close(found[row], theirs((SOURCE[row], TARGET[row]), pairs, edge_attr=known))


def test_through_single_channels_each_neuron_hears_its_own() -> None:
    edges, source = EDGES[..., :1], TARGET
    for kind in (Weighted, Sets, Attention):
        message = kind(WIDTH, HEADS)
        changed = source.clone()
        changed[:, 0] += 1
        found = message(edges, source, TARGET, diagonal=True)
        assert torch.equal(found[:, 1:], message(edges, changed, TARGET, diagonal=True)[:, 1:])
