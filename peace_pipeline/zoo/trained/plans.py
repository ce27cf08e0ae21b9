"""The zoos that can be trained, by name."""

from __future__ import annotations

from .demo import DEMO
from .foreign import FOREIGN
from .pretraining import PRETRAINING
from .recipes import Plan
from .research import RESEARCH
from .suspects import SUSPECTS

PLANS: dict[str, Plan] = {plan.name: plan for plan in (DEMO, RESEARCH, PRETRAINING, FOREIGN, SUSPECTS)}
