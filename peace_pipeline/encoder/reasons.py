"""Why two networks, or two views of one, are a pair."""

from __future__ import annotations

POSITIVE, NEGATIVE = "positive", "negative"
RELATIONS = {
    "same_run": POSITIVE,
    "same_recipe": POSITIVE,
    "same_task": POSITIVE,
    "instance": NEGATIVE,
    "architecture": NEGATIVE,
    "task": NEGATIVE,
    "shuffled_labels": NEGATIVE,
    "twin": NEGATIVE,
    "performance": NEGATIVE,
}
"""Reason → what it makes of two networks."""
REASONS = tuple(RELATIONS)
COPY = "copy"
"""Two views of one network are alike: its copies, and what is heard of it by another sense."""
BROKEN_TWIN = "broken_twin"
SYMMETRIES = ("permutation", "scaling", "signs", "mixing")
"""Transforms that leave a network's function as it is."""
AVOIDABLE = (*REASONS, COPY, BROKEN_TWIN, *SYMMETRIES)
"""What can be left out of a training by its name alone; noise and dropped weights have strengths."""
