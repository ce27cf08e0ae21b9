"""The trained zoo's architectures: populations compute what their networks compute, and torch agrees with both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from peace_pipeline.zoo.trained.populations import build, initial, select, stack

VARIANTS = [(kind, variant) for kind, variants in ARCHITECTURES.items() for variant in variants]


def random_state(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """A network's weights with nothing left at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    state = initial(config, 1.0, generator)
    return {
        name: value + 0.3 * torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


def inputs(config: dict[str, Any], *leading: int) -> Tensor:
    shape = (*leading, *config["input_shape"])
    return torch.randint(config["vocab_size"], shape) if "vocab_size" in config else torch.randn(shape)


@pytest.mark.parametrize(("kind", "variant"), VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_a_population_computes_what_its_networks_compute(kind: str, variant: str, training: bool) -> None:
    config = ARCHITECTURES[kind][variant]
    states = [random_state(config, i) for i in range(3)]
    population = build(config, 3).train(training)
    population.load_state_dict(stack(states))
    x = inputs(config, 5, 3)
    together = population(x.flatten(1, 2)).view(5, 3, 10)
    for i in range(3):
        network = build(config).train(training)
        network.load_state_dict(states[i])
        torch.testing.assert_close(together[:, i], network(x[:, i]), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(select(population.state_dict(), i, 3), dict(network.state_dict()))


@pytest.mark.parametrize("kind", ["lstm", "gru", "text-lstm", "text-gru"])
def test_recurrent_networks_are_torchs(kind: str) -> None:
    for config in ARCHITECTURES[kind].values():
        state = random_state(config)
        network = build(config)
        network.load_state_dict(state)
        model_type = config["model_type"]
        theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[model_type](
            config["input_size"], config["hidden_size"], config["num_layers"], batch_first=True
        )
        theirs.load_state_dict(part(state, f"{model_type}."))
        x = inputs(config, 4)
        read = state["embedding.weight"][x] if kind.startswith("text") else x
        last = theirs(read)[0][:, -1]
        torch.testing.assert_close(network(x), last @ state["fc.weight"].T + state["fc.bias"])


@pytest.mark.parametrize("variant", ARCHITECTURES["vit"])
def test_vits_are_made_of_torchs_layers(variant: str) -> None:
    config = ARCHITECTURES["vit"][variant]
    state = random_state(config)
    x = torch.randn(4, 1, 8, 8)
    size, patch = config["hidden_size"], config["patch_size"]
    projection = nn.Conv2d(1, size, patch, patch)
    projection.load_state_dict(part(state, "vit.embeddings.patch_embeddings.projection."))
    patches = projection(x).flatten(2).transpose(1, 2)
    hidden = torch.cat([state["vit.embeddings.cls_token"].expand(4, -1, -1), patches], 1)
    hidden = hidden + state["vit.embeddings.position_embeddings"]
    for number in range(config["num_hidden_layers"]):
        names = ("attention.attention", "layernorm_before", "layernorm_after")
        hidden = torchs_layer(config, part(state, f"vit.encoder.layer.{number}."), *names)(hidden)
    hidden = nn.functional.layer_norm(
        hidden, (size,), state["vit.layernorm.weight"], state["vit.layernorm.bias"], config["layer_norm_eps"]
    )
    assert_agrees(config, state, x, hidden[:, 0])


@pytest.mark.parametrize("variant", ARCHITECTURES["bert"])
def test_berts_are_made_of_torchs_layers(variant: str) -> None:
    config = ARCHITECTURES["bert"][variant]
    state = random_state(config)
    ids = inputs(config, 4)
    embeddings = part(state, "bert.embeddings.")
    hidden = embeddings["word_embeddings.weight"][ids] + embeddings["position_embeddings.weight"]
    hidden = hidden + embeddings["token_type_embeddings.weight"][0]
    hidden = nn.functional.layer_norm(
        hidden,
        hidden.shape[-1:],
        embeddings["LayerNorm.weight"],
        embeddings["LayerNorm.bias"],
        config["layer_norm_eps"],
    )
    for number in range(config["num_hidden_layers"]):
        names = ("attention.self", "attention.output.LayerNorm", "output.LayerNorm")
        hidden = torchs_layer(config, part(state, f"bert.encoder.layer.{number}."), *names)(hidden)
    pooler = part(state, "bert.pooler.dense.")
    assert_agrees(config, state, ids, torch.tanh(hidden[:, 0] @ pooler["weight"].T + pooler["bias"]))


def torchs_layer(
    config: dict[str, Any], state: dict[str, Tensor], attention: str, norm1: str, norm2: str
) -> nn.Module:
    """nn.TransformerEncoderLayer with the weights of one of our layers."""
    layer = nn.TransformerEncoderLayer(
        config["hidden_size"],
        config["num_attention_heads"],
        config["intermediate_size"],
        dropout=0,
        activation={"relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu}[config["hidden_act"]],
        layer_norm_eps=config["layer_norm_eps"],
        batch_first=True,
        norm_first=config["model_type"] == "vit",
    )
    heads = [f"{attention}.{name}" for name in ("query", "key", "value")]
    theirs = {
        f"self_attn.in_proj_{kind}": torch.cat([state[f"{head}.{kind}"] for head in heads])
        for kind in ("weight", "bias")
    }
    places = {"self_attn.out_proj": "attention.output.dense", "norm1": norm1, "norm2": norm2}
    places |= {"linear1": "intermediate.dense", "linear2": "output.dense"}
    for place, name in places.items():
        theirs |= {f"{place}.{kind}": state[f"{name}.{kind}"] for kind in ("weight", "bias")}
    layer.load_state_dict(theirs)
    return layer


def assert_agrees(config: dict[str, Any], state: dict[str, Tensor], x: Tensor, pooled: Tensor) -> None:
    network = build(config)
    network.load_state_dict(state)
    expected = pooled @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def test_vggs_have_torchvisions_names() -> None:
    names = set(build(ARCHITECTURES["vgg"]["gelu-8-8-16-norm"]).state_dict())
    layers = {name.rsplit(".", 1)[0] for name in names}
    # conv, norm, act, conv, norm, act, pool, conv, norm, act, pool
    assert layers == {
        *(f"features.{place}" for place in (0, 1, 3, 4, 7, 8)),
        *(f"classifier.{place}" for place in (0, 3, 6)),
    }


def test_initial_weights_follow_from_the_generator_alone() -> None:
    for kind, variant in VARIANTS:
        config = ARCHITECTURES[kind][variant]
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            states.append(initial(config, 1.0, torch.Generator().manual_seed(0)))
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
