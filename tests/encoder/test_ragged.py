"""Ragged aggregation: what it computes, and what it doesn't load."""

from __future__ import annotations

import subprocess
import sys

import torch

from peace_pipeline.encoder.ragged import spread

EMBEDDING = """
import sys
import torch
from peace_pipeline.encoder.embed import embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.weights.tensors import TensorInfo

tensors = {"0.weight": torch.randn(5, 4), "1.weight": torch.randn(3, 5)}
wiring = infer_wiring([TensorInfo(name, tuple(t.shape), "float32") for name, t in tensors.items()], {})
(embedding,) = embed(Encoder(), [Network("a", wiring, tensors)])
heavy = {"torch._dynamo", "torch_geometric", "lightning", "mlflow", "pytorch_metric_learning", "sklearn", "pandas"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()

import torch_geometric
from torch_geometric.nn import MultiAggregation
from torch_geometric.data import Data
assert Data(x=torch.ones(2, 1)).num_nodes == 2
"""


def test_mean_maximum_and_deviation_of_each_set() -> None:
    torch.manual_seed(0)
    of = torch.tensor([0, 0, 0, 2, 2, 3])
    values = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    told = spread(values, of, 5)
    for number in range(5):
        own = values[of == number]
        expected = (
            torch.cat([own.mean(0), own.amax(0), own.std(0, correction=0)])
            if len(own)
            else torch.zeros(12, dtype=torch.float64)
        )
        torch.testing.assert_close(told[number], expected)
    told.sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_embedding_loads_no_compiler_and_leaves_torch_geometric_whole() -> None:
    subprocess.run([sys.executable, "-c", EMBEDDING], timeout=300, check=True)
