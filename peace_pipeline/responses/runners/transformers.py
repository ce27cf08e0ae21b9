"""Classes of the installed transformers, by config.json's names; nothing that comes with a model is executed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import (
    CannotRun,
    Model,
    Ready,
    Seen,
    labels_of,
    no_more_than,
    read_by_last_linear_layer,
)
from peace_pipeline.responses.standard import NUMBERS, TOKENS
from peace_pipeline.responses.tokenizing import in_words
from peace_pipeline.weights.conventions import conventions_of
from peace_pipeline.weights.logical import CONV1D, LogicalTensors, gains_less_one, in_library, spelled

_IMAGE, _SOUND, _TEXT = 128, 8000, 32
"""Sizes of inputs where any would do: sides of images, samples, tokens."""
_AT_ONCE = 32
_REFUSED = ("backbone", "use_timm_backbone", "timm_model")
"""Keys by which a config has the library load something else, too."""
_IGNORED = ("quantization_config", "quantization", "compression_config",
            "auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal",
            "experts_implementation", "use_kernels", "fusion_config", "dtype", "torch_dtype",
            "output_attentions", "output_hidden_states", "return_dict", "use_return_dict")  # fmt: skip


def takes(model: Model) -> bool:
    """See :class:`Runner`: where transformers is installed and knows the config's ``model_type``."""
    if not isinstance(model.config.get("model_type"), str) or find_spec("transformers") is None:
        return False
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model.config["model_type"] in CONFIG_MAPPING_NAMES


def load(model: Model) -> Ready:
    """See :class:`Runner`.

    Raises:
        CannotRun: where the library has no such class, or the weights are not all of its own.
    """
    stored = in_library(model.checkpoint, model.config)
    with _quiet():
        kind, config = _described(model.config)
        with no_more_than(stored):
            kind(config)
        module = _filled(kind, config, model, stored)
    spec = in_words(_input_spec(kind, config), model.folder)

    def ask(modules: Sequence[nn.Module], inputs: Tensor) -> Seen:
        return _seen(modules[0], spec, inputs)

    return Ready(model.key, "transformers", spec, module, ask, labels_of(model.config), at_once=_AT_ONCE)


