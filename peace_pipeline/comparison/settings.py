"""What stands beside the weights and belongs to the function: config.json, and the scale of adapters."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import torch

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.formats.onnx import OnnxFile
from peace_pipeline.weights.logical.recognition import said_in_gguf

GRAPHS_ALIKE = "graphs of other operators compute the same"
SETTINGS_ALIKE = "the network that nothing but weights describes has the settings of the other"
_NO_MATTER = re.compile(
    r"""
    _.* | (?:transformers|timm|peft|unsloth|diffusers|keras)_version | (?:torch_)?dtype | name_or_path | auto_map
    | (?:\w+_)?(?:dropout|drop|dropouts|layerdrop)(?:_\w+)? | \w+_(?:dropout|drop)_prob | drop_path_rate
    | initializer_\w+ | init_\w+ | \w+_init(?:ializer)?(?:_\w+)? | use_cache | return_dict\w*
    | output_(?:attentions|hidden_states|scores|router_logits|loading_info)
    | gradient_checkpointing
    | (?:bos|sep|cls|mask|unk|decoder_start|forced_\w+)_token_id | vocab_size
    | n_positions | n_ctx | id2label | label2id | num_labels | num_classes | num_features | problem_type
    | finetuning_task | task_specific_params | tokenizer_class | torchscript | attn_implementation
    | pretrained_cfg | quantization_config
    | pretraining_tp | use_bfloat16 | license
    | language
    | do_sample | num_beams | num_return_sequences | (?:max|min)_length | top_[kp] | early_stopping | prefix
    | tie_word_embeddings | \w*loss\w* | library(?:_name)?
    | base_model_name_or_path | inference_mode | revision | task_type | target_modules | layers_to_transform
    | layers_pattern | auto_mapping | init_lora_weights | modules_to_save | loftq_config | megatron_\w+
    """,
    re.VERBOSE,
)
"""Settings that no output depends on once the weights are there: for training, generating text and keeping books."""
_OF_GGUF = re.compile(
    r"general\.architecture|[\w-]+\.(?:rope\.(?:freq_base|scaling\.\w+)|attention\.(?!key_length|value_length)\w+"
    r"|ssm\.\w+|\w*scale|\w+_softcapping|expert_(?:used_count|weights_\w+|gating_\w+))"
)
"""Metadata of a GGUF file that outputs depend on."""
_ROPE_BASE = 10000.0
"""Of rotary positions where a GGUF file doesn't say it."""
_ACTING = re.compile(r"(?:hidden_)?act(?:ivation)?(?:_\w+)?|(?:\w*_)?(?:eps|epsilon|scale|temperature|slope)")
"""Settings of which a config that says nothing leaves the value open, whatever the network is."""
_OF_PLACES = re.compile(
    r".*(?:roberta|camembert|xlm|longformer|esm|luke|mpnet|data2vec|ibert|layoutlmv3|lilt|m2m_100|xglm|speech_to_text).*"
)
"""Model types that count positions from the first word that is no padding."""
_OF_ENDS = re.compile(r".*clip.*")
"""Model types that read a text where it ends."""
_SIZES = re.compile(
    r"(?:hidden|intermediate)_size|head_dim|layer_types|num_(?:hidden_)?layers|n_(?:layers?|embd|inner)|d_(?:model|ff|kv)"
    r"|(?:en|de)coder_(?:layers|ffn_dim)"
)
"""Settings that shapes and names of tensors show: where these differ they say nothing more."""
_UNHEEDED = re.compile(r"(?:.*\.)?(?:num_batches_tracked|position_ids|token_type_ids)")
"""Tensors of whole numbers that no output depends on, or that are the same in every network."""
_KINDS = ("model_type", "architecture", "peft_type")
"""What says of which class a network is: of transformers, timm or peft."""
_CLASSES = ("architectures", "architecture")
_ALIKE = (
    frozenset(("llama", "mistral", "phi3", "qwen2")),
    frozenset(("roberta", "xlm-roberta", "camembert")),
)
"""Model types that compute the same where all settings agree."""
_SCALED_BY_LENGTH = ("dynamic", "longrope", "yarn")
"""Kinds of rotary positions that depend on the greatest length that a model is made for."""
_LENGTHS = ("max_position_embeddings", "original_max_position_embeddings")
_OF_SCALES = frozenset(("lora_alpha", "r", "alpha_pattern", "rank_pattern", "use_rslora", "lora_parameters"))
_ENDS = ("pad_token_id", "eos_token_id")
_HEADS = frozenset(("lm_head", "embed_out", "output", "decoder", "proj_out"))
_ADAPTER = "adapter_config.json"
_SECOND = re.compile(r"(?P<base>.*)\.lora_(?:B|up)(?:\.\w+)?\.weight")


