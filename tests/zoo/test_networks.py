"""Which files are which network: shards, formats, precisions and quantisations of one are together."""

from __future__ import annotations

import pytest

from peace_pipeline.zoo.formats import is_ambiguous, is_weights
from peace_pipeline.zoo.networks import Network, networks, whole_of


def grouped(*names: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {found.name: (found.files, found.variants) for found in networks(names)}


def test_loose_files_are_a_network_each() -> None:
    assert grouped("a.pt", "b.pt", "c.onnx") == {name: ((name,), ()) for name in ("a.pt", "b.pt", "c.onnx")}


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("net.onnx", "net.pt", "net.safetensors", "net.gguf"), "net.safetensors"),
        (
            ("m-Q2_K.gguf", "m-IQ4_XS.gguf", "m-Q8_0.gguf", "m-UD-Q4_K_XL.gguf", "m.i1-Q6_K.gguf"),
            "m-Q8_0.gguf",
        ),
        (("m-Q8_0.gguf", "m-F16.gguf", "m-BF16.gguf", "m-F32.gguf"), "m-F32.gguf"),
        (("model.fp16.safetensors", "model.safetensors"), "model.safetensors"),
        (("model_quantized.onnx", "model_q4f16.onnx", "model_fp16.onnx", "model.onnx"), "model.onnx"),
        (("model-4bit.safetensors", "model.onnx"), "model.onnx"),
        (
            ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.safetensors"),
            "model.safetensors",
        ),
        (("model_qint8_avx512_vnni.onnx", "model_O4.onnx", "model.onnx"), "model.onnx"),
        (("net_int8.tflite", "net_fp16.tflite"), "net_fp16.tflite"),
        (("best.pth.tar", "best.onnx"), "best.pth.tar"),
    ],
)
def test_variants_are_one_network_and_the_best_is_read(names: tuple[str, ...], best: str) -> None:
    ((name, (files, variants)),) = grouped(*names).items()
    assert (name, files) == ("", (best,))
    assert {*variants} == {*names} - {best}


def test_shards_are_one_and_say_what_is_missing() -> None:
    parts = tuple(f"m-0000{part}-of-00003.gguf" for part in (1, 2, 3))
    assert networks(parts) == [Network("", parts)]
    (found,) = networks(parts[:2])
    assert found.missing == "2 of 3 shards"
    assert networks([*parts[:2], "m.safetensors"]) == [Network("", ("m.safetensors",), parts[:2])]


@pytest.mark.parametrize(
    "form",
    ["m_{:05}-of-00002.bin", "m.{:05}-of-00002.bin", "m-{}-of-2.bin", "m-{:05}-of-00002.fp16.safetensors"],
)
def test_every_spelling_of_shards(form: str) -> None:
    names = [form.format(part) for part in (1, 2)]
    assert [found.files for found in networks(names)] == [tuple(names)]
    assert networks(names[1:])[0].missing == "1 of 2 shards"


@pytest.mark.parametrize(
    "form", ["consolidated.{:02}.pth", "mp_rank_{:02}_model_states.pt", "model-rank{}.pt", "rank_{}.pt"]
)
def test_parts_of_ranks_are_refused_and_one_alone_is_whole(form: str) -> None:
    names = [form.format(part) for part in (0, 1)]
    (found,) = networks(names)
    assert "one rank of 2" in (found.missing or "")
    assert networks(names[:1]) == [Network("", (names[0],))]


def test_ranks_of_adapters_are_no_parts() -> None:
    assert len(networks(["style_rank_4.pt", "style_rank_32.pt"])) == 2
    assert networks(["model_world_size_2_rank_0.pt"])[0].missing


def test_what_an_index_names_is_one() -> None:
    (own, other) = networks(["a.bin", "b.bin", "c.bin"], [["a.bin", "b.bin"]])
    assert own == Network("", ("a.bin", "b.bin"))
    assert other.name == "c.bin"


def test_each_index_is_a_variant() -> None:
    full, bins, half = (
        [form.format(part) for part in (1, 2)]
        for form in (
            "model-{:05}-of-00002.safetensors",
            "pytorch_model-{:05}-of-00002.bin",
            "model.fp16-{:05}-of-00002.safetensors",
        )
    )
    for order in ([full, bins, half], [half, bins, full]):
        (found,) = networks([*full, *bins, *half], order)
        assert (found.name, found.files, found.missing) == ("", tuple(full), None)
        assert {*found.variants} == {*bins, *half}
    assert networks(full, [bins, full]) == [Network("", tuple(full))]
    (found,) = networks([*full[:1], *bins], [full, bins])
    assert (found.files, found.missing) == (tuple(bins), None)
    assert whole_of(bins[0], [*full, *bins], [full, bins]).files == tuple(bins)


def test_twins_and_folds_are_networks_of_their_own() -> None:
    for names in (
        ("sac_q1.pt", "sac_q2.pt"),
        ("gen_o1.pt", "gen_o2.pt"),
        ("net_static.pt", "net_dynamic.pt"),
        ("m_fold_1_of_2.pt", "m_fold_2_of_2.pt"),
        ("fold-1-of-2.pt", "fold-2-of-2.pt"),
        ("frank0.pt", "frank1.pt"),
    ):
        assert len(networks(names)) == 2, names
        assert whole_of(names[0], names) == Network(names[0], names[:1])
    (found,) = networks(["m.weights.h5", "m.keras"])
    assert found.files == ("m.keras",)


def test_the_folders_own_network_comes_first() -> None:
    found = grouped("vae.pt", "model.safetensors", "adapter.safetensors")
    assert [*found] == ["", "adapter.safetensors", "vae.pt"]
    assert [*grouped("a.pt", "adapter_model.safetensors")] == ["", "a.pt"]


def test_networks_of_other_names_are_others() -> None:
    assert len(grouped("yolov8n.pt", "yolov8s.pt", "yolov8m.pt")) == 3
    assert len(grouped("m-Q8_0.gguf", "mmproj-F16.gguf")) == 2
    assert len(grouped("epoch_1.pt", "epoch_2.pt")) == 2


def test_names_that_are_no_weights() -> None:
    for name in (
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "optimizer.pt",
        "training_args.bin",
        "policy.optimizer.pth",
        ".hidden.pt",
        "a.txt",
        "rng_state_0.pth",
    ):
        assert not is_weights(name), name
    for name in ("a.zip", "a.pkl", "weights", "a.tar", "model.ckpt-1000"):
        assert is_ambiguous(name)
        assert not is_weights(name)
    for name in ("a.pth.tar", "b.PT.tar"):
        assert is_weights(name)
        assert not is_ambiguous(name)
    assert not is_ambiguous("events.out.tfevents.1700000000.host.1.0")
