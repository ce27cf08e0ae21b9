"""Does it find what it should, and only that: baselines, metrics, the invariance measure, and the reports."""
