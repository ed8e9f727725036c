"""Paged KV memory with a device and a host pool: who holds which page, and what is on the move.

A pure state machine (PagedAttention, SOSP'23, section 4, with the swapping of FastServe section 4.2 and the
reserve/install/cancel of Llumnix section 3.6). It moves no bytes: `swap_out` and `swap_in` account for a
transfer that the engine then carries out, and `settle` ends it. Until then neither side's pages are free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from systems.core.plan import Place, Pool, Transfer, TransferKind


class Where(StrEnum):
    """Where the KV of a request is. It is always wholly in one state."""

    NOWHERE = "nowhere"
    DEVICE = "device"
    HOST = "host"
    LEAVING = "leaving"  # device to host
    COMING = "coming"  # host to device
    ABANDONED = "abandoned"  # released while moving; freed by `settle`


@dataclass(slots=True)
class _Holding:
    where: Where
    pages: list[int]
    target: tuple[int, ...] = ()
    transfer: int = -1


@dataclass(slots=True)
class PagedBlocks:
    """`device_pages` and `host_pages` pages of `page_tokens` tokens and `page_bytes` bytes each."""

    device_pages: int
    host_pages: int
    page_tokens: int = 16
    page_bytes: int = 0
    _free: dict[Pool, list[int]] = field(init=False)
    _held: dict[int, _Holding] = field(init=False, default_factory=dict)
    _abandoned: dict[int, _Holding] = field(init=False, default_factory=dict)
    _reserved: dict[int, list[int]] = field(init=False, default_factory=dict)
    _transfers: int = field(init=False, default=0)
    _leaving: int = field(init=False, default=0)
    on_device: dict[int, None] = field(init=False, default_factory=dict)  # requests whose KV is there and stays
    on_host: dict[int, None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._free = {
            Pool.DEVICE: list(range(self.device_pages - 1, -1, -1)),
            Pool.HOST: list(range(self.host_pages - 1, -1, -1)),
        }

    # -- looking -----------------------------------------------------------------------------------

    @property
    def device_free(self) -> int:
        """Device pages that can be granted now."""
        return len(self._free[Pool.DEVICE])

    @property
    def host_free(self) -> int:
        """Host pages that can be granted now."""
        return len(self._free[Pool.HOST])

    @property
    def leaving(self) -> int:
        """Device pages that become free when the swap-outs under way are over."""
        return self._leaving

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_tokens)

    def where(self, request: int) -> Where:
        """Where the KV of `request` is."""
        held = self._held.get(request)
        return held.where if held else Where.NOWHERE

    def table(self, request: int) -> tuple[int, ...]:
        """The block table of `request`: its pages in order, in the pool it is in."""
        held = self._held.get(request)
        return tuple(held.pages) if held else ()

    def held(self, request: int) -> int:
        """Pages that `request` holds."""
        held = self._held.get(request)
        return len(held.pages) if held else 0

    def missing(self, request: int, tokens: int) -> int:
        """Device pages that `request` lacks to hold `tokens` tokens (in full, when it is not on the device)."""
        held = self._held.get(request)
        return max(0, self.pages_for(tokens) - (len(held.pages) if held and held.where is Where.DEVICE else 0))

    # -- growing and shrinking -----------------------------------------------------------------------

    def extend(self, request: int, tokens: int) -> tuple[int, ...] | None:
        """Make room on the device for `tokens` tokens of `request`; the new pages, or None if there are too few.

        Admits a request that holds nothing. Nothing changes when None is returned.
        """
        held = self._held.get(request)
        assert held is None or held.where is Where.DEVICE, f"request {request} is not on the device"
        need = self.pages_for(tokens) - (len(held.pages) if held else 0)
        free = self._free[Pool.DEVICE]
        if need > len(free):
            return None
        fresh = _take(free, need)
        if held is None:
            self._held[request] = _Holding(Where.DEVICE, list(fresh))
            self.on_device[request] = None
        else:
            held.pages.extend(fresh)
        return fresh

    def rollback(self, request: int, tokens: int) -> None:
        """Give back the pages of `request` beyond its first `tokens` tokens (rejected speculation)."""
        held = self._held[request]
        assert held.where is Where.DEVICE
        keep = self.pages_for(tokens)
        self._free[Pool.DEVICE].extend(reversed(held.pages[keep:]))
        del held.pages[keep:]

    def release(self, request: int) -> None:
        """Forget `request`. Its pages are free now, or when its transfer has settled."""
        held = self._held.pop(request, None)
        if held is None:
            return
        if held.where in {Where.LEAVING, Where.COMING}:
            self._abandoned[held.transfer] = held
        else:
            pool = Pool.HOST if held.where is Where.HOST else Pool.DEVICE
            del (self.on_host if pool is Pool.HOST else self.on_device)[request]
            self._free[pool].extend(reversed(held.pages))

    # -- swapping ------------------------------------------------------------------------------------

    def swap_out(self, request: int) -> Transfer | None:
        """Start moving `request` to the host; None when the host pool is too small for it now."""
        transfer = self._move(request, Pool.DEVICE, Pool.HOST)
        if transfer:
            self._leaving += len(transfer.source_pages)
            self._held[request].where = Where.LEAVING
            del self.on_device[request]
        return transfer

    def swap_in(self, request: int) -> Transfer | None:
        """Start moving `request` to the device; None when the device has too few free pages now."""
        transfer = self._move(request, Pool.HOST, Pool.DEVICE)
        if transfer:
            self._held[request].where = Where.COMING
            del self.on_host[request]
        return transfer

    def settle(self, transfer: Transfer, *, ok: bool = True) -> None:
        """End `transfer`: the pages of the side that no longer holds the KV are free."""
        if transfer.source.pool is Pool.DEVICE:
            self._leaving -= len(transfer.source_pages)
        if self._abandoned.pop(transfer.id, None):
            self._free[transfer.source.pool].extend(reversed(transfer.source_pages))
            self._free[transfer.target.pool].extend(reversed(transfer.target_pages))
            return
        held = self._held[transfer.request]
        gone, kept = (transfer.source, transfer.target) if ok else (transfer.target, transfer.source)
        self._free[gone.pool].extend(
            reversed(transfer.source_pages if gone is transfer.source else transfer.target_pages)
        )
        held.pages = list(transfer.target_pages if ok else transfer.source_pages)
        held.where = Where.DEVICE if kept.pool is Pool.DEVICE else Where.HOST
        (self.on_device if kept.pool is Pool.DEVICE else self.on_host)[transfer.request] = None

    def _move(self, request: int, source: Pool, target: Pool) -> Transfer | None:
        held = self._held[request]
        assert held.where is (Where.DEVICE if source is Pool.DEVICE else Where.HOST)
        free = self._free[target]
        if len(held.pages) > len(free):
            return None
        held.target = _take(free, len(held.pages))
        held.transfer = self._transfers
        self._transfers += 1
        return Transfer(
            id=held.transfer,
            kind=TransferKind.KV,
            request=request,
            source=Place(source),
            target=Place(target),
            source_pages=tuple(held.pages),
            target_pages=held.target,
            bytes=len(held.pages) * self.page_bytes,
        )

    # -- receiving a migrated request ----------------------------------------------------------------

    def reserve(self, request: int, tokens: int) -> tuple[int, ...] | None:
        """Set pages aside for `tokens` tokens of a request on its way here; None if there are too few."""
        pages = self._reserved.get(request, [])
        need = self.pages_for(tokens) - len(pages)
        free = self._free[Pool.DEVICE]
        if need > len(free):
            return None
        fresh = _take(free, max(0, need))
        self._reserved[request] = [*pages, *fresh]
        return fresh

    def install(self, request: int) -> None:
        """The reserved pages of `request` now hold its KV."""
        self._held[request] = _Holding(Where.DEVICE, self._reserved.pop(request))
        self.on_device[request] = None

    def cancel(self, request: int) -> None:
        """Give the reserved pages of `request` back."""
        self._free[Pool.DEVICE].extend(reversed(self._reserved.pop(request, [])))

    # -- our own invariants --------------------------------------------------------------------------

    def check(self) -> None:
        """Assert that no page is lost or held twice (used by the property tests after every event)."""
        for pool, total in ((Pool.DEVICE, self.device_pages), (Pool.HOST, self.host_pages)):
            pages = [*self._free[pool], *self._pages_in(pool)]
            assert len(pages) == total, f"{pool}: {len(pages)} pages accounted for, {total} exist"
            assert len(set(pages)) == total, f"{pool}: a page is held twice"
        leaving = [h for h in (*self._held.values(), *self._abandoned.values()) if h.where is Where.LEAVING]
        assert self._leaving == sum(len(h.pages) for h in leaving)
        for where, there in ((Where.DEVICE, self.on_device), (Where.HOST, self.on_host)):
            assert {r for r, h in self._held.items() if h.where is where} == there.keys()

    def _pages_in(self, pool: Pool) -> list[int]:
        out: list[int] = [p for pages in self._reserved.values() for p in pages] if pool is Pool.DEVICE else []
        for held in (*self._held.values(), *self._abandoned.values()):
            source = Pool.HOST if held.where in {Where.HOST, Where.COMING} else Pool.DEVICE
            if source is pool:
                out.extend(held.pages)
            elif held.where in {Where.LEAVING, Where.COMING}:
                out.extend(held.target)
        return out


def _take(free: list[int], count: int) -> tuple[int, ...]:
    if count <= 0:
        return ()
    taken = tuple(reversed(free[-count:]))
    del free[-count:]
    return taken
