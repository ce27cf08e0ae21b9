"""What all networks are asked alike: names and numbers that tables, encoder and index agree on. Loads no torch."""

VERSION = "1"
"""Of the probes; raise it when they change."""
PROBES = 512
NUMBERS, TOKENS = "numbers", "tokens"
KINDS = (NUMBERS, TOKENS)
"""Of inputs. Networks of one kind get the same probes."""
SKETCH = 384
"""Coordinates of a sketch."""
HEADLESS, CONSTANT = "it has no outputs", "it answers all probes alike"
"""Why a network that was run has no sketch."""
