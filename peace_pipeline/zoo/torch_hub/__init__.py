"""Sources that read links to weights out of a repository's code; the code is parsed, never imported or run.

``torch_hub`` reads a ``hubconf.py``, ``torchvision`` torchvision's tables of weights.
"""

from peace_pipeline.zoo.torch_hub import hubconf, torchvision

__all__ = ["hubconf", "torchvision"]
