"""Weights that are packed: which schemes there are, which of them are unpacked, which are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical.packing import affine, floating
from peace_pipeline.weights.logical.packing.view import Module, Packed
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Views


@dataclass(frozen=True)
class Scheme:
    """How weights are packed: ``name`` in words; what the name of one of its tensors ends with; the tensors that it
    has beside, by their ends; and how the weight is had, ``None`` where it isn't of this scheme after all."""

    name: str
    mark: str
    beside: tuple[str, ...]
    decode: Callable[[Module], Packed | None]


SCHEMES = (
    Scheme("GPTQ, AWQ", "qweight", ("qweight", "scales", "qzeros", "g_idx"), affine.gptq_or_awq),
    Scheme(
        "compressed-tensors NVFP4, MXFP4",
        "weight_packed",
        ("weight_packed", "weight_scale", "weight_global_scale", "input_global_scale"),
        floating.compressed,
    ),
    Scheme(
        "compressed-tensors pack-quantized",
        "weight_packed",
        ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"),
        affine.compressed,
    ),
    Scheme("sparse-bitmask", "bitmask", ("compressed", "bitmask", "shape", "row_offsets"), floating.sparse),
    Scheme("ModelOpt NVFP4", "weight_scale_2", ("weight", "weight_scale", "weight_scale_2"), floating.modelopt),
    Scheme("MLX", "scales", ("weight", "scales", "biases"), affine.mlx),
    Scheme("MXFP4", "_blocks", ("_blocks", "_scales"), floating.mxfp4),
    Scheme(
        "HQQ",
        "W_q",
        ("W_q", "scale", "zero", "shape", "nbits", "axis", "group_size", "packing", "unpack_view_dtype",
         "view_as_float", "quant_scale", "quant_zero", "optimize", "round_zero", "channel_wise",
         "stores_quant_config", "compute_dtype", "offload_meta", "encoded_state_dict"),
        affine.hqq,
    ),
    Scheme(
        "bitsandbytes nf4, fp4",
        ".absmax",
        ("", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4",
         ".quant_state.bitsandbytes__fp4"),
        floating.bitsandbytes,
    ),
)  # fmt: skip
"""The schemes that are unpacked; of two with one mark the first that decodes a weight has it."""

REFUSED = {
    "q_weight": "EXL2",
    "trellis": "EXL3",
    "codebooks": "AQLM",
    "centroids": "VPTQ",
    "Qidxs": "QuIP#",
    "in_perm": "SpQR",
    "weight_scales": "EETQ",
    "B": "Marlin",
    "B_24": "Marlin 2:4",
    "_packed": "quanto below 8 bits",
    "_shift": "quanto below 8 bits",
    "W_q": "HQQ",
    "qzeros": "GPTQ or AWQ",
    "weight_zero_point": "compressed-tensors with zero points",
    "absmax": "bitsandbytes",
}
"""Last component of a name that only a scheme has that is not unpacked → the scheme."""

_INTEGERS = ("qweight", "weight_packed", "W_q", "bitmask")
"""Marks that are integers; floats of that name are something else."""
_MARKS = tuple({scheme.mark for scheme in SCHEMES})


def unpacked(views: Views, settings: Mapping[str, Any]) -> Views:
    """Views with the weights in place of what they are packed into; ``settings`` of the quantisation by the config.

    Raises:
        UnsupportedFormat: where tensors of a scheme don't go together.
    """
    result = dict(views)
    for name in views:
        for scheme in SCHEMES if name.endswith(_MARKS) else ():
            if name not in result or not _is_mark(name, scheme.mark, views[name].info):
                continue
            module = Module(name.removesuffix(scheme.mark), views, settings)
            weight = scheme.decode(module)
            if weight is None:
                continue
            for end in scheme.beside:
                result.pop(f"{module.at}{end}", None)
            if weight.info.name in result:
                raise UnsupportedFormat(
                    f"tensor {weight.info.name!r} is there packed ({scheme.name}) and as it is"
                )
            result[weight.info.name] = weight
    return result


def _is_mark(name: str, mark: str, info: TensorInfo) -> bool:
    """Whether a tensor is the mark of a scheme: by its last component, or by the end of it."""
    if not name.endswith(mark) or (mark in _INTEGERS and info.is_floating):
        return False
    return mark[0] in "._" or name.rpartition(".")[2] == mark
