"""A checkpoint's tensors as the layers of the network have them, whatever way the file stores them."""

from peace_pipeline.weights.logical.recognition import Recognised, recognised
from peace_pipeline.weights.logical.spellings import spelled
from peace_pipeline.weights.logical.tensors import LogicalTensors, NewValues, logical, views_of

__all__ = ["LogicalTensors", "NewValues", "Recognised", "logical", "recognised", "spelled", "views_of"]
