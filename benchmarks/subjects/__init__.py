"""Small networks that claims are tried on."""

from . import branches, convolutional, dense, sequences  # noqa: F401 (they fill PLAIN)
from .subject import PLAIN, Inputs, Outputs, Plain, Subject, Unbuildable

__all__ = ["PLAIN", "Inputs", "Outputs", "Plain", "Subject", "Unbuildable"]
