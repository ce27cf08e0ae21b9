"""Dagster resources: the outside world, configured."""

from peace_pipeline.resources.lake import LakeResource
from peace_pipeline.resources.zoo import ZooResource

__all__ = ["LakeResource", "ZooResource"]
