"""A small HTTP server on loopback that behaves like the Hugging Face Hub for the real client."""

from tests.standin_hub.faults import KINDS, Fault, Faults
from tests.standin_hub.hub import Seen, StandinHub

__all__ = ["KINDS", "Fault", "Faults", "Seen", "StandinHub"]
