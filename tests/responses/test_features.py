"""What is read of labelled examples by networks of each runner: what their heads would read, or what they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from peace_pipeline.responses.examples import Examples
from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import (
    CannotRun,
    Model,
    Ready,
    Seen,
    read_by_last_linear_layer,
)
from peace_pipeline.responses.running import Limits, features, ready
from peace_pipeline.responses.standard import NUMBERS
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.zoo.card import TOKENIZER, read_config
from tests.responses.wordpieces import wordpiece


def features_of(folder: Path, inputs: Any, labels: Any) -> tuple[np.ndarray, str]:
    """What is read of examples by the network in a folder, and what of it."""
    weights = weight_files(folder)
    with open_checkpoint(weights) as checkpoint:
        begun = ready(Model("m", checkpoint, read_config(folder), folder), Limits())
        assert isinstance(begun, Ready), begun
        return features(begun, Examples.of(inputs, labels), folder, Limits())


@pytest.mark.parametrize("headless", [False, True])
def test_features_of_texts_are_what_the_head_would_read(tmp_path: Path, headless: bool) -> None:
    """Beside a direct run by transformers, with the tokenizer's own padding; of one without a head the last token's
    state."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(**sizes, vocab_size=300, num_labels=3)
    kind = transformers.BertModel if headless else transformers.BertForSequenceClassification
    module = kind(config).eval()
    module.save_pretrained(tmp_path)
    tokenizer = wordpiece()
    tokenizer.save(str(tmp_path / TOKENIZER))
    texts = ["the dog", "a cat and a bird", "soup", "the old farmer likes his dog"] * 3
    found, what = features_of(tmp_path, texts, [0, 1] * 6)
    assert what == "hidden"
    tokenizer.enable_padding(length=32)
    ids = torch.tensor([tokenizer.encode(text).ids for text in texts])
    with torch.no_grad():
        body = module if headless else module.bert
        told = body(ids, attention_mask=(ids != 0).long())
    last = (ids != 0).sum(1) - 1
    expected = told.last_hidden_state[torch.arange(12), last] if headless else told.pooler_output
    assert np.allclose(found, expected.numpy(), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-4


def exported(folder: Path, module: nn.Module, x: torch.Tensor) -> None:
    """What the ONNX exporter makes of a module that takes examples like ``x``."""
    with pytest.warns(DeprecationWarning, match="legacy TorchScript"):
        torch.onnx.export(
            module.eval(),
            (x[:1],),
            folder / "m.onnx",
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )


def classifier() -> nn.Sequential:
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 7), nn.GELU(), nn.Dropout(), nn.Linear(7, 3), nn.Softmax(1))


ONNX = {
    "an MLP": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), (6,)),
    "pictures, with probabilities": (classifier(), (1, 8, 8)),
    "a wide MLP": (nn.Sequential(nn.Linear(6, 1100), nn.ReLU(), nn.Linear(1100, 3)), (6,)),
    "one layer": (nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), (2, 4)),
}


@pytest.mark.parametrize("name", ONNX)
def test_features_of_an_onnx_graph_are_what_its_head_would_read(name: str, tmp_path: Path) -> None:
    module, shape = ONNX[name]
    x = torch.randn(40, *shape)
    exported(tmp_path, module, x)
    with read_by_last_linear_layer(module) as read, torch.no_grad():
        module(x)
    found, what = features_of(tmp_path, x, [0, 1] * 20)
    assert np.allclose(found, read[0].numpy(), atol=1e-5)
    assert what == "hidden"
    with pytest.raises(CannotRun, match=r"not \[7\]"):
        features_of(tmp_path, torch.randn(40, 7), [0, 1] * 20)


def test_features_of_an_onnx_graph_without_a_linear_layer_are_what_it_answers(tmp_path: Path) -> None:
    module, x = (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        torch.randn(40, 1, 8, 8),
    )
    exported(tmp_path, module, x)
    with torch.no_grad():
        expected = module(x).flatten(1).numpy()
    found, what = features_of(tmp_path, x, [0, 1] * 20)
    assert np.allclose(found, expected, atol=1e-5)
    assert what == "outputs"


def test_features_take_no_longer_than_they_may(tmp_path: Path) -> None:
    def slow(_: Sequence[Any], inputs: torch.Tensor) -> Seen:
        time.sleep(0.6)
        return Seen(inputs[None], None)

    network = Ready("slow", "test", InputSpec(NUMBERS, (3,)), None, slow, at_once=10)
    examples = Examples.of(np.random.default_rng(0).normal(size=(1000, 3)), np.arange(1000) % 2)
    with pytest.raises(CannotRun, match="would take about"):
        features(network, examples, tmp_path, Limits(seconds=10))
    few = Examples.of(examples.inputs[:20], examples.labels[:20])
    found, _ = features(network, few, tmp_path, Limits(seconds=10))
    assert np.allclose(found, few.numbers, atol=1e-6)
