"""T5 (Raffel et al. 2020) and its multilingual kin."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

T5 = declare(Conventions(("t5",), tied_by_default=True))
MULTILINGUAL = declare(Conventions(("mt5", "umt5")))
