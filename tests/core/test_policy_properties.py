"""Every policy with its block manager, through a hundred thousand random events."""

from __future__ import annotations

import pytest

from systems.core.assemble import Memory
from systems.fastserve.skip_join import SkipJoin
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core.machine import MS, Machine

EVENTS = 100_000
MEMORIES = [Memory(6, 9, 16), Memory(12, 4, 8), Memory(20, 60, 4), Memory(9, 0, 8), Memory(4000, 100, 4)]


@pytest.mark.parametrize("variant", [v.id for v in (*FASTSERVE, *VLLM)])
def test_no_promise_is_broken(variant: str) -> None:
    """Pages are conserved and never shared, nothing runs while it moves, work is conserved, all requests end."""
    total = 0
    for seed, memory in enumerate(MEMORIES):
        machine = Machine(variant, memory, max_batch=2 + seed, seed=seed, longest=memory.page_tokens * 6)
        machine.longest = min(machine.longest, memory.device_pages * memory.page_tokens)
        while machine.events < EVENTS // len(MEMORIES):
            machine.step()
        machine.drain()
        assert machine.finished == machine.next
        assert machine.blocks.device_free == memory.device_pages
        assert machine.blocks.host_free == memory.host_pages
        assert machine.longest_batch == machine.max_batch
        total += machine.events
    assert total >= EVENTS


@pytest.mark.parametrize("keep", ["proactive", "reactive", "recompute"])
def test_a_job_that_waited_alpha_is_in_q1(keep: str) -> None:
    """Starvation prevention (section 4.1) holds at every plan that chooses an iteration."""
    machine = Machine("fastserve/skip-join", Memory(20, 60, 4), seed=3, settings={"keep": keep, "alpha_s": 0.02})
    policy = machine.policy
    assert isinstance(policy, SkipJoin)
    promoted = 0
    for _ in range(20_000):
        was_idle = policy.running is None
        machine.step()
        if was_idle or not policy.running:
            continue
        if policy.launched_at != machine.now:
            continue
        for request, job in policy.jobs.items():
            if request not in policy.batch and machine.now - job.since >= 20 * MS:
                promoted += 1
                assert policy.standing[request].level == 0, policy.describe(request)
    assert promoted > 100