def differences(a: OpenNetwork, b: OpenNetwork) -> list[str]:
    """Settings of config.json that the function depends on and that differ, with both values; none where a network has
    no config.json."""
    found = list(_differing(_plain(a.config), _plain(b.config))) if a.config and b.config else []
    if not _has_shapes_of(a, b):
        found = [each for each in found if not _SIZES.fullmatch(each.split(" ")[0].rpartition(".")[2])]
    first, second = ({**adapter_config(each)} for each in (a, b))
    if first and second:
        found += [each for each in _differing(first, second) if each.split(" ")[0] not in _OF_SCALES]
    found += _of_files(a, b)
    found += _other_activations(a, b)
    return found + ([] if _is_tied_alike(a, b) else ["tie_word_embeddings"])


def _other_activations(a: OpenNetwork, b: OpenNetwork) -> list[str]:
    """Activations that differ between layers of two networks whose files hold what is computed; those in parts (GELU as
    Erf and products) count as any."""
    passed = [[each.activations for each in network.checkpoint.passages if each.reader] for network in (a, b)]
    if len(passed[0]) != len(passed[1]):
        return []
    pairs = zip(*passed, strict=True)
    others = [(x, y) for x, y in pairs if x != y and not {"several", "any"} & {*x, *y}]
    return [f"activation ({' '.join(x) or 'none'}, {' '.join(y) or 'none'})" for x, y in others[:1]]


def buffer_differences(a: OpenNetwork, b: OpenNetwork) -> list[str]:
    """Tensors of one name in both networks that are no floating-point numbers (masks, indices) and differ."""
    others = b.logical.tensors
    return [
        name
        for name, info in a.logical.tensors.items()
        if not (info.is_floating or _UNHEEDED.fullmatch(name))
        and name in others
        and not others[name].is_floating
        and not torch.equal(a.logical.read(name, None), b.logical.read(name, None))
    ]


def has_unknown_scale(a: OpenNetwork, b: OpenNetwork) -> bool:
    """Whether the scale of an adapter that both have is known of one alone."""
    second = adapter_scales(b)
    return any(
        name in second and (scale is None) != (second[name] is None)
        for name, scale in adapter_scales(a).items()
    )


def scale_differences(a: OpenNetwork, b: OpenNetwork) -> list[str]:
    """Settings of the scales of adapters that differ, where the scales do."""
    first, second = adapter_scales(a), adapter_scales(b)
    pairs = ((scale, second.get(name)) for name, scale in first.items())
    differing = {(x, y) for x, y in pairs if x is not None and y is not None and not _is_same(x, y)}
    settings = _differing(adapter_config(a), adapter_config(b)) if differing else ()
    found = [each for each in settings if each.split(" ")[0] in _OF_SCALES]
    return found or [f"scale of adapters ({x:g}, {y:g})" for x, y in sorted(differing)]


