"""Links between memories in modeled time: each a queue of latency + bytes / bandwidth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from systems.core.plan import Transfer


@dataclass(frozen=True, slots=True)
class Link:
    """A link between pools: `latency` ns, then `bytes_per_s` (0: no time at all)."""

    bytes_per_s: float = 0.0
    latency: int = 0


class Links:
    """The links of one engine by name; a name that is not there takes no time."""

    def __init__(self, links: Mapping[str, Link] | None = None) -> None:
        self._links = dict(links or {})
        self._free: dict[str, int] = {}
        self._landing: dict[int, int] = {}

    def start(self, transfer: Transfer, now: int) -> int:
        """When `transfer`, put in line now, will have landed (ns)."""
        link = self._links.get(transfer.link, Link())
        begin = max(now, self._free.get(transfer.link, 0))
        takes = link.latency + (round(transfer.bytes * 1e9 / link.bytes_per_s) if link.bytes_per_s else 0)
        self._free[transfer.link] = self._landing[transfer.id] = begin + takes
        return begin + takes

    def landed(self, transfer: int) -> None:
        """That transfer is over."""
        del self._landing[transfer]

    def ready(self, after: tuple[int, ...], now: int) -> int:
        """When all of `after` have landed; `now` if they have."""
        landing = self._landing
        return max([now, *(landing.get(transfer, 0) for transfer in after)]) if after else now
