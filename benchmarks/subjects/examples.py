"""Inputs of several kinds for a model of transformers, by the arguments that its forward takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .small import FIRST_SPECIAL
from .subject import BATCH, Inputs, Outputs, Unbuildable

LENGTH, SAMPLES = 8, 4000
_MOST = 6
_INNER = re.compile(
    r"past_key_values|.*hidden_states?|.*attentions?|mems|cache_params|.*state|.*_model_output|.*_outputs|.*router_logits"
    r"|extract_features|loss"
)
"""Outputs that are inner states of the network, in whose coordinates anything may happen."""


def examples(module: nn.Module, run: Callable[[nn.Module, Inputs], Outputs]) -> list[Inputs]:
    """Those inputs, of all that are known, on which the module runs and gives numbers.

    Raises:
        Unbuildable: where there are none.
    """
    found: list[Inputs] = []
    errors: list[str] = []
    for inputs in candidates(module):
        if "pixel_values" in inputs and any(inputs.keys() <= each.keys() for each in found):
            continue  # an image of another size
        try:
            inputs, outputs = _with_image_tokens(module, inputs, run)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}".split("\n")[0])
            continue
        if outputs and all(x.isfinite().all() for x in outputs):
            found.append(inputs)
        else:
            errors.append("its outputs are no numbers")
    if not found:
        raise Unbuildable(errors[-1] if errors else "no inputs are known for it")
    return found[-_MOST:]


def function(outputs: Any) -> Outputs:
    """The tensors in what a model gives that are its function: no inner states, no caches."""
    if isinstance(outputs, Tensor):
        return [outputs.double()] if outputs.is_floating_point() else []
    if isinstance(outputs, dict):
        named = {key: value for key, value in outputs.items() if not _INNER.fullmatch(key)}
        if not named and "last_hidden_state" in outputs:
            named = {}
        if "logits" not in outputs and "last_hidden_state" in outputs:
            named["last_hidden_state"] = outputs["last_hidden_state"]
        return [tensor for value in named.values() for tensor in function(value)]
    if isinstance(outputs, list | tuple):
        return [tensor for value in outputs for tensor in function(value)]
    return []


def candidates(module: nn.Module) -> Iterator[Inputs]:
    """Inputs that a module may take, the simplest first."""
    config: Any = module.config
    takes = set(inspect.signature(module.forward).parameters)
    g = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(BATCH, *shape, generator=g, dtype=torch.float64)

    def ids(length: int = LENGTH) -> Tensor:
        most = min(FIRST_SPECIAL, _of(config, "vocab_size") or FIRST_SPECIAL)
        return torch.randint(4, most, (BATCH, length), generator=g)

    texts = list(_texts(config, takes, ids, normal)) if "input_ids" in takes else []
    images = [{"pixel_values": x} for x in _images(config, normal)] if "pixel_values" in takes else []
    sounds = list(_sounds(config, takes, normal))
    spoken = {"decoder_input_ids": ids(LENGTH - 2)} if "decoder_input_ids" in takes else {}
    yield from texts
    for other in [*images, *sounds]:
        yield other
        if spoken:
            yield other | spoken
        if "bool_masked_pos" in takes:
            patches = (_of(config, "image_size") // _of(config, "patch_size")) ** 2
            masked = torch.rand(BATCH, patches, generator=g) < 0.5
            yield other | {"bool_masked_pos": masked}
        if "mask_time_indices" in takes:
            frames = int(module._get_feat_extract_output_lengths(torch.tensor(SAMPLES)))
            yield other | {"mask_time_indices": torch.rand(BATCH, frames, generator=g) < 0.5}
        for text in texts[:2]:
            yield text | other
            if "pixel_values" in other and _of(config, "image_token_id"):
                yield text | {"pixel_values": other["pixel_values"][:, None]}
    if "image_grid_thw" in takes and texts:
        vision = config.vision_config
        size = 3 * getattr(vision, "temporal_patch_size", 1) * vision.patch_size**2
        grids = torch.tensor([[1, 4, 4]] * BATCH)
        yield texts[0] | {"pixel_values": normal(16, size).flatten(0, 1), "image_grid_thw": grids}


def _texts(
    config: Any, takes: set[str], ids: Callable[..., Tensor], normal: Callable[..., Tensor]
) -> Iterator[Inputs]:
    """Texts, whole and padded, of two segments, on a page, with entities, beside an encoder's states. Not
    as vectors: their coordinates are the stream's, which the file chooses."""
    plain: Inputs = {"input_ids": ids()}
    if "decoder_input_ids" in takes:
        yield plain | {"decoder_input_ids": ids(LENGTH - 2)}
    else:
        yield plain
    plain |= {"decoder_input_ids": ids(LENGTH - 2)} if "decoder_input_ids" in takes else {}
    if "bbox" in takes:
        corners = torch.arange(BATCH * LENGTH * 2).reshape(BATCH, LENGTH, 2) * 3 % 400
        plain |= {"bbox": torch.cat([corners, corners + 50 + corners % 7], -1)}
        yield plain
    if "attention_mask" in takes:
        mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
        mask[0, -2:] = 0
        yield plain | {"attention_mask": mask}
    if "token_type_ids" in takes and (_of(config, "type_vocab_size") or 0) > 1:
        yield plain | {"token_type_ids": torch.tensor([0] * 3 + [1] * (LENGTH - 3)).expand(BATCH, -1)}
    if "entity_ids" in takes:
        yield plain | {
            "entity_ids": ids(2),
            "entity_position_ids": torch.tensor([[[1, 2, -1], [4, -1, -1]]]).expand(BATCH, -1, -1),
            "entity_attention_mask": torch.ones(BATCH, 2, dtype=torch.long),
        }
    if "global_attention_mask" in takes:
        yield plain | {"global_attention_mask": torch.eye(BATCH, LENGTH, dtype=torch.long)}
    width = _of(config, "hidden_size")
    if "encoder_hidden_states" in takes and isinstance(width, int):
        yield plain | {"encoder_hidden_states": normal(5, width)}


