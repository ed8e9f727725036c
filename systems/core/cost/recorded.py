"""Hardware read back from what was written down: an event log's header, a simulated point's `resolved.json`."""

from __future__ import annotations

from typing import Any

from systems.core.cost.fitted import Overhead
from systems.core.cost.named import Hardware
from systems.core.errors import UsageError


def hardware_from(row: dict[str, Any]) -> Hardware:
    """The hardware that `asdict` made `row` of. Raises UsageError for anything else."""
    try:
        overhead = Overhead(**row["overhead"]) if row["overhead"] else None
        return Hardware(**{**row, "overhead": overhead})
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"This is no hardware of this version: {error}.", "Simulate the point again: ae run FIGURE --tier sim."
        ) from error
