"""vLLM with chunked prefill: every iteration runs all decodes and fills the token budget with pieces of prompts.

Sarathi-Serve (OSDI'24), section 4, as vLLM 0.6 has it (`--enable-chunked-prefill`); FastServe Figure 18.
"""

from __future__ import annotations

from systems.core.lane import Job
from systems.core.plan import Iteration, Transfer
from systems.vllm.continuous import Continuous


class Chunked(Continuous):
    """Decodes first, then prompts that are under way, then new ones, within `max_tokens` tokens in all."""

    def choose(self, now: int) -> tuple[Iteration | None, tuple[Transfer, ...]]:
        """One mixed iteration."""
        self.grow_decodes()
        budget = max(1, self.limits.max_tokens - len(self.lane.members))
        chunks: list[tuple[Job, int]] = []
        behind = list(self.running_jobs.values()) if len(self.running_jobs) > len(self.lane.members) else ()
        for job in behind:
            if job.request in self.running_jobs and job.request not in self.lane.members and budget > 0:
                budget -= self._chunk(job, budget, chunks)
        while self.waiting and budget > 0:
            job = self.waiting[0]
            if not self.admit(min(job.known, budget)):
                break
            budget -= self._chunk(job, budget, chunks)
        return (self.lane.launch(chunks) if chunks else self.decode()), ()

    def _chunk(self, job: Job, budget: int, chunks: list[tuple[Job, int]]) -> int:
        """Add the next piece of `job`, preempting behind it for memory; the tokens it takes."""
        count = min(job.todo, budget)
        while self.blocks.extend(job.request, job.computed + count) is None:
            if self.preempt_last() is job:
                return 0
        chunks.append((job, count))
        return count
