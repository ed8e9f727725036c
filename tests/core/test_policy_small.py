"""Every policy through short random scenarios that Hypothesis can shrink to the few events that matter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.assemble import Memory
from systems.fastserve.variants import VARIANTS as FASTSERVE
from systems.vllm.variants import VARIANTS as VLLM
from tests.core.machine import Machine


@pytest.mark.parametrize("variant", [v.id for v in (*FASTSERVE, *VLLM)])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    choices=st.randoms(use_true_random=False),
    device=st.integers(3, 12),
    host=st.integers(0, 12),
    page=st.integers(1, 4),
    batch=st.integers(1, 4),
    steps=st.integers(1, 60),
)
def test_a_short_scenario_keeps_every_promise(
    variant: str, choices: random.Random, device: int, host: int, page: int, batch: int, steps: int
) -> None:
    machine = Machine(variant, Memory(device, host, page), max_batch=batch, max_tokens=8, longest=device * page)
    machine.random = choices
    for _ in range(steps):
        machine.step()
    machine.drain()
    assert machine.finished == machine.next
    assert (machine.blocks.device_free, machine.blocks.host_free) == (device, host)
