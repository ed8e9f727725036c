"""The persistent decode batch: what the executor is told, and when members get pages."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.core.lane import Job, Lane
from systems.core.memory.blocks import PagedBlocks
from systems.core.plan import Grant, Iteration, SpanKind
from systems.core.request import Arrival


def decode(blocks: PagedBlocks, request: int, known: int) -> Job:
    """A job whose prompt of `known - 1` tokens was computed, with memory for the next."""
    job = Job.of(Arrival(request, 0, known - 1))
    job.known, job.computed = known, known - 1
    blocks.extend(request, known)
    return job


@pytest.fixture
def blocks() -> PagedBlocks:
    return PagedBlocks(8, 0, page_tokens=4)


def test_changes_are_told_once(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    job = decode(blocks, 7, 3)
    lane.join(job)
    first = lane.launch()
    (span,) = first.joined
    assert (span.request, span.start, span.count, span.kind, span.tables) == (7, 2, 1, SpanKind.DECODE, ((0,),))
    lane.advance(1)
    assert lane.grow()
    second = lane.launch()
    assert (second.id, second.joined, second.left, second.grown) == (1, (), (), ())
    lane.advance(1)
    lane.leave(job)
    assert lane.launch().left == (7,)
    assert lane.launch().left == ()


def test_a_member_counts_by_the_tick(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    job = decode(blocks, 7, 3)
    lane.join(job)
    lane.advance(2)
    assert (job.known, job.computed) == (3, 2), "it stands still until asked"
    lane.sync(job)
    assert (job.known, job.computed, job.todo) == (5, 4, 1)
    lane.advance(1)
    lane.leave(job)
    assert (job.known, job.computed) == (6, 5)


def test_a_page_comes_exactly_when_the_next_token_starts_one(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    lane.join(decode(blocks, 7, 3))
    held = []
    for _ in range(7):
        assert lane.grow()
        held.append(blocks.held(7))
        lane.launch()
        lane.advance(1)
    assert held == [1, 1, 2, 2, 2, 2, 3], "tokens 3 to 9, in pages of 4"


def test_growth_is_told_to_the_executor_unless_the_table_is(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    lane.join(decode(blocks, 7, 4))
    assert lane.launch().joined[0].tables == ((0,),)
    lane.advance(1)
    assert lane.grow()
    assert lane.launch().grown == (Grant(7, 0, 1),)


def test_short_memory_is_said_and_growing_again_gives_no_page_twice() -> None:
    blocks = PagedBlocks(3, 0, page_tokens=4)
    lane = Lane(blocks)
    for request in (1, 2):
        lane.join(decode(blocks, request, 4))
    lane.launch()
    lane.advance(1)
    assert not lane.grow(), "both need a page, one is free"
    assert not lane.grow()
    assert (blocks.held(1), blocks.held(2)) == (2, 1)
    assert lane.launch().grown == (Grant(1, 0, 2),)


def test_joining_and_leaving_between_two_launches_is_no_change(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    job = decode(blocks, 7, 3)
    lane.join(job)
    lane.leave(job)
    iteration = lane.launch()
    assert (iteration.joined, iteration.left) == ((), ())


def test_a_job_that_comes_back_in_the_same_iteration_has_one_table(blocks: PagedBlocks) -> None:
    """It grew, left and joined again before the next launch: the page is in its new table, and not granted too."""
    lane = Lane(blocks)
    job = decode(blocks, 7, 4)
    lane.join(job)
    lane.launch()
    lane.advance(1)
    assert lane.grow()
    lane.leave(job)
    lane.join(job)
    iteration = lane.launch()
    assert iteration.left == (7,)
    assert [span.tables for span in iteration.joined] == [((0, 1),)]
    assert iteration.grown == ()


def test_a_request_that_is_over_is_not_said_to_leave(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    for request in (1, 2):
        lane.join(decode(blocks, request, 4))
    lane.launch()
    lane.advance(1)
    lane.grow()
    lane.leave(lane.members[2])
    for job in [*lane.members.values(), decode(blocks, 3, 2)]:
        lane.ended(job)
    iteration = lane.launch()
    assert (iteration.left, iteration.grown) == ((2,), ())


def test_an_iteration_apart_leaves_the_members_alone(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    lane.join(decode(blocks, 1, 3))
    prompt = Job.of(Arrival(2, 0, 6))
    blocks.extend(2, 6)
    apart = lane.launch_apart([(prompt, 6)])
    assert (apart.lane, apart.joined, [s.count for s in apart.spans]) == (1, (), [6])
    assert [s.request for s in lane.launch().joined] == [1]


def test_a_span_emits_when_it_is_the_last_of_its_prompt(blocks: PagedBlocks) -> None:
    lane = Lane(blocks)
    job = Job.of(Arrival(2, 0, 6))
    blocks.extend(2, 6)
    (span,) = lane.launch([(job, 4)]).spans
    assert (span.emits, span.kind) == (False, SpanKind.CHUNK)
    job.computed = 4
    (span,) = lane.launch([(job, 2)]).spans
    assert span.emits
    job.computed, job.known = 0, 9
    (span,) = lane.launch([(job, 9)]).spans
    assert (span.emits, span.kind) == (True, SpanKind.RECOMPUTE)


@dataclass
class Executor:
    """Members and their tables as an executor knows them from iterations alone."""

    tables: dict[int, list[int]] = field(default_factory=dict)

    def run(self, iteration: Iteration) -> None:
        for request in iteration.left:
            del self.tables[request]
        for span in iteration.joined:
            assert span.request not in self.tables
            self.tables[span.request] = list(span.tables[0])
        for grant in iteration.grown:
            self.tables[grant.request].append(grant.page)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(["join", "leave", "end", "grow", "step", "step", "step"]), st.integers(0, 3)),
        max_size=60,
    ),
    st.integers(1, 5),
)
def test_the_executor_and_the_manager_agree_on_every_table(acts: list[tuple[str, int]], page: int) -> None:
    blocks = PagedBlocks(200, 0, page_tokens=page)
    lane, executor = Lane(blocks), Executor()
    jobs: dict[int, Job] = {}
    for act, request in acts:
        job = jobs.get(request)
        if act == "join" and job is None:
            jobs[request] = decode(blocks, request, 2 + request * 3)
            lane.join(jobs[request])
        elif act == "join" and job and request not in lane.members:
            blocks.extend(request, job.known)
            lane.join(job)
        elif act == "leave" and job and request in lane.members:
            lane.leave(job)
        elif act == "end" and job:
            lane.ended(job)
            blocks.release(request)
            executor.tables.pop(request, None)
            del jobs[request]
        elif act == "grow":
            assert lane.grow()
        elif act == "step":
            assert lane.grow()
            executor.run(lane.launch())
            assert executor.tables == {r: list(blocks.table(r)) for r in lane.members}
            for member, table in executor.tables.items():
                lane.sync(jobs[member])
                assert len(table) == blocks.pages_for(jobs[member].known)
            lane.advance(1)
