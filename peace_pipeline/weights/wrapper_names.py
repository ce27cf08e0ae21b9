"""What wrappers of training put into the names of tensors, and the copies that they keep of a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WRAPPERS = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module|_fpw_module|_module)\."
)
"""torch.compile, FSDP, activation checkpointing, Lightning's strategies, FairScale, Opacus."""
_OUTER = ("module.", "model.module.", "state_dict.", "model_state_dict.", "ema_model.", "model_ema.", "ema.")
"""Data parallelism, flattened checkpoints and averages put these before every name."""
_MODEL = "model."
_WITHIN_MODEL = re.compile(
    r"(?:model|bert|roberta|distilbert|deberta|electra|gpt_neox|vit|lm_head|classifier|score|fc|conv1|features"
    r"|patch_embed|transformer\.(?:h|wte|word_embeddings))\."
)
"""How names begin that have no ``model.`` before them of their own; many families' names have it."""
_COUNTERS = ("n_averaged", "num_updates", "decay", "initted", "step")
_AVERAGES = re.compile(r"(?:model_ema|ema_model|ema|module_ema|averaged_model)\.")
_FLAT = re.compile(r"(?:.*\.)?_?flat_param(?:_\d+)?")
_MOST = 8
"""Wrappers around one another."""


def is_flat(name: str) -> bool:
    """Whether a tensor is one of FSDP's flat parameters: a rank's share of many tensors, one after the other."""
    return _FLAT.fullmatch(name) is not None


def unwrapped(names: Sequence[str]) -> list[str]:
    """The names without what wrappers put into them, in the same order; of those that would be one, each as it is."""
    bare = [_WRAPPERS.sub("", name) for name in names]
    for _ in range(_MOST):
        outer = _outer(bare)
        if not outer:
            break
        bare = [name.removeprefix(outer) for name in bare]
    count = Counter(bare)
    found = [own if count[own] == 1 else name for own, name in zip(bare, names, strict=True)]
    return found if len({*found}) == len(names) else [*names]


def _outer(names: Sequence[str]) -> str:
    """What a wrapper put before every name."""
    counted = [name for name in names if name.rpartition(".")[2] not in _COUNTERS]
    for outer in (*_OUTER, _MODEL):
        if counted and all(name.startswith(outer) for name in counted):
            is_wrapper = outer != _MODEL or any(_WITHIN_MODEL.match(name, len(outer)) for name in counted)
            return outer if is_wrapper else ""
    return ""


def averages(names: Sequence[str]) -> set[str]:
    """Those of the names that are averages of other tensors over training: all with such a prefix, where each has its
    tensor beside it (by its name with dots or, as CompVis' latent diffusion writes it, without)."""
    copies = {name for name in names if _AVERAGES.match(name)}
    own = {name for name in names if name not in copies}
    spelled = own | {name.removeprefix(_MODEL) for name in own}
    spelled |= {name.replace(".", "") for name in spelled}
    copied = {_AVERAGES.sub("", name, 1): name for name in copies}
    are_copies = all(
        name in spelled or name.replace(".", "") in spelled
        for name in copied
        if name.rpartition(".")[2] not in _COUNTERS
    )
    return copies if own and are_copies else set()
