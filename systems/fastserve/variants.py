"""FastServe's variants: the paper's policy first (the default), the artifact's, and the baselines of Figure 16."""

from __future__ import annotations

from systems.core.variant import Variant

_SKIP_JOIN = "systems.fastserve.skip_join:SkipJoin"
_BY_KEY = "systems.fastserve.by_key"

VARIANTS = (
    Variant("fastserve", "skip-join", _SKIP_JOIN, "skip-join MLFQ with proactive swapping, as the paper gives it"),
    Variant("fastserve", "artifact", "systems.fastserve.artifact:Artifact", "the rules of the published code"),
    Variant("fastserve", "naive-mlfq", _SKIP_JOIN, "MLFQ in which every job joins the first queue", {"skip": False}),
    Variant("fastserve", "fcfs", f"{_BY_KEY}:Fcfs", "first come, first served, to completion"),
    Variant("fastserve", "fixed-priority", f"{_BY_KEY}:FixedPriority", "shorter prompts first"),
    Variant(
        "fastserve", "srpt-oracle", f"{_BY_KEY}:SrptOracle", "shortest remaining time, told the output", oracle=True
    ),
    Variant(
        "fastserve", "skip-join-reactive", _SKIP_JOIN, "swapping on the critical path (Figure 17)", {"keep": "reactive"}
    ),
    Variant("fastserve", "skip-join-recompute", _SKIP_JOIN, "kill and recompute (Figure 17)", {"keep": "recompute"}),
)