def _described(given: dict[str, Any]) -> tuple[Any, Any]:
    """The class and the library's configuration of a config.json."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    config = CONFIG_MAPPING[given["model_type"]].from_dict(_cleaned(given))
    name = next(iter(given.get("architectures") or ()), None)
    kind = getattr(transformers, name, None) if isinstance(name, str) else MODEL_MAPPING[type(config)]
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise CannotRun(f"the installed transformers has no {name}")
    if not isinstance(config, kind.config_class or ()):
        raise CannotRun(f"{name} is not of model type {given['model_type']}")
    return kind, config


def _cleaned(value: Any) -> Any:
    """A config, and those inside it, without what would choose code or a number format."""
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    if refused := [key for key in _REFUSED if value.get(key)]:
        raise CannotRun(f"its config.json has {refused[0]}")
    return {key: _cleaned(item) for key, item in value.items() if key not in _IGNORED}


def _filled(kind: Any, config: Any, model: Model, stored: LogicalTensors) -> nn.Module:
    """The module, built on the meta device and given the checkpoint's tensors by the library's own names for them."""
    tensors = stored.tensors
    state = {
        name: stored.read(info.name, torch.float32 if info.is_floating else None)
        for name, info in zip(spelled(list(tensors)), tensors.values(), strict=True)
    }
    module, told = kind.from_pretrained(
        None,
        config=config,
        state_dict=_as_in_library(state, model),
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
        local_files_only=True,
    )
    if missing := sorted(told["missing_keys"]):
        raise CannotRun(f"its weights have no {', '.join(missing[:5])}")
    if model.is_assumed and (other := sorted(told["unexpected_keys"])):
        raise CannotRun(f"what its {', '.join(other[:5])} are for is not known")
    module.config.return_dict = True
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    return module.eval()


def _as_in_library(state: dict[str, Tensor], model: Model) -> dict[str, Tensor]:
    """Tensors as the library has them: gains less one, matrices (in, out), gates and units of experts in one."""
    conventions, gates = conventions_of(model.config), ".experts.gate_proj.weight"
    if (less_one := conventions.gains_less_one) and not gains_less_one(
        model.config, model.checkpoint.settings
    ):
        state = {name: value - 1 if less_one.fullmatch(name) else value for name, value in state.items()}
    fused = (value.shape for name, value in state.items() if name.endswith("c_attn.weight"))
    if conventions.conv1d and any(shape[0] > shape[-1] for shape in fused):
        state = {name: value.mT if CONV1D.fullmatch(name) else value for name, value in state.items()}
    for at in [name.removesuffix(gates) for name in state if name.endswith(gates)]:
        both = [state.pop(f"{at}.experts.{role}_proj.weight") for role in ("gate", "up")]
        state[f"{at}.experts.gate_up_proj"] = torch.cat(both, 1)
        state[f"{at}.experts.down_proj"] = state.pop(f"{at}.experts.down_proj.weight")
    return state


def _input_spec(kind: Any, config: Any) -> InputSpec:
    name = kind.main_input_name
    if name == "pixel_values":
        inner = getattr(config, "vision_config", config)
        size = getattr(inner, "image_size", None) or _IMAGE
        sides = (size, size) if isinstance(size, int) else tuple(size)
        return InputSpec(NUMBERS, (getattr(inner, "num_channels", 3), *sides))
    if name == "input_values":
        return InputSpec(NUMBERS, (_SOUND,))
    if name == "input_features" and hasattr(config, "num_mel_bins"):
        return InputSpec(
            NUMBERS, (config.num_mel_bins, 2 * config.max_source_positions), channels_first=False
        )
    if name != "input_ids":
        raise CannotRun(f"takes {name}")
    text = config.get_text_config()
    first = next((each for each in (_id(text, "cls"), _id(text, "bos")) if each is not None), None)
    return InputSpec(TOKENS, (_TEXT,), vocabulary=text.vocab_size, padding=_id(text, "pad") or 0, first=first)


def _id(config: Any, name: str) -> int | None:
    value = getattr(config, f"{name}_token_id", None)
    return value if isinstance(value, int) and 0 <= value < config.vocab_size else None


def _seen(module: nn.Module, spec: InputSpec, inputs: Tensor) -> Seen:
    config: Any = module.config
    given: dict[str, Tensor] = {str(module.main_input_name): inputs}
    last = torch.full((len(inputs),), -1)
    if spec.kind != NUMBERS and spec.padding != spec.first:
        mask = (inputs != spec.padding).long()
        given["attention_mask"] = mask
        last = mask.sum(1) - 1
    if config.is_encoder_decoder:
        start = next(
            (
                each
                for each in (getattr(config, "decoder_start_token_id", None), _id(config, "bos"))
                if isinstance(each, int)
            ),
            0,
        )
        given["decoder_input_ids"], last = torch.full((len(inputs), 1), start), torch.full((len(inputs),), -1)
    with read_by_last_linear_layer(module) as read:
        found = module(**given)
    logits = found.get("logits")
    if not isinstance(logits, Tensor):
        return Seen(None, _flat(found["last_hidden_state"], last)[None])
    hidden = read[0] if read and len(read[0]) == len(inputs) else None
    return Seen(_flat(logits, last)[None], None if hidden is None else _flat(hidden, last)[None])


def _flat(values: Tensor, last: Tensor) -> Tensor:
    """One vector an input: at the last token of a sequence, on average over a picture."""
    if values.dim() == 3:
        return values[torch.arange(len(values)), last]
    return values.mean(tuple(range(2, values.dim()))) if values.dim() > 3 else values


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's reports on what it loads."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    shown = logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if shown:
            logging.enable_progress_bar()
