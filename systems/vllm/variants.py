"""The vLLM-like baselines: prompts first (the default of the 0.6 line), and chunked prefill."""

from __future__ import annotations

from systems.core.variant import Variant

VARIANTS = (
    Variant("vllm", "alternating", "systems.vllm.alternating:Alternating", "prompts first, then decodes; recompute"),
    Variant("vllm", "chunked", "systems.vllm.chunked:Chunked", "chunked prefill mixed with decodes; recompute"),
)
