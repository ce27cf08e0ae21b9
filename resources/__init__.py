"""Dagster resources: the outside world, configured."""

from resources.lake import LakeResource
from resources.zoo import ZooResource

__all__ = ["LakeResource", "ZooResource"]
