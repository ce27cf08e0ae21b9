"""The names that a module of transformers saves its tensors by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.weights.views import Stored, Taken


def names_in_file(module: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """The name that each tensor is saved by → its name in the module. Of tensors that are saved as one (queries, keys
    and values) it is the name of the part; what is saved otherwise (experts apart) has its name in the module."""
    from transformers.core_model_loading import revert_weight_conversion

    state = module.state_dict(keep_vars=True)
    own = {id(tensor): name for name, tensor in state.items()}
    with _Joining() as joining:
        saved = revert_weight_conversion(module, state)
    names = {name: own[id(tensor)] for name, tensor in saved.items() if id(tensor) in own}
    parts = {name: joining.parts[id(tensor)] for name, tensor in saved.items() if id(tensor) in joining.parts}
    names |= _of_parts(saved, parts, own, config)
    return names | {name: name for name in own.values() if name not in {*names.values()}}


def _of_parts(
    saved: Mapping[str, Tensor],
    parts: Mapping[str, list[Tensor]],
    own: Mapping[int, str],
    config: Mapping[str, Any],
) -> Iterator[tuple[str, str]]:
    """Logical name of some rows of a saved tensor → the module's name of the tensor that it has there."""
    infos = [TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in saved.items()]
    for name, view in views_of(infos, config).items() if parts else ():
        if isinstance(view, Taken) and isinstance(view.of, Stored) and view.of.info.name in parts:
            pieces = parts[view.of.info.name]
            starts = accumulate((len(piece) for piece in pieces), initial=0)
            for start, piece in zip(starts, pieces, strict=False):
                is_its = (view.rows.start, view.rows.size, view.rows.count) == (start, len(piece), 1)
                if is_its and id(piece) in own:
                    yield name, own[id(piece)]


class _Joining(TorchFunctionMode):
    """Notes which tensors are joined along their rows."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[int, list[Tensor]] = {}
        self._kept: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See :class:`TorchFunctionMode`."""
        result = func(*args, **(kwargs or {}))
        if func in (torch.cat, torch.concat, torch.concatenate):
            dim = (kwargs or {}).get("dim", args[1] if len(args) > 1 else 0)
            if dim == 0:
                self.parts[id(result)] = list(args[0])
            self._kept.append(result)
        return result
