"""Inputs of all kinds that a model of transformers takes, by the arguments of its ``forward`` and its config."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from peace_pipeline.symmetry.wiring.tracing.modules import Example

_LENGTH, _SHORT, _BATCH, _SAMPLES, _SIDE = 7, 5, 2, 16_000, 224
_MOST_TILES, _MOST_PLACES, _LARGE_SIDE = 256, 10_000, 448
_CONTENTS = (
    "input_ids",
    "pixel_values",
    "input_values",
    "input_features",
    "visual_embeds",
    "visual_feats",
    "bbox",
)
"""Names of what a model may be about; all others only say how to look at it."""
_PLACES = ("image_token_id", "image_token_index", "video_token_id", "audio_token_id", "audio_token_index")
"""Names of the token that stands for a part of an image or a sound in a text."""


class _Examples:
    """Examples for one module."""

    def __init__(self, module: Any) -> None:
        self.module, self.config = module, module.config
        self.takes = inspect.signature(module.forward).parameters
        self._generator = torch.Generator().manual_seed(1)

    def all(self) -> Iterator[Example]:
        """The simplest first."""
        for inputs in self._inputs():
            ids = inputs.get("input_ids")
            tokens = [token for token in self._tokens() if ids is not None and (ids == token).any()]
            if not tokens:
                yield Example(kwargs=inputs)
                continue
            yield WithPlaces(
                kwargs=inputs,
                token=tokens[0],
                widths=tuple({1, *_every(self.config, "hidden_size")}),
                kind=self._kind(tokens[0]) if "mm_token_type_ids" in self.takes else None,
            )

    def _inputs(self) -> Iterator[dict[str, Tensor]]:
        texts = list(self._texts()) if "input_ids" in self.takes else []
        yield from texts
        others = [*self._images(), *self._sounds(), *self._vectors()]
        for other in others:
            yield other | self._spoken()
            yield from ({**other, **self._spoken(), **more} for more in self._masks_of(other))
            if texts:
                yield from ({**texts[0], **text, **other} for text in self._with_places(other))

    def normal(self, *shape: int) -> Tensor:
        """Random numbers."""
        return torch.randn(_BATCH, *shape, generator=self._generator)

    def ids(self, length: int) -> Tensor:
        """Random tokens."""
        most = _of(self.config, "vocab_size")
        most = min(most, 60) if isinstance(most, int) else 60
        words = torch.tensor([*({*range(min(4, most - 1), most)} - {*self._tokens()})] or [0])
        return words[torch.randint(len(words), (_BATCH, length), generator=self._generator)]

    def _spoken(self) -> dict[str, Tensor]:
        """What a decoder has said, in words or in sounds of a voice."""
        found = {"decoder_input_ids": self.ids(_SHORT)} if "decoder_input_ids" in self.takes else {}
        bands, voice = (_of(self.config, name) for name in ("num_mel_bins", "speaker_embedding_dim"))
        if "decoder_input_values" in self.takes and isinstance(bands, int):
            found["decoder_input_values"] = self.normal(2 * _SHORT, bands)
            if "speaker_embeddings" in self.takes and isinstance(voice, int):
                found["speaker_embeddings"] = self.normal(voice)
        return found

    def _texts(self) -> Iterator[dict[str, Tensor]]:
        text = {"input_ids": self.ids(_LENGTH)} | self._spoken()
        yield text
        mask = torch.ones(_BATCH, _LENGTH, dtype=torch.long)
        mask[0, -2:] = 0
        beside = {
            "attention_mask": mask,
            "token_type_ids": (torch.arange(_LENGTH) > 3).long().expand(_BATCH, -1),
        }
        if (_of(self.config, "type_vocab_size") or 2) < 2:
            del beside["token_type_ids"]
        corners = torch.arange(_BATCH * _LENGTH * 2).reshape(_BATCH, _LENGTH, 2) % 17
        beside["bbox"] = torch.cat([corners, corners + 5 + corners % 7], -1)
        beside["global_attention_mask"] = torch.eye(_BATCH, _LENGTH, dtype=torch.long)
        beside["langs"] = torch.zeros(_BATCH, _LENGTH, dtype=torch.long)
        beside["perm_mask"] = torch.zeros(_BATCH, _LENGTH, _LENGTH)
        for name, value in beside.items():
            if name in self.takes:
                yield text | {name: value}
                text |= {name: value} if name == "bbox" else {}
        if "entity_ids" in self.takes:
            places = torch.tensor([[[1, 2, -1], [4, -1, -1]]]).expand(_BATCH, -1, -1)
            entities = {"entity_ids": self.ids(2), "entity_position_ids": places}
            yield text | entities | {"entity_attention_mask": torch.ones(_BATCH, 2, dtype=torch.long)}
        for width in self._widths("encoder_hidden_states"):
            yield text | {"encoder_hidden_states": self.normal(_SHORT, width)}
        for width in self._widths("visual_embeds"):
            yield text | {"visual_embeds": self.normal(_SHORT, width)}

    def _widths(self, name: str) -> list[int]:
        """Widths that vectors of this name may have."""
        if name not in self.takes:
            return []
        keys = ("visual_embedding_dim", "visual_feat_dim") if name == "visual_embeds" else (
            "cross_attention_hidden_size", "encoder_hidden_size", "d_model", "hidden_size")  # fmt: skip
        found = [getattr(self.config, key, None) for key in keys]
        return list(dict.fromkeys(width for width in found if isinstance(width, int)))

    def _images(self) -> Iterator[dict[str, Tensor]]:
        if "pixel_values" not in self.takes:
            return
        channels = _of(self.config, "num_channels")
        channels = channels if isinstance(channels, int) else 3
        size = _of(self.config, "image_size") or _of(self.config, "input_size") or _SIDE
        height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        patch = _of(self.config, "patch_size")
        if height > _LARGE_SIDE and isinstance(patch, int) and not self._has_places(height // patch):
            height = width = 16 * patch
        if "image_grid_thw" in self.takes:
            yield from self._patches()
            return
        if "spatial_shapes" in self.takes:
            yield from self._ragged(channels)
            return
        image = self.normal(channels, height, width)
        frames = _of(self.config, "num_frames")
        if isinstance(frames, int):
            yield {"pixel_values": self.normal(frames, channels, height, width)}
        sizes = torch.tensor([[height, width]] * _BATCH)
        if "image_sizes" in self.takes:
            yield {"pixel_values": image, "image_sizes": sizes}
            tiles = image[:, None].expand(-1, 2, -1, -1, -1)
            yield {"pixel_values": tiles, "image_sizes": sizes}
        if "pixel_mask" in self.takes:
            mask = torch.ones(_BATCH, height, width, dtype=torch.long)
            yield {"pixel_values": image, "pixel_mask": mask}
        yield {"pixel_values": image}
        yield {"pixel_values": image[:, None]}

    def _has_places(self, side: int) -> bool:
        """Whether there is a position for each patch of an image with so many at a side, and perhaps for tokens."""
        counts = {side**2 + more for more in range(3)}
        return any(
            "position" in name and counts & {*tensor.shape}
            for name, tensor in self.module.state_dict().items()
        )

    def _patches(self) -> Iterator[dict[str, Tensor]]:
        """Images that were cut into patches before."""
        vision = getattr(self.config, "vision_config", self.config)
        size = getattr(vision, "in_channels", 3)
        size = (size if isinstance(size, int) else 3) * getattr(vision, "temporal_patch_size", 1)
        size *= vision.patch_size**2
        patches, grid = self.normal(16, size).flatten(0, 1), torch.tensor([[1, 4, 4]] * _BATCH)
        yield {"pixel_values": patches, "image_grid_thw": grid}
        if "pixel_values_videos" in self.takes:
            yield {"pixel_values_videos": patches, "video_grid_thw": grid}

    def _ragged(self, channels: int) -> Iterator[dict[str, Tensor]]:
        """Images of several sizes, cut into patches before."""
        patch, count = _of(self.config, "patch_size"), _of(self.config, "num_patches")
        if isinstance(patch, int):
            yield {
                "pixel_values": self.normal(min(count or 16, 16), channels * patch**2),
                "pixel_attention_mask": torch.ones(_BATCH, min(count or 16, 16), dtype=torch.long),
                "spatial_shapes": torch.tensor([[2, 2]] * _BATCH),
            }

    def _sounds(self) -> Iterator[dict[str, Tensor]]:
        bands = [_of(self.config, key) for key in ("num_mel_bins", "feature_size", "input_feat_per_channel")]
        bands = [size for size in bands if isinstance(size, int)] or [80]
        frames = 2 * (_of(self.config, "max_source_positions") or 16)
        if "input_values" in self.takes:
            yield {"input_values": self.normal(_SAMPLES)}
            length = _of(self.config, "max_length")
            yield {"input_values": self.normal(length if isinstance(length, int) else frames, bands[0])}
        if "input_features" in self.takes:
            yield {"input_features": self.normal(bands[0], frames)}
            yield {"input_features": self.normal(frames, bands[0])}
            side = _of(self.config, "spec_size")
            if "is_longer" in self.takes and isinstance(side, int):
                longer = torch.arange(_BATCH)[:, None] > 0
                for channels in (1, 4):
                    sound = self.normal(channels, side * side // bands[0], bands[0])
                    yield {"input_features": sound, "is_longer": longer}

    def _vectors(self) -> Iterator[dict[str, Tensor]]:
        """Regions of images, as vectors."""
        features, positions = (_of(self.config, key) for key in ("visual_feat_dim", "visual_pos_dim"))
        if "visual_feats" in self.takes and isinstance(features, int) and isinstance(positions, int):
            yield {
                "visual_feats": self.normal(_SHORT, features),
                "visual_pos": self.normal(_SHORT, positions),
            }

    def _masks_of(self, other: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Masks of the parts of an image or a sound."""
        if "bool_masked_pos" in self.takes and "pixel_values" in other:
            side, patch = _of(self.config, "image_size"), _of(self.config, "patch_size")
            if isinstance(side, int) and isinstance(patch, int):
                yield {"bool_masked_pos": torch.arange((side // patch) ** 2).expand(_BATCH, -1) % 3 == 0}
        if "mask_time_indices" in self.takes and hasattr(self.module, "_get_feat_extract_output_lengths"):
            frames = int(self.module._get_feat_extract_output_lengths(torch.tensor(_SAMPLES)))
            yield {"mask_time_indices": torch.arange(frames).expand(_BATCH, -1) % 3 == 0}

    def _with_places(self, other: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Texts in which a token stands for an image or a sound, or none does."""
        yield {}
        yield from ({"input_ids": _placed(self.ids(_LENGTH), token, 1)} for token in self._tokens())

    def _kind(self, token: int) -> int:
        """What a token stands for: an image, or a video."""
        return 2 if token == getattr(self.config, "video_token_id", None) else 1

    def _tokens(self) -> Iterator[int]:
        """The tokens that may stand for an image or a sound."""
        found = (getattr(self.config, name, None) for name in _PLACES)
        most = _of(self.config, "vocab_size")
        most = most if isinstance(most, int) else math.inf
        yield from dict.fromkeys(token for token in found if isinstance(token, int) and token < most)


def _placed(ids: Tensor, token: int, count: int) -> Tensor:
    """Texts in which a token stands ``count`` times for an image or a sound."""
    return torch.cat([ids[:, :3], ids.new_full((len(ids), count), token), ids[:, 3:]], 1)


@dataclass(frozen=True)
class WithPlaces(Example):
    """A text with an image or a sound. Where too few tokens stand for it, or an image has too few tiles, the library's
    error says how many it should be."""

    token: int = 0
    widths: tuple[int, ...] = (1,)
    kind: int | None = None

    def instead(self, error: Exception) -> Sequence[Example]:
        """See :class:`Example`. The library counts places, or places times their width."""
        tiles = re.search(r"split_sizes=\[(\d+)", str(error))
        image = self.kwargs.get("pixel_values")
        if tiles and image is not None and image.dim() == 4 and int(tiles[1]) <= _MOST_TILES:
            tiled = image[:, None].expand(-1, int(tiles[1]), -1, -1, -1)
            return [replace(self, kwargs={**self.kwargs, "pixel_values": tiled})]
        ids = self.kwargs["input_ids"]
        text = ids[ids != self.token].view(_BATCH, -1)
        numbers = {int(number) for number in re.findall(r"\d+", str(error)) if len(number) < 8}
        counts = {
            n // (_BATCH * width) for n in numbers for width in self.widths if n % (_BATCH * width) == 0
        }
        found = []
        for count in sorted(count for count in counts if 1 < count <= _MOST_PLACES):
            ids = _placed(text, self.token, count)
            types = {"mm_token_type_ids": (ids == self.token).long() * self.kind} if self.kind else {}
            found.append(Example(kwargs={**self.kwargs, "input_ids": ids, **types}))
        return found


def examples(module: nn.Module) -> list[Example]:
    """Examples of every kind of input that is known; not all of them will fit."""
    return list(_Examples(module).all())


def not_given(module: nn.Module, taken: Sequence[Example]) -> tuple[str, ...]:
    """The assumptions about inputs that a module may take beside those of these examples."""
    takes = inspect.signature(module.forward).parameters
    given = {name for example in taken for name in example.kwargs}
    missing = [name for name in _CONTENTS if name in takes and name not in given]
    return (f"{', '.join(missing)} change nothing",) if missing else ()


def _every(config: Any, name: str) -> Iterator[int]:
    """A setting of a config and of all parts of it, where it is a whole number."""
    if isinstance(own := getattr(config, name, None), int):
        yield own
    for part in getattr(config, "sub_configs", ()):
        if (inner := getattr(config, part, None)) is not None:
            yield from _every(inner, name)


def _of(config: Any, name: str) -> Any:
    """A setting of a config, or of the first part of it that has it."""
    if (own := getattr(config, name, None)) is not None:
        return own
    inner = (getattr(config, part, None) for part in getattr(config, "sub_configs", ()))
    return next(
        (found for part in inner if part is not None and (found := _of(part, name)) is not None), None
    )
