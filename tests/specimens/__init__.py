"""Small random networks of every family, to prove a symmetry by running the real module before and after.

FAMILIES[name] is a ``Specimen``: build(seed), inputs(seed), run(module, inputs), config(), save(module, folder)
and load(folder).
"""

from __future__ import annotations

from .lora import LORA
from .plain import PLAIN
from .pretrained import PRETRAINED
from .specimen import Specimen

FAMILIES: dict[str, Specimen] = PLAIN | PRETRAINED | LORA

__all__ = ["FAMILIES", "Specimen"]
