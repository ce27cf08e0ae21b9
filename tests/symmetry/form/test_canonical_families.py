"""The canonical form of every family: one for all that its symmetries make of a network, and the same function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.form.matrices import balance
from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.form.reduction_limits import Limits
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import ALL, Strength, Tensors, random_element
from peace_pipeline.symmetry.network import Network, Stack
from peace_pipeline.symmetry.testing import TOLERANCE
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring, oriented
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.tensors import TensorInfo
from tests.networks import infos_of
from tests.specimens import FAMILIES, REPRESENTATIVES
from tests.specimens.pretrained import GROUPED, TransformersSpecimen, tokens
from tests.specimens.running import Saved, Shelf
from tests.sweep import swept

F64 = torch.float64
ONE_KEY_HEAD = TransformersSpecimen(
    tokens, "LlamaForCausalLM", GROUPED | {"num_key_value_heads": 1, "attention_bias": True}
)
SWEPT = swept(FAMILIES, always=REPRESENTATIVES)
CLOSE = {torch.float64: 1e-9, torch.float32: 2e-3}
CONTINUOUS = Strength(permute=False, heads=False, decades=2.0, signs=True, mix=True)


def folded(wiring: Wiring, raw: Tensors) -> Tensors:
    return {
        f"{position}.{role}": tensor[None]
        for position, wired in enumerate(wiring.layers)
        for role, tensor in folded_layer(wired, lambda name: raw[name][0]).items()
    }


def form(wiring: Wiring, raw: Tensors) -> Tensors:
    return canonical(wiring.folded, folded(wiring, raw))


def apart(a: Tensors, b: Tensors, *, in_order: bool) -> float:
    """The largest difference relative to the largest value of its tensor, of the values in order of size or not."""
    found = 0.0
    for name, value in a.items():
        one, other = (t.flatten() if in_order else t.flatten().sort().values for t in (value, b[name]))
        assert one.isfinite().all()
        assert other.isfinite().all()
        scale = max(float(one.abs().max()), 1e-12 if one.dtype == torch.float64 else 1e-5)
        found = max(found, float((one - other).abs().max()) / scale)
    return found


def disguised(wiring: Wiring, raw: Tensors, strength: Strength, seed: int = 3) -> Tensors:
    element = random_element(wiring, 1, torch.Generator().manual_seed(seed), strength, dtype=torch.float64)
    return act(wiring, raw, element)


@pytest.mark.parametrize("dtype", list(CLOSE))
@pytest.mark.parametrize("name", SWEPT)
def test_one_form_for_all_disguises(shelf: Shelf, name: str, dtype: torch.dtype) -> None:
    wiring, raw = shelf[name].wiring, {key: value.to(dtype) for key, value in shelf[name].tensors.items()}
    expected = form(wiring, raw)
    continuous = disguised(wiring, raw, CONTINUOUS)
    assert apart(expected, form(wiring, continuous), in_order=True) < CLOSE[dtype]
    assert apart(expected, form(wiring, disguised(wiring, raw, ALL)), in_order=False) < CLOSE[dtype]
    if any(set(group.actions) - {"permute"} for group in wiring.groups.values()):
        assert apart(raw, continuous, in_order=True) > 0.1


def cut(wiring: Wiring, raw: Tensors) -> Tensors:
    """What an encoder is given of a network."""
    infos = {name: TensorInfo(name, tuple(value.shape[1:]), "float64") for name, value in raw.items()}
    reduction = Reduction(wiring, infos, Limits(large_layer=30, most_units=5))
    tensors = reduction.tensors(lambda name, _: raw[name][0], F64)
    stack = Stack.of([Network("network", reduction.wiring, tensors)])
    stack = encoder_input(stack, EncoderConfig(), most_units=4)
    shapes = [wired.layer.shape for wired in stack.wiring.layers]
    assert [stack.tensors[wired.weight].shape[1:] for wired in stack.wiring.layers] == shapes
    return stack.tensors


@pytest.mark.parametrize("name", [*SWEPT, "llama of one key head"])
def test_disguised_networks_of_every_family_are_cut_to_the_same(
    shelf: Shelf, name: str, tmp_path: Path
) -> None:
    one = shelf[name] if name in FAMILIES else Saved.build(ONE_KEY_HEAD, tmp_path / "original")
    wiring, raw = one.wiring, one.tensors
    assert apart(cut(wiring, raw), cut(wiring, disguised(wiring, raw, ALL)), in_order=False) < CLOSE[F64]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("name", ["mobilenet_v2_hf", "efficientnet_hf"])
def test_linear_streams_beside_units_of_any_scale_or_sign(name: str, activation: str, tmp_path: Path) -> None:
    specimen = FAMILIES[name]
    assert isinstance(specimen, TransformersSpecimen)
    specimen = replace(specimen, settings=specimen.settings | {"hidden_act": activation})
    one = Saved.build(specimen, tmp_path / "one")
    expected = form(one.wiring, one.tensors)
    assert {"linear", "scale" if activation == "relu" else "sign"} <= {
        action for group in one.wiring.groups.values() for action in group.actions
    }
    for strength in (CONTINUOUS, ALL):
        other = form(one.wiring, disguised(one.wiring, one.tensors, strength))
        assert apart(expected, other, in_order=strength is CONTINUOUS) < 1e-7
    new = unfolded(one.wiring, one.tensors, expected)
    assert one.change(one.with_tensors(new, tmp_path / "form")) < TOLERANCE[torch.float64]


def unfolded(wiring: Wiring, raw: Tensors, tensors: Tensors) -> Tensors:
    """Raw tensors that compute folded ones: norms have no gain (or do nothing at all), and shifts as they must be
    where a layer has no bias."""
    new = dict(raw)
    for position, wired in enumerate(wiring.layers):
        weight, bias = tensors[f"{position}.weight"], tensors.get(f"{position}.bias")
        if wired.norm or wired.layer.is_norm:
            new |= unfolded_norm(
                wired.norm or wired.layer, wired.eps, raw, weight if wired.layer.is_norm else None, bias
            )
        if wired.layer.is_norm:
            continue
        order = oriented(wired)
        new[wired.weight] = weight.permute(0, *(1 + order.index(dim) for dim in range(len(order))))
        if bias is not None and wired.before and "shift" in wired.before.tensors:
            gain, shift = (raw[wired.before.tensors[role]] for role in ("gain", "shift"))
            block = weight.shape[2] // gain.shape[1]
            moved = (shift / gain).repeat_interleave(block, 1).view(1, 1, -1, *[1] * (weight.dim() - 3))
            bias = bias - (weight * moved).flatten(2).sum(2)
            new |= {wired.before.tensors["shift"]: shift / gain}
        if "bias" in wired.layer.tensors:
            assert bias is not None
            takes_it_up = wired.norm and "shift" in wired.norm.tensors
            new[wired.layer.tensors["bias"]] = torch.zeros_like(bias) if takes_it_up else bias
        elif bias is not None and not wired.norm:
            assert float(bias.abs().max()) < 1e-6
        if wired.before:
            new[wired.before.tensors["gain"]] = torch.ones_like(raw[wired.before.tensors["gain"]])
    return new


def unfolded_norm(
    norm: Layer, eps: float, raw: Tensors, weight: torch.Tensor | None, bias: torch.Tensor | None
) -> Tensors:
    new = {role: raw[name] for role, name in norm.tensors.items()}
    gain = torch.ones_like(new["gain"]) if weight is None else weight
    new["gain"] = gain * (new["var"] + eps).sqrt() if "var" in new else gain
    if "mean" in new:
        new["mean"] = torch.zeros_like(new["mean"])
    if "shift" in new and bias is not None:
        new["shift"] = bias
    return {norm.tensors[role]: value for role, value in new.items()}


@pytest.mark.parametrize("name", SWEPT)
def test_the_form_computes_the_same_function(shelf: Shelf, name: str, tmp_path: Path) -> None:
    one = shelf[name]
    new = unfolded(one.wiring, one.tensors, form(one.wiring, one.tensors))
    assert one.change(one.with_tensors(new, tmp_path / "form")) < TOLERANCE[torch.float64]


def decoder(depth: int, dtype: torch.dtype) -> tuple[Wiring, Tensors]:
    """A LLaMA of ``depth`` blocks with grouped queries, its weights of very different sizes."""
    generator = torch.Generator().manual_seed(depth)
    width, heads, keys, inner = 12, 4, 2, 10

    def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "model.embed_tokens.weight", (20, width)
        for layer in range(depth):
            block = f"model.layers.{layer}"
            yield f"{block}.input_layernorm.weight", (width,)
            for name, size in (("q", heads * 4), ("k", keys * 4), ("v", keys * 4)):
                yield f"{block}.self_attn.{name}_proj.weight", (size, width)
            yield f"{block}.self_attn.o_proj.weight", (width, heads * 4)
            yield f"{block}.post_attention_layernorm.weight", (width,)
            for name in ("gate", "up"):
                yield f"{block}.mlp.{name}_proj.weight", (inner, width)
            yield f"{block}.mlp.down_proj.weight", (width, inner)
        yield "model.norm.weight", (width,)
        yield "lm_head.weight", (20, width)

    state = {}
    for number, (name, shape) in enumerate(shapes()):
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            value = value.abs() + 0.5
        elif number % 5 == 3:
            value = value * 1e-15
        state[name] = value[None].to(dtype)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
    config |= {"num_attention_heads": heads, "num_key_value_heads": keys, "tie_word_embeddings": False}
    return infer_wiring(infos_of({name: value[0] for name, value in state.items()}), config), state


@pytest.mark.parametrize("dtype", list(CLOSE))
@pytest.mark.parametrize("depth", [4, 16, 100])
def test_deep_decoders_with_tiny_weights_have_one_form(depth: int, dtype: torch.dtype) -> None:
    wiring, raw = decoder(depth, dtype)
    assert wiring.method == "family"
    expected = form(wiring, raw)
    assert apart(expected, form(wiring, disguised(wiring, raw, CONTINUOUS)), in_order=True) < CLOSE[dtype]
    assert apart(expected, form(wiring, disguised(wiring, raw, ALL)), in_order=False) < CLOSE[dtype]


@pytest.mark.parametrize("shape", [(3, 8, 9), (4, 6, 3), (1, 5, 5)])
def test_balanced_factors(shape: tuple[int, int, int]) -> None:
    units, a, b = shape
    generator = torch.Generator().manual_seed(0)
    written, read = (torch.randn(2, units, n, generator=generator, dtype=torch.float64) for n in (a, b))
    one, other = balance(written, read)
    torch.testing.assert_close(other.mT @ one, read.mT @ written)
    torch.testing.assert_close(one @ one.mT, other @ other.mT)
    values = (one @ one.mT).diagonal(dim1=-2, dim2=-1)
    assert bool((values.diff(dim=-1) <= 0).all())
    zero, zeros = balance(torch.zeros_like(written), read)
    assert not bool(zero.any() | zeros.any())


def test_equal_singular_values_and_zero_weights_stay_finite() -> None:
    wiring, raw = decoder(2, torch.float64)
    for name in islice(raw, 2, 6):
        raw[name] = torch.zeros_like(raw[name])
    raw["model.layers.1.self_attn.v_proj.weight"] = torch.eye(8, 12, dtype=torch.float64)[None]
    assert all(bool(value.isfinite().all()) for value in form(wiring, raw).values())
