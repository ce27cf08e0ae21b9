"""A Hub that fails and changes, and a pipeline that is killed at any step: afterwards nothing is lost or doubled."""

from tests.zoo.hub.faults.run import Outcome, Run, preload

__all__ = ["Outcome", "Run", "preload"]
