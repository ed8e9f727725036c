"""vLLM's default scheduling: an iteration is all prompts or all decodes, and prompts go first.

vLLM (SOSP'23), section 4.5, as in the 0.6 line that FastServe's artifact compares with (Figures 11 to 15, 18).
"""

from __future__ import annotations

from systems.core.lane import Job
from systems.core.plan import Iteration, Transfer
from systems.vllm.continuous import Continuous


class Alternating(Continuous):
    """Admits whole prompts up to the token budget; decodes stall meanwhile."""

    def choose(self, now: int) -> tuple[Iteration | None, tuple[Transfer, ...]]:
        """Prompts if any can be admitted, else one decode of everything that runs."""
        prompts: list[tuple[Job, int]] = []
        budget = self.limits.max_tokens
        while self.waiting and (self.waiting[0].known <= budget or not prompts):
            job = self.waiting[0]
            if not self.admit(job.known):
                break
            prompts.append((job, job.known))
            budget -= job.known
        if prompts:
            return self.lane.launch_apart(prompts), ()
        self.grow_decodes()
        return self.decode(), ()
