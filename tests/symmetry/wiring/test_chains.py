"""What is claimed of networks of which nothing is known but names and shapes, held against what they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.subjects import PLAIN
from benchmarks.subjects.subject import randomise
from peace_pipeline.symmetry.testing import assert_invariant, assert_module_invariant
from peace_pipeline.symmetry.wiring.couplings import NORMS_OF_ALL, NOT_TRANSPOSED
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER, Wiring
from peace_pipeline.weights.logical import views_of
from tests.networks import infos, infos_of

RIGHT = """
    relu_chain numbered_layers activations_that_are_not_named softmax_inside prelu_of_each_unit prelu_shared
    square_all_through layer_norm_between gan gan_under_short_names cycle_gan actor_critic
    actor_critic_of_equal_widths stable_baselines_policy online_and_target ensemble teacher_and_student
    two_towers_for_retrieval hypernetwork siamese siamese_joined autoencoder autoencoder_that_gives_its_code
    deep_linear deep_linear_without_biases low_rank_pairs residual_mlp residual_inside_sequential
    residual_to_the_output scaled_residual two_towers_multiplied dueling_q_network joined_inputs
    norm_then_activation activation_then_norm norm_before_the_layer norm_of_units_after_activation
    norm_of_the_input norm_of_the_output norms_without_gains group_and_instance_norms max_pooling flattened
    pixels_shuffled flattened_sequence convolutional_autoencoder u_net edsr residual_of_sequentials
    denoising_by_subtraction depthwise_separable grouped embeddings_flattened neural_collaborative_filtering
    tabular_embeddings lstm_and_head lstm_both_ways lstm_projected gru_max_pooled elman_network
    convolutional_recurrent mixture_of_experts two_best_experts experts_for_two_tasks encoder_after_norms
    encoder_before_norms encoder_of_words full_transformer decoder_alone units_on_a_sphere
    root_mean_square_units
"""
"""Modules in which some units may be permuted, as is found out."""

LEFT_OPEN = """
    maxout glu layers_in_reverse ensemble_of_single_layers repeated_layer tied_autoencoder
    shared_under_two_names deep_equilibrium variational_autoencoder sparse_autoencoder residual_mlp_flat_names
    residual_from_the_input highway dense_connections nerf_skip parallel_layers gated_ffn_of_llama several_heads
    mean_and_deviation two_linear_layers_added film joined_branches action_joined_later concatenated_relu
    halves_for_two_layers activation_then_norm_named one_norm_used_twice average_and_maximum_joined
    pooling_across_channels spatial_pyramid flattened_channels_last flattened_square_channels_last
    channels_shuffled tokens_of_patches dcgan_generator square_transposed transposed_sequence grouped_transposed
    u_net_that_adds u_net_upsampled resnet_nine squeeze_and_excite temporal_convolutions wavenet_gates
    depthwise_multiplied square_one_by_one bag_of_words matrix_factorisation word_vectors_tied skip_gram
    convolutions_over_words positions_added lstm_relu_head lstm_skipped words_lstm_all_states
    language_model_tied cell_in_a_loop sequence_to_sequence experts_in_one_tensor attention_and_head
    attention_by_hand attention_pooling layer_norm_without_gain units_standardised
"""
"""Modules of which names and shapes don't say enough: nothing is claimed."""

MISTAKEN = {
    "positions_of_units": (),
    "cumulative_units": (),
    "hidden_is_output": (),
    "local_response_norm": (NOT_TRANSPOSED,),
    "group_norm_between": (NORMS_OF_ALL,),
    "square_transposed_between_convolutions": (NOT_TRANSPOSED,),
}
"""Modules that can't be told from others in which the same would hold; what is assumed of them beside the order."""


def wiring_of(module: nn.Module, config: dict[str, Any] | None = None) -> Wiring:
    views = views_of(infos_of(module.state_dict()), config or {})
    return infer_wiring([replace(view.info, name=name) for name, view in views.items()], config or {})


def claimed(wiring: Wiring) -> set[str]:
    """The groups that something is claimed of."""
    return {group.name for group in wiring.groups.values() if group.actions}


@pytest.mark.parametrize("name", RIGHT.split())
def test_what_is_claimed_of_a_plain_module_holds(name: str) -> None:
    subject = PLAIN[name]
    module = subject.build()
    wiring = wiring_of(module)
    assert wiring.assumes[0] == ONE_AFTER_THE_OTHER
    for inputs in subject.inputs(module):
        assert_module_invariant(module, wiring, *inputs.values())


