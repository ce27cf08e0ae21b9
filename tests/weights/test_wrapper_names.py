"""Names lose what wrappers of training put into them, and nothing else."""

from __future__ import annotations

import pytest

from peace_pipeline.weights.wrapper_names import averages, is_flat, unwrapped

LLAMA = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"]
WRAPPED = {
    "data parallel": "module.{}",
    "compiled": "_orig_mod.{}",
    "both": "module._orig_mod.{}",
    "both, the other way round": "_orig_mod.module.{}",
    "FSDP": "_fsdp_wrapped_module.{}",
    "Lightning's strategies": "_forward_module.{}",
    "a Lightning module": "model.{}",
    "a Lightning module, compiled within": "model._orig_mod.{}",
    "FSDP in Lightning": "_forward_module.model._fsdp_wrapped_module.{}",
    "averages alone": "ema_model.module.{}",
    "data parallelism in Lightning": "model.module.{}",
    "Opacus": "_module.{}",
    "flattened": "state_dict.model.{}",
}


@pytest.mark.parametrize("case", WRAPPED)
def test_wrappers(case: str) -> None:
    assert unwrapped([WRAPPED[case].format(name) for name in LLAMA]) == LLAMA


def test_wrappers_within() -> None:
    names = ["layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.mlp.weight", "head._orig_mod.weight"]
    assert unwrapped(names) == ["layers.0.mlp.weight", "head.weight"]


@pytest.mark.parametrize(
    "names",
    [
        LLAMA[:2],
        ["model.encoder.layers.0.fc1.weight", "model.shared.weight"],
        ["model.0.conv.weight", "model.1.conv.weight"],
        ["model.transformer.blocks.0.weight", "model.transformer.wte_norm.weight"],
        ["module.a.weight", "b.weight"],
        ["ema.a.weight", "b.weight"],
    ],
)
def test_names_that_are_their_own(names: list[str]) -> None:
    assert unwrapped(names) == names


def test_counters_of_wrappers_stand_outside() -> None:
    assert unwrapped(["n_averaged", "module.a.weight"]) == ["n_averaged", "a.weight"]


def test_names_that_would_be_one_stay() -> None:
    names = ["a.weight", "_orig_mod.a.weight"]
    assert unwrapped([*names, "_orig_mod.b.weight"]) == [*names, "b.weight"]


def test_no_two_become_one() -> None:
    names = ["module.c._orig_mod.d", "module.c.d", "module.module.c.d"]
    assert unwrapped(names) == names


def test_averages_are_known_by_what_they_repeat() -> None:
    own = ["model.diffusion_model.out.weight", "first_stage.weight"]
    copies = {"model_ema.diffusion_modeloutweight", "model_ema.decay"}
    assert averages([*own, *copies]) == copies
    assert averages(["a.weight", "ema.a.weight"]) == {"ema.a.weight"}
    assert averages(["a.weight", "ema.b.weight"]) == set()
    assert averages(["ema.b.weight"]) == set()


def test_flat_parameters() -> None:
    assert all(map(is_flat, ("_fsdp_wrapped_module._flat_param", "layers.0.flat_param", "a._flat_param_0")))
    assert not is_flat("flat_parameters.weight")