def adapter_config(network: OpenNetwork) -> dict[str, Any]:
    """What the folder's adapter_config.json says; empty where there is none that can be read."""
    if network.folder is None:
        return {}
    try:
        found = json.loads((Path(network.folder) / _ADAPTER).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def adapter_scales(network: OpenNetwork) -> dict[str, float | None]:
    """Weight of the second layer of each adapter → what the pair's product is multiplied with; ``None`` where nothing
    says it.

    That is α/r, or α/√r where the config asks for rank-stabilised scaling (Kalajdzievski 2023).
    """
    config = adapter_config(network)
    found: dict[str, float | None] = {}
    for name, info in network.logical.tensors.items():
        if match := _SECOND.fullmatch(name):
            alpha = f"{match['base']}.alpha"
            if alpha in network.logical.tensors:
                found[name] = float(network.logical.read(alpha).flatten()[0]) / info.shape[1]
            else:
                found[name] = _configured(config, match["base"], info.shape[1])
    return found


def is_scale(name: str, network: OpenNetwork) -> bool:
    """Whether a scalar is the α of an adapter."""
    base = name.removesuffix(".alpha")
    return base != name and any(
        f"{base}.{second}.weight" in network.logical.tensors for second in ("lora_B", "lora_up")
    )


def unproven(a: OpenNetwork, b: OpenNetwork) -> list[str]:
    """What nothing beside the weights proves, of two networks whose weights are of one function."""
    described = {
        bool(each.config or each.checkpoint.settings) or each.checkpoint.functions is not None
        for each in (a, b)
    }
    return [SETTINGS_ALIKE] * (len(described) == 2) + [GRAPHS_ALIKE] * _has_other_operators(a, b)


def _has_other_operators(a: OpenNetwork, b: OpenNetwork) -> bool:
    """Whether both networks are ONNX graphs, and not of the same operators."""
    files = [
        [file for file in each.checkpoint.files.values() if isinstance(file, OnnxFile)] for each in (a, b)
    ]
    found = [Counter(node.op for file in own for node in file.graph.nodes) for own in files]
    return all(files) and found[0] != found[1]


def _has_shapes_of(a: OpenNetwork, b: OpenNetwork) -> bool:
    first, second = (sorted(info.shape for info in each.logical.tensors.values()) for each in (a, b))
    return first == second


def _of_files(a: OpenNetwork, b: OpenNetwork) -> Iterator[str]:
    """What files say that outputs depend on (GGUF, ONNX, Keras), where the other file or its config says otherwise."""
    said = [each.checkpoint.settings for each in (a, b)]
    if all(said):
        yield from _differing(_metadata(said[0]), _metadata(said[1]), is_one_class=True)
    elif any(said):
        configs = [
            said_in_gguf(own) if own else _plain(each.config) for own, each in zip(said, (a, b), strict=True)
        ]
        yield from _differing(configs[0], configs[1])
    graphs = [each.checkpoint.functions for each in (a, b)]
    is_one_format = len({type(file) for each in (a, b) for file in each.checkpoint.files.values()}) == 1
    first, second = graphs
    if first is None or second is None or not is_one_format:
        return
    for function in sorted(first.keys() | second.keys()):
        if (often := first.get(function, 0)) != (other := second.get(function, 0)):
            yield f"{function} ({often} times, {other} times)"


def _metadata(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a GGUF file says that outputs depend on."""
    base = f"{said.get('general.architecture')}.rope.freq_base"
    return {base: _ROPE_BASE} | {key: value for key, value in said.items() if _OF_GGUF.fullmatch(key)}


def _configured(config: Mapping[str, Any], base: str, rank: int) -> float | None:
    parameters = config.get("lora_parameters")
    if isinstance(parameters, Mapping) and _is_number(parameters.get("scale")):
        return float(parameters["scale"])
    alpha = config.get("lora_alpha")
    patterns = config.get("alpha_pattern")
    for pattern, own in patterns.items() if isinstance(patterns, Mapping) else ():
        if base == pattern or base.endswith(f".{pattern}"):
            alpha = own
    if not _is_number(alpha):
        return None
    return float(alpha) / (rank**0.5 if config.get("use_rslora") is True else rank)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config in which rotary positions are described in one way."""
    found = {**config}
    rotary = found.get("rope_parameters")
    if isinstance(rotary, Mapping) and not any(isinstance(each, Mapping) for each in rotary.values()):
        del found["rope_parameters"]
        own = {key: rotary[key] for key in ("rope_theta", "partial_rotary_factor") if key in rotary}
        found = own | found
        found.setdefault("rope_scaling", {key: rotary[key] for key in rotary if key not in own})
    scaling = found.get("rope_scaling")
    if isinstance(scaling, Mapping):
        scaling = {"rope_type": scaling.get("type"), **scaling}
        is_default = scaling["rope_type"] in (None, "default")
        found["rope_scaling"] = None if is_default else {k: v for k, v in scaling.items() if k != "type"}
    return found


def _differing(
    a: Mapping[str, Any], b: Mapping[str, Any], place: str = "", *, is_one_class: bool = False
) -> Iterator[str]:
    """Settings that differ. One that only one config has is taken to be the other's default where both are of one
    class, and is left out where they are not; ``is_one_class`` says so of what they are a part of."""
    kinds = _kind(a), _kind(b)
    if any(kinds):
        is_one_class = kinds[0] == kinds[1] or any(kinds_alike.issuperset(kinds) for kinds_alike in _ALIKE)
    defaults = ["sliding_window", "rms_norm_eps"] if is_one_class and kinds[0] != kinds[1] else []
    for key in dict.fromkeys([*a, *b, *defaults]):
        if not _matters(key, a, b) or (key in _CLASSES and kinds[0] != kinds[1]):
            continue
        is_open = (
            key not in _CLASSES and not _SIZES.fullmatch(key)
            if is_one_class
            else not any(kinds) and _ACTING.fullmatch(key)
        )
        if not (key in a and key in b) and not is_open:
            continue
        if key == "model_type" and is_one_class:
            continue
        first, second = (
            each[key] if key in each else _defaults(kind).get(key)
            for each, kind in zip((a, b), kinds, strict=True)
        )
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            yield from _differing(first, second, f"{place}{key}.", is_one_class=is_one_class)
        elif not (_is_same(first, second) or (_is_nothing(first) and _is_nothing(second))):
            yield f"{place}{key} ({_short(first)}, {_short(second)})"


def _kind(config: Mapping[str, Any]) -> str | None:
    return next((str(config[key]) for key in _KINDS if config.get(key)), None)


def _matters(key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether outputs can depend on a setting."""
    if key in _ENDS:
        return _heeds(a, key) or _heeds(b, key)
    if key in _LENGTHS:
        return any(map(_is_scaled_by_length, (a, b)))
    return not _NO_MATTER.fullmatch(key)


def _is_scaled_by_length(config: Mapping[str, Any]) -> bool:
    """Whether positions depend on the greatest length that a model is made for."""
    parameters = config.get("rope_parameters")
    ropes = [config.get("rope_scaling"), *(parameters.values() if isinstance(parameters, Mapping) else ())]
    kinds = [each.get("rope_type") for each in ropes if isinstance(each, Mapping)]
    return any(kind in _SCALED_BY_LENGTH for kind in kinds) or str(config.get("model_type")).startswith(
        "deberta"
    )


def _heeds(config: Mapping[str, Any], key: str) -> bool:
    """Whether outputs depend on which word pads or ends a text: where positions or a classifier's word follow it."""
    kind, classes = str(config.get("model_type")), str(config.get("architectures"))
    model_types = _OF_PLACES if key == "pad_token_id" else _OF_ENDS
    return model_types.fullmatch(kind) is not None or "ForSequenceClassification" in classes


def _is_same(first: object, second: object) -> bool:
    """Whether two values are equal, numbers as far as float32 tells them apart."""
    if _is_number(first) and _is_number(second):
        return math.isclose(first, second, rel_tol=1e-6)
    return first == second


def _is_nothing(value: object) -> bool:
    return value is None or value is False or value in ({}, [], "")


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}…"


@cache
def _defaults(model_type: str | None) -> dict[str, Any]:
    """What the settings are that a config leaves out, where the transformers library is there to say so."""
    try:
        from transformers import AutoConfig

        return _plain(AutoConfig.for_model(str(model_type)).to_dict())
    except Exception:
        return {}


def _is_tied_alike(a: OpenNetwork, b: OpenNetwork) -> bool:
    """Whether both configs make the same of the output embedding: a copy that the file has is as good as a tie."""
    flags = [each.config.get("tie_word_embeddings") for each in (a, b)]
    if None in flags or flags[0] == flags[1]:
        return True
    tied, untied = (a, b) if flags[0] else (b, a)
    return _has_head(untied.checkpoint.tensors) and not _has_head(tied.logical.tensors)


def _has_head(names: Mapping[str, object]) -> bool:
    return any(name.removesuffix(".weight").rpartition(".")[2] in _HEADS for name in names)
