"""Where a request's time goes in a simulation: executing, swapping, queueing (FastServe, Figure 17, right)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from systems.core.plan import Place, Pool, Transfer
from systems.core.virtual.engine import Client

_DEVICE = Place(Pool.DEVICE)


@dataclass(slots=True)
class _Account:
    """`settled`: the engine's held time up to which nothing counts for this request. `coming`: since when its KV is."""

    settled: int
    executing: int = 0
    swapping: int = 0
    coming: int | None = None


class Ledger:
    """Splits the time of each request of one engine, from its arrival to its end, in three; times are ns.

    * executing: it is in an iteration, from when that can begin (the transfers it waits for have landed) to its end;
    * swapping, where it is not executing: its KV is on the way to the device, from when the policy asks for the copy
      (so with the time in the link's line) until it has landed; or an iteration that it is in waits for its
      transfers; or nothing ran before an iteration that it is in while some transfer was under way, after the last
      iteration and after its own copy, if it had one, had landed;
    * queueing: the rest. A copy to the host is part of it: who is sent away is not to run.

    So swapping is an upper bound of what transfers cost: a copy in that the policy starts ahead of time counts, though
    its request might have had to wait anyway. Members of a lane are not looked at while they stay: the lane keeps sums
    (see `Simulated`), of which they subtract what they found and add what they leave.
    """

    def __init__(self) -> None:
        self.now = 0  # of the last change
        self.held = 0  # ns in which nothing ran and a transfer was under way
        self._moving = 0
        self._running = 0
        self._since = 0  # `held` when the last iteration began
        self._accounts: dict[int, _Account] = {}

    # -- the engine ------------------------------------------------------------------------------------------------

    def begins(self, now: int) -> int:
        """An iteration begins; the value of `held` when the one before it did."""
        self._pass(now)
        self._running += 1
        since, self._since = self._since, self.held
        return since

    def ended(self, now: int) -> None:
        """An iteration is over."""
        self._pass(now)
        self._running -= 1

    def planned(self, moves: Iterable[Transfer], now: int) -> None:
        """Transfers start."""
        self._pass(now)
        for move in moves:
            self._moving += 1
            account = self._accounts.get(move.request)
            if account and move.target == _DEVICE:
                account.coming = now

    def moved(self, transfer: Transfer, now: int) -> None:
        """A transfer has landed."""
        self._pass(now)
        self._moving -= 1
        account = self._accounts.get(transfer.request)
        if account:
            self._land(account, now)

    def _pass(self, now: int) -> None:
        if self._moving and not self._running:
            self.held += now - self.now
        self.now = now

    # -- its requests ----------------------------------------------------------------------------------------------

    def open(self, request: int, now: int) -> None:
        """A request is there."""
        self._pass(now)
        self._accounts[request] = _Account(self.held)

    def enter(self, request: int, now: int, since: int) -> None:
        """A request is new in the iteration that begins; `since` is what `begins` said."""
        account = self._accounts.get(request)
        if account:
            self._land(account, now)
            account.swapping += self.held - max(since, account.settled)

    def add(self, request: int, executing: int, swapping: int) -> None:
        """Count more time for a request; nothing if its account is closed (its client went away)."""
        account = self._accounts.get(request)
        if account:
            account.executing += executing
            account.swapping += swapping

    def close(self, client: Client, now: int) -> None:
        """A request is over, or leaves the engine; write down what it has spent here, once."""
        account = self._accounts.pop(client.request.id, None)
        if account is None:
            return
        self._land(account, now)
        client.executing = (client.executing or 0) + account.executing
        client.swapping = (client.swapping or 0) + account.swapping

    def _land(self, account: _Account, now: int) -> None:
        if account.coming is not None:
            account.swapping += now - account.coming
            account.coming = None
            account.settled = self.held