@pytest.mark.parametrize("name", LEFT_OPEN.split())
def test_where_nothing_decides_nothing_is_claimed(name: str) -> None:
    assert claimed(wiring_of(PLAIN[name].build())) == set()


@pytest.mark.parametrize("name", MISTAKEN)
def test_what_the_file_can_not_tell_is_named(name: str) -> None:
    subject = PLAIN[name]
    module = subject.build()
    wiring = wiring_of(module)
    assert wiring.assumes == (ONE_AFTER_THE_OTHER, *MISTAKEN[name])
    with pytest.raises(AssertionError):
        assert_module_invariant(module, wiring, *subject.inputs(module)[0].values())


class Net(nn.Module):
    """Named parts, and what is computed with them."""

    def __init__(self, compute: Callable[..., torch.Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.compute = compute

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.compute(self, x)


def built(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        randomise(module.double().eval(), torch.Generator().manual_seed(0))
    return module


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))


def under_a_prefix() -> nn.Module:
    """Features and a classifier in a module of their own, as wrappers save them."""
    inner = Net(lambda m, x: m.classifier(m.features(x)), features=mlp(), classifier=nn.Linear(3, 2))
    return Net(lambda m, x: m.backbone(x), backbone=inner)


def dcgan() -> nn.Module:
    """A generator whose transposed convolutions have no biases: their norms say which side is which."""

    def up(inputs: int, outputs: int, *more: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(inputs, outputs, 4, *more, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    last = nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False)
    net = nn.Sequential(*up(6, 16), *up(16, 12, 2, 1), *up(12, 8, 2, 1), last, nn.Tanh())
    return Net(lambda m, z: m.main(z[:, :, None, None]), main=net)


def norm_of_a_bare_convolution() -> nn.Module:
    return Net(
        lambda m, x: m.fc(torch.relu(m.bn1(m.conv1(x[:, :, None, None]))).mean((2, 3))),
        conv1=nn.Conv2d(6, 9, 1, bias=False), bn1=nn.BatchNorm2d(9), fc=nn.Linear(9, 3),
    )  # fmt: skip


def norm_after_the_activation() -> nn.Module:
    return Net(
        lambda m, x: m.fc(m.bn1(torch.relu(m.conv1(x[:, :, None, None]))).mean((2, 3))),
        conv1=nn.Conv2d(6, 9, 1), bn1=nn.BatchNorm2d(9), fc=nn.Linear(9, 3),
    )  # fmt: skip


def feed_forward_beside_attention() -> nn.Module:
    return nn.TransformerEncoderLayer(6, 2, 11, batch_first=True)


OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, set[str]]]] = {
    "under a prefix": (
        under_a_prefix, (6,), {"backbone.features.0": {"permute"}, "backbone.features.2": {"permute"}},
    ),
    "dcgan": (
        dcgan, (6,),
        {**{f"main.{n}": {"permute"} for n in (0, 3, 6)}, **{f"main.{n}": {"gain"} for n in (1, 4, 7)}},
    ),
    "norm of a bare convolution": (norm_of_a_bare_convolution, (6,), {"conv1": {"permute"}, "bn1": {"gain"}}),
    "norm after the activation": (norm_after_the_activation, (6,), {"conv1": {"permute"}}),
    "feed-forward beside attention": (feed_forward_beside_attention, (4, 6), {"linear1": {"permute"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_claimed_and_that_it_holds(case: str) -> None:
    make, shape, expected = OTHERS[case]
    torch.manual_seed(0)
    module = built(make())
    wiring = wiring_of(module)
    found = {group.name: {*group.actions} for group in wiring.groups.values() if group.actions}
    assert (wiring.method, found) == ("chain", expected)
    assert_module_invariant(module, wiring, torch.randn(5, *shape, dtype=torch.float64))


def test_between_the_layers_of_a_recurrent_module_states_have_signs() -> None:
    """Its head may read them behind an activation."""
    wiring = wiring_of(PLAIN["lstm_and_head"].build())
    found = {group.name: {*group.actions} for group in wiring.groups.values() if group.actions}
    assert found == {"lstm.hh_l0": {"permute", "sign"}, "lstm.hh_l1": {"permute"}}
    assert [wired.layer.name for wired in wiring.readers("lstm.hh_l1")] == [
        *(f"lstm.hh_l1.{gate}" for gate in "gifo"), "fc",
    ]  # fmt: skip


def test_of_a_language_model_the_states_between_layers_are_known() -> None:
    """Its embedding, its states and what its decoder reads are of one width: what reads the last states is open."""
    lstm = nn.LSTM(8, 8, 2, batch_first=True)
    module = Net(lambda m, i: m.decoder(lstm(m.encoder(i))[0][:, -1]), encoder=nn.Embedding(30, 8), rnn=lstm,
                 decoder=nn.Linear(8, 30))  # fmt: skip
    wiring = wiring_of(built(module))
    assert claimed(wiring) == {"rnn.hh_l0"}
    assert_module_invariant(module, wiring, torch.arange(30).view(3, 10))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_activation_may_stand_around_a_declared_recurrent_network(kind: str, layers: int) -> None:
    """Behind the embedding and before the head: units have no signs there, but between layers they have."""
    cells: dict[str, type[nn.Module]] = {"lstm": nn.LSTM, "gru": nn.GRU}
    recurrent = cells[kind](10, 8, layers, batch_first=True)
    parts = {"embedding": nn.Embedding(30, 10), kind: recurrent, "fc": nn.Linear(8, 4)}
    module = built(
        Net(lambda m, i: m.fc(torch.relu(recurrent(torch.relu(m.embedding(i)))[0][:, -1])), **parts)
    )
    wiring = wiring_of(module, {"model_type": kind})
    signed = {group.name for group in wiring.groups.values() if "sign" in group.actions}
    assert (wiring.method, signed) == ("family", {f"{kind}.hh_l{layer}" for layer in range(layers - 1)})
    assert_module_invariant(module, wiring, torch.arange(30).view(3, 10))


def test_the_core_between_a_pair_of_low_rank_is_acted_on() -> None:
    at = "lora_unet_down_blocks_0_resnets_0_conv1"
    shapes = {"down": (4, 8, 1, 1), "mid": (3, 4, 3, 3), "up": (8, 3, 1, 1)}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{at}.lora_{part}.weight": torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        for part, shape in shapes.items()
    }

    def product(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        down, mid, up = (tensors[f"{at}.lora_{part}.weight"] for part in shapes)
        return torch.einsum("nor,nrskl,nsi->noikl", up.flatten(2), mid, down.flatten(2)).flatten(1)

    wiring = infer_wiring(infos(**{name: tuple(x.shape[1:]) for name, x in tensors.items()}), {})
    assert claimed(wiring) == {f"{at}.lora_down", f"{at}.lora_mid"}
    assert {"linear", "permute"} < {*wiring.groups[f"{at}.lora_mid"].actions}
    assert_invariant(product, wiring, tensors)


def test_what_is_left_open_is_wired_all_the_same() -> None:
    """A residual network: its stream is one of equal widths, and is coupled as a chain would be, without a claim."""
    module = PLAIN["residual_mlp"].build()
    wiring = wiring_of(module)
    assert [wired.layer.name for wired in wiring.layers] == [
        "fc_in", "blocks.0.0", "blocks.0.2", "blocks.1.0", "blocks.1.2", "fc_out",
    ]  # fmt: skip
    assert claimed(wiring) == {"blocks.0.0", "blocks.1.0"}
    assert all(wiring.readers(name) for name in ("fc_in", "blocks.0.2", "blocks.1.2"))


def test_units_that_nothing_couples_are_each_layers_own() -> None:
    wiring = wiring_of(PLAIN["autoencoder"].build())
    assert claimed(wiring) == {"encoder.0", "decoder.0"}
    code = wiring.groups["encoder.2.out"], wiring.groups["decoder.0.in"]
    assert [group.kind for group in code] == ["independent"] * 2


def test_a_declared_activation_counts_where_layers_are_coupled() -> None:
    module = PLAIN["actor_critic"].build()
    wiring = wiring_of(module, {"hidden_act": "relu"})
    assert {action for group in wiring.groups.values() for action in group.actions} == {"permute", "scale"}
    assert_module_invariant(module, wiring, *PLAIN["actor_critic"].inputs(module)[0].values())
