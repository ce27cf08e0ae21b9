"""A checkpoint's tensors as the layers of the network have them, whatever way the file stores them."""

from peace_pipeline.weights.logical.fused import CONV1D
from peace_pipeline.weights.logical.gains import gains_less_one
from peace_pipeline.weights.logical.recognition import Recognised, recognised
from peace_pipeline.weights.logical.spellings import spelled
from peace_pipeline.weights.logical.tensors import (
    LogicalTensors,
    NewValues,
    in_library,
    logical,
    read_of,
    views_of,
)

__all__ = [
    "CONV1D",
    "LogicalTensors",
    "NewValues",
    "Recognised",
    "gains_less_one",
    "in_library",
    "logical",
    "read_of",
    "recognised",
    "spelled",
    "views_of",
]
