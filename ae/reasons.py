"""Why a what-if came out as it did: what bound each system, in words, from what all had and what each did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae.curves import combine, crossing, trials
from systems.core.cost.gpu import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ae.cells import Cell
    from ae.curves import Estimate, Span
    from ae.table import Row

WORDS = 10.0  # a share from which on it is said as so many times
SELDOM = 0.005  # preemptions a request below which nobody is said to be preempted


@dataclass(frozen=True, slots=True)
class Given:
    """What all systems had in common.

    `slo` is in s per output token, `step` a decode iteration of a full batch of `full` requests in s. `batch` is the
    limit of requests in an iteration, `pages` of `page_tokens` tokens are there for KV (`source` says why so many),
    `held` tokens is what a running request holds, averaged over time; `output` is the mean of its output tokens, and
    `prompt` the time in s of a prompt of mean length alone.
    """

    slo: float
    step: float
    full: int
    batch: int
    pages: int
    page_tokens: int
    source: str
    held: float
    output: float
    prompt: float

    @property
    def tokens(self) -> int:
        """KV memory in tokens."""
        return self.pages * self.page_tokens

    @property
    def fit(self) -> int:
        """Running requests whose KV fits at once, on average."""
        return int(self.tokens / self.held)

    @property
    def decoding(self) -> float:
        """Seconds that decoding takes of a request, its share of full batches."""
        return self.output * self.step / self.full


def at_slo(rows: Sequence[Row], series: str) -> Estimate | None:
    """The rate at which `series` crosses the SLO, over trials; None where no trial can say."""
    return _estimate(_crossings(rows, series).values())


def words(given: Given, cells: Sequence[Cell], rows: Sequence[Row]) -> list[str]:
    """The reasons, some sentences each: the SLO, memory, then every system, then the first against each other one."""
    names = list(dict.fromkeys(one.series for one in cells))
    found = [_slo(given), _memory(given)]
    for name in names:
        own = [one for one in cells if one.series == name]
        sentences = (_crosses(_crossings(rows, name)), _places(given, own), _pace(own), *_made_room(own))
        found.append(f"{name}: " + " ".join((*sentences, *_refused(own))))
    found += _against(rows, names)
    if any(one.numbers.offered > given.batch or one.numbers.normalized > given.slo for one in cells):
        each = max(one.requests // one.trials for one in cells)
        found.append(
            f"Beyond what can be served, latency and concurrency grow with the length of a run: here {each} requests."
        )
    return found


def _crossings(rows: Sequence[Row], series: str) -> dict[int, Span]:
    """Per trial; `rows` are of one panel."""
    panel = rows[0].panel if rows else ""
    return {trial: crossing(curve) for trial, curve in trials(rows, panel, series).items()}


def _estimate(spans: Iterable[Span]) -> Estimate | None:
    usable = [span for span in spans if not span.blocked]
    return combine(usable) if usable else None


def _slo(given: Given) -> str:
    costs, prompt = given.decoding, given.prompt
    return (
        f"SLO: {given.slo * 1e3:.3g} ms per output token, {given.slo / given.step:.3g} decode iterations of a full "
        f"batch ({given.full} requests with {given.held:.0f} tokens each take {given.step * 1e3:.3g} ms). Of such "
        f"batches a request takes {costs * 1e3:.3g} ms, its prompt alone {prompt * 1e3:.3g} ms: so about "
        f"{1 / (costs + prompt):.3g} requests/s can be served."
    )


def _memory(given: Given) -> str:
    binds = "the batch limit binds before memory does" if given.fit >= given.batch else "memory is full first"
    return (
        f"KV memory: {given.pages:,} pages of {given.page_tokens} tokens = {given.tokens:,} tokens ({given.source}). "
        f"A running request holds {given.held:.0f} on average, so {given.fit:,} fit at once; the batch has "
        f"{given.batch} places: {binds}."
    )


def _crosses(spans: dict[int, Span]) -> str:
    at = _estimate(spans.values())
    if at is None:
        return "No trial says where its mean latency crosses the SLO."
    if at.value is not None:
        return f"Its mean latency crosses the SLO at {at} requests/s."
    if all(math.isinf(span.high) for span in spans.values()):
        return f"Its mean latency keeps to the SLO up to {at.low:g} requests/s, the highest rate asked."
    if all(span.low <= 0 for span in spans.values()):
        return f"Its mean latency is beyond the SLO at {at.high:g} requests/s already, the lowest rate asked."
    return f"Its mean latency crosses the SLO within the rates asked in some trials only, at {at} requests/s."


def _places(given: Given, own: Sequence[Cell]) -> str:
    """Offered concurrency against the places of the batch and against memory."""
    over = next((one for one in own if one.numbers.offered > given.batch), None)
    top = max(own, key=lambda one: one.numbers.offered)
    most = f"{_short(top.numbers.offered)} at {top.rate:g}/s"
    share = top.numbers.offered * given.held / given.tokens
    times = f"{share:.0%} of" if share < WORDS else f"{share:,.0f} times"
    demand = f"KV for so many would be {times} the memory"
    if over:
        return (
            f"From {over.rate:g}/s on the offered concurrency (rate x mean latency) exceeds the {given.batch} places of "
            f"the batch, {most}: requests wait or take turns; {demand}."
        )
    return (
        f"The offered concurrency (rate x mean latency) stays below the {given.batch} places of the batch, {most}; "
        f"{demand}."
    )


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def _pace(own: Sequence[Cell]) -> str:
    ends = own[:1] if len(own) == 1 else (own[0], own[-1])
    parts = [
        f"{one.numbers.iteration * 1e3:.3g} ms for {one.numbers.tokens:.3g} tokens at {one.rate:g}/s" for one in ends
    ]
    return f"An iteration takes {', '.join(parts)}."


def _made_room(own: Sequence[Cell]) -> Iterator[str]:
    """Preemptions, and what they cost."""
    worst = max(own, key=lambda one: one.numbers.preemptions)
    first = next((one for one in own if one.numbers.preemptions >= SELDOM), None)
    if first is None:
        yield "Preempts nobody."
        return
    yield f"Preempts from {first.rate:g}/s on, up to {worst.numbers.preemptions:.2g} times a request (at {worst.rate:g}/s)."
    swaps = max(own, key=lambda one: one.numbers.swapped)
    if swaps.numbers.swapped:
        yield (
            f"Copies up to {swaps.numbers.swapped / GIB:.2g} GiB a request between GPU and host (at {swaps.rate:g}/s), "
            f"for which iterations wait {swaps.numbers.waiting:.1%} of the time."
        )
    again = max(own, key=lambda one: one.numbers.recomputed)
    if again.numbers.recomputed >= 1:
        yield f"Computes up to {again.numbers.recomputed:.0f} tokens a request again (at {again.rate:g}/s)."


def _refused(own: Sequence[Cell]) -> Iterator[str]:
    failed = sum(one.failed for one in own)
    if failed:
        why = next(one.error for one in own if one.failed)
        yield f"{failed} of {sum(one.requests for one in own)} requests were refused and are in no latency: {why}"


def _against(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """How much more the first system carries at the SLO than each other one, where anything is known of it."""
    mine = _crossings(rows, names[0]) if names else {}
    for other in names[1:]:
        theirs = _crossings(rows, other)
        ratio = _estimate(mine[trial].over(theirs[trial]) for trial in mine if trial in theirs)
        if ratio and (ratio.value is not None or ratio.low > 0 or math.isfinite(ratio.high)):
            yield f"{names[0]} carries {ratio} times the load of {other} at the SLO."