def _images(config: Any, normal: Callable[..., Tensor]) -> Iterator[Tensor]:
    """Images and videos of the size that a config names, and of others."""
    channels = _of(config, "num_channels") or 3
    channels = channels if isinstance(channels, int) else 3
    size = _of(config, "image_size")
    sides = (
        [tuple(size)[-2:]]
        if isinstance(size, list | tuple)
        else [(size, size)]
        if isinstance(size, int)
        else []
    )
    for height, width in [*sides, (32, 32), (64, 64)]:
        yield normal(channels, height, width) + normal(channels, 1, 1)
        if frames := _of(config, "num_frames"):
            yield normal(frames, channels, height, width)


def _sounds(config: Any, takes: set[str], normal: Callable[..., Tensor]) -> Iterator[Inputs]:
    """Waves and spectrograms, time first or last."""
    if "input_values" in takes:
        yield {"input_values": normal(SAMPLES)}
        yield {"input_values": normal(1, SAMPLES)}
    bands = (
        _of(config, "num_mel_bins")
        or _of(config, "feature_size")
        or _of(config, "input_feat_per_channel")
        or 80
    )
    frames = 2 * (_of(config, "max_source_positions") or 16)
    for name in ("input_features", "input_values"):
        if name in takes and isinstance(bands, int):
            length = _of(config, "max_length") if name == "input_values" else frames
            length = length if isinstance(length, int) and length > 20 else frames
            yield {name: normal(bands, length)}
            yield {name: normal(length, bands)}


def _of(config: Any, name: str) -> Any:
    """A setting of a config, or of the first part of it that has it."""
    if getattr(config, name, None) is not None:
        return getattr(config, name)
    for part in getattr(config, "sub_configs", {}):
        inner = getattr(config, part, None)
        if inner is not None and (found := _of(inner, name)) is not None:
            return found
    return None


def _with_image_tokens(
    module: nn.Module, inputs: Inputs, run: Callable[[nn.Module, Inputs], Outputs]
) -> tuple[Inputs, Outputs]:
    """Run a module; where images or sounds come with a text, as many tokens stand for them as the module asks for."""
    ids = inputs.get("input_ids")
    config: Any = module.config
    places = {
        key: getattr(config, name)
        for key in ("pixel_values", "input_features", "input_values")
        if key in inputs
        for name in ("image_token_id", "image_token_index", "audio_token_id", "audio_token_index")
        if isinstance(getattr(config, name, None), int) and ("image" in name) == (key == "pixel_values")
    }
    if ids is None or not places:
        return inputs, run(module, inputs)
    token, takes = next(iter(places.values())), inspect.signature(module.forward).parameters

    def placed(each: int) -> Inputs:
        new = torch.cat([ids[:, :3], ids.new_full((BATCH, each), token), ids[:, 3:]], 1)
        marked = {"mm_token_type_ids": (new == token).long()} if "mm_token_type_ids" in takes else {}
        mask = {"attention_mask": torch.ones_like(new)} if "attention_mask" in inputs else {}
        return inputs | {"input_ids": new} | marked | mask

    try:
        return placed(1), run(module, placed(1))
    except Exception as error:
        numbers = [int(number) for number in re.findall(r"\d+", str(error))]
    for each in dict.fromkeys(n // BATCH for n in numbers if n >= BATCH and n % BATCH == 0):
        try:
            return placed(each), run(module, placed(each))
        except Exception:
            continue
    for each in dict.fromkeys([4, 16, 1]):
        try:
            return placed(each), run(module, placed(each))
        except Exception as error:
            last = error
    raise last
