"""What all networks are asked alike: names and numbers that tables, encoder and index agree on. Loads no torch."""

VERSION = "2"
"""Of the probes; raise it when they change."""
PROBES = 512
NUMBERS, TOKENS, TEXT = "numbers", "tokens", "text"
KINDS = (NUMBERS, TOKENS, TEXT)
"""Of inputs. Networks of one kind are asked alike: the same numbers; the same ids, where their vocabularies are of one
size; the same sentences, each in its own tokens."""
READ_AS = {NUMBERS: NUMBERS, TOKENS: TOKENS, TEXT: TOKENS}
"""Kind → that for which the shipped directions and an encoder's maps of answers were fitted: none was to sentences."""
SKETCH = 384
"""Coordinates of a sketch."""
HEADLESS, CONSTANT = "it has no outputs", "it answers all probes alike"
"""Why a network that was run has no sketch."""
