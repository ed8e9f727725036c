"""Paged memory: worked examples, then any sequence of calls that a policy may make."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from systems.core.memory.blocks import PagedBlocks, Where
from systems.core.memory.layout import Group, KVLayout
from systems.core.plan import Pool, Transfer


@pytest.fixture
def blocks() -> PagedBlocks:
    return PagedBlocks(device_pages=6, host_pages=3, page_tokens=4, page_bytes=100)


@pytest.mark.parametrize(("tokens", "pages"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_pages_for(blocks: PagedBlocks, tokens: int, pages: int) -> None:
    assert blocks.pages_for(tokens) == pages


def test_extend_admits_then_grows_page_by_page(blocks: PagedBlocks) -> None:
    assert blocks.extend(1, 5) == (0, 1)
    assert blocks.extend(1, 8) == (), "the second page holds eight"
    assert blocks.extend(1, 9) == (2,)
    assert blocks.table(1) == (0, 1, 2)
    assert blocks.missing(1, 24) == 3
    assert blocks.device_free == 3


def test_extend_that_fails_changes_nothing(blocks: PagedBlocks) -> None:
    blocks.extend(1, 8)
    assert blocks.extend(2, 17) is None
    assert (blocks.where(2), blocks.device_free) == (Where.NOWHERE, 4)
    assert blocks.extend(1, 25) is None
    assert blocks.table(1) == (0, 1)


def test_release_frees_at_once_and_twice_is_nothing(blocks: PagedBlocks) -> None:
    blocks.extend(1, 24)
    blocks.release(1)
    blocks.release(1)
    assert blocks.device_free == 6
    blocks.check()


def test_rollback_frees_the_pages_beyond(blocks: PagedBlocks) -> None:
    blocks.extend(1, 16)
    blocks.rollback(1, 5)
    assert blocks.table(1) == (0, 1)
    assert blocks.device_free == 4


def out(blocks: PagedBlocks, request: int) -> Transfer:
    transfer = blocks.swap_out(request)
    assert transfer
    return transfer


def test_neither_side_is_free_while_a_job_moves(blocks: PagedBlocks) -> None:
    blocks.extend(1, 8)
    transfer = out(blocks, 1)
    assert (transfer.source_pages, transfer.target_pages, transfer.bytes) == ((0, 1), (0, 1), 200)
    assert (blocks.where(1), blocks.device_free, blocks.leaving, blocks.host_free) == (Where.LEAVING, 4, 2, 1)
    blocks.settle(transfer)
    assert (blocks.where(1), blocks.device_free, blocks.leaving, blocks.host_free) == (Where.HOST, 6, 0, 1)
    assert blocks.missing(1, 8) == 2, "all of it, when it is not on the device"
    back = blocks.swap_in(1)
    assert back
    assert (blocks.where(1), blocks.device_free, blocks.host_free) == (Where.COMING, 4, 1)
    blocks.settle(back)
    assert (blocks.where(1), blocks.device_free, blocks.host_free) == (Where.DEVICE, 4, 3)
    assert blocks.table(1) == back.target_pages


def test_a_swap_that_does_not_fit_changes_nothing(blocks: PagedBlocks) -> None:
    blocks.extend(1, 16)
    assert blocks.swap_out(1) is None
    assert (blocks.where(1), blocks.host_free, blocks.leaving) == (Where.DEVICE, 3, 0)
    blocks.extend(2, 4)
    blocks.settle(out(blocks, 2))
    blocks.extend(3, 8)
    assert blocks.swap_in(2) is None
    assert blocks.where(2) is Where.HOST


def test_a_failed_transfer_leaves_the_source_as_the_only_copy(blocks: PagedBlocks) -> None:
    blocks.extend(1, 8)
    blocks.settle(out(blocks, 1), ok=False)
    assert (blocks.where(1), blocks.table(1)) == (Where.DEVICE, (0, 1))
    assert (blocks.device_free, blocks.host_free, blocks.leaving) == (4, 3, 0)


@pytest.mark.parametrize("ok", [True, False])
def test_pages_of_a_job_released_in_transfer_are_held_until_it_is_over(blocks: PagedBlocks, ok: bool) -> None:
    blocks.extend(1, 8)
    transfer = out(blocks, 1)
    blocks.release(1)
    assert (blocks.device_free, blocks.host_free) == (4, 1)
    assert blocks.where(1) is Where.NOWHERE
    blocks.check()
    blocks.settle(transfer, ok=ok)
    assert (blocks.device_free, blocks.host_free, blocks.leaving) == (6, 3, 0)


def test_a_job_on_the_move_cannot_grow(blocks: PagedBlocks) -> None:
    blocks.extend(1, 4)
    out(blocks, 1)
    with pytest.raises(AssertionError, match="not on the device"):
        blocks.extend(1, 8)


def test_reserved_pages_become_a_migrated_request(blocks: PagedBlocks) -> None:
    assert blocks.reserve(1, 8) == (0, 1)
    assert blocks.reserve(1, 9) == (2,), "it grew on the way"
    assert (blocks.where(1), blocks.device_free) == (Where.NOWHERE, 3)
    blocks.install(1)
    assert blocks.table(1) == (0, 1, 2)
    assert blocks.reserve(2, 16) is None
    blocks.reserve(2, 12)
    blocks.cancel(2)
    assert blocks.device_free == 3
    blocks.check()


def test_check_finds_a_page_held_twice_and_one_that_is_lost(blocks: PagedBlocks) -> None:
    blocks.extend(1, 8)
    blocks._held[1].pages[1] = 0
    with pytest.raises(AssertionError, match="twice"):
        blocks.check()
    blocks._held[1].pages.pop()
    with pytest.raises(AssertionError, match="accounted"):
        blocks.check()


def test_a_page_is_block_major() -> None:
    group = Group("full", layers=(0, 2), kv_heads=3, head_dim=8, page_tokens=16, itemsize=4)
    assert group.layer_bytes == 2 * 3 * 16 * 8 * 4
    assert group.page_bytes == 2 * group.layer_bytes
    assert group.layer_offset(2) == group.layer_bytes
    other = Group("window", layers=(1,), kv_heads=3, head_dim=8, page_tokens=16, itemsize=4)
    assert KVLayout((group, other)).token_bytes == group.token_bytes + other.token_bytes == 3 * 2 * 3 * 8 * 4


class Calls(RuleBasedStateMachine):
    """Any calls in any order, beside a model that knows only who holds how many pages, and where."""

    @initialize(device=st.integers(1, 12), host=st.integers(0, 8), tokens=st.integers(1, 4))
    def begin(self, device: int, host: int, tokens: int) -> None:
        self.blocks = PagedBlocks(device, host, tokens)
        self.held: dict[int, tuple[Where, int]] = {}
        self.moving: dict[int, tuple[Transfer, bool]] = {}  # by request; whether it was released meanwhile
        self.reserved: dict[int, int] = {}
        self.next = 0

    def at(self, *places: Where) -> list[int]:
        return [request for request, (where, _) in self.held.items() if where in places]

    @rule(tokens=st.integers(1, 30))
    def admit(self, tokens: int) -> None:
        if self.blocks.extend(self.next, tokens) is not None:
            self.held[self.next] = (Where.DEVICE, self.blocks.pages_for(tokens))
        self.next += 1

    @precondition(lambda self: self.at(Where.DEVICE))
    @rule(data=st.data(), more=st.integers(0, 6))
    def grow(self, data: st.DataObject, more: int) -> None:
        request = data.draw(st.sampled_from(self.at(Where.DEVICE)))
        pages = self.held[request][1]
        fresh = self.blocks.extend(request, (pages + more) * self.blocks.page_tokens)
        assert (fresh is None) == (more > self.device_free())
        if fresh is not None:
            self.held[request] = (Where.DEVICE, pages + more)

    @precondition(lambda self: self.at(Where.DEVICE))
    @rule(data=st.data())
    def shrink(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.at(Where.DEVICE)))
        keep = data.draw(st.integers(1, self.held[request][1])) if self.held[request][1] else 0
        self.blocks.rollback(request, keep * self.blocks.page_tokens)
        self.held[request] = (Where.DEVICE, keep)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(list(self.held)))
        self.blocks.release(request)
        del self.held[request]
        if request in self.moving:
            self.moving[request] = (self.moving[request][0], True)

    @precondition(lambda self: self.at(Where.DEVICE, Where.HOST))
    @rule(data=st.data())
    def swap(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.at(Where.DEVICE, Where.HOST)))
        where, pages = self.held[request]
        leaves = where is Where.DEVICE
        room = self.blocks.host_free if leaves else self.device_free()
        transfer = (self.blocks.swap_out if leaves else self.blocks.swap_in)(request)
        assert (transfer is None) == (pages > room)
        if transfer:
            self.held[request] = (Where.LEAVING if leaves else Where.COMING, pages)
            self.moving[request] = (transfer, False)

    @precondition(lambda self: self.moving)
    @rule(data=st.data(), ok=st.booleans())
    def settle(self, data: st.DataObject, ok: bool) -> None:
        request = data.draw(st.sampled_from(list(self.moving)))
        transfer, released = self.moving.pop(request)
        self.blocks.settle(transfer, ok=ok)
        if not released:
            pool = (transfer.target if ok else transfer.source).pool
            where = Where.DEVICE if pool is Pool.DEVICE else Where.HOST
            self.held[request] = (where, self.held[request][1])
            assert self.blocks.table(request) == (transfer.target_pages if ok else transfer.source_pages)

    @rule(tokens=st.integers(1, 30))
    def reserve(self, tokens: int) -> None:
        if self.blocks.reserve(self.next, tokens) is not None:
            self.reserved[self.next] = self.blocks.pages_for(tokens)
        self.next += 1

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), arrives=st.booleans())
    def end_reserve(self, data: st.DataObject, arrives: bool) -> None:
        request = data.draw(st.sampled_from(list(self.reserved)))
        pages = self.reserved.pop(request)
        if arrives:
            self.blocks.install(request)
            self.held[request] = (Where.DEVICE, pages)
        else:
            self.blocks.cancel(request)

    def device_free(self) -> int:
        held = sum(n for where, n in self.held.values() if where is not Where.HOST)
        gone = sum(len(t.source_pages) for t, released in self.moving.values() if released)
        return self.blocks.device_pages - held - gone - sum(self.reserved.values())

    @invariant()
    def the_model_agrees(self) -> None:
        if not hasattr(self, "blocks"):
            return
        self.blocks.check()
        for request, (where, pages) in self.held.items():
            assert (self.blocks.where(request), self.blocks.held(request)) == (where, pages)
        assert self.blocks.device_free == self.device_free()


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
