"""Print how punctual the load generator is and how many stream events it can read, on this machine.

Wanted at 1,000 requests/s with 8 events each and a free core: p99 lateness <= 5 ms (goal 2 ms).
"""

from __future__ import annotations

import os

from ae.load.selftest import ceiling, punctuality

REQUIRED, GOAL = 0.005, 0.002


def ms(seconds: float | None) -> str:
    """Format as milliseconds; a refused percentile (fewer than 1,000 samples) as a dash."""
    return f"{'-' if seconds is None else f'{seconds * 1e3:.2f}':>9}"


def main() -> None:
    """Measure and print."""
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the start; lateness in ms")
    print(f"{'req/s':>6}{'events':>7}{'n':>7}{'failed':>7}{'p50':>9}{'p95':>9}{'p99':>9}{'latest':>9}{'CPU':>6}")
    for row in punctuality((100, 300, 1000)):
        late = row.lateness
        columns = ms(late.p50) + ms(late.p95) + ms(late.p99) + ms(row.latest)
        print(f"{row.rate:6.0f}{row.events:7}{row.requests:7}{row.failed:7}{columns}{row.cpu_share:6.0%}", flush=True)
    p99 = row.lateness.p99
    verdict = "not known" if p99 is None else "goal" if p99 <= GOAL else "required" if p99 <= REQUIRED else "MISSED"
    print(f"at {row.rate:.0f} requests/s: {verdict} (required p99 <= 5 ms, goal 2 ms)")
    top = ceiling()
    print(
        f"ceiling: {top.per_second:.0f} events/s ({top.concurrency} streams, {top.per_read:.1f} events per read, "
        f"client at {top.cpu_share:.0%} of a core)"
    )


if __name__ == "__main__":
    main()
