"""Reading back what the load generator wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from systems.core.record import Record

if TYPE_CHECKING:
    from pathlib import Path


def read(file: Path) -> list[Record]:
    """The records of a `requests.jsonl`, in order of id. A last line cut short by a kill is left out."""
    whole, _, _ = file.read_text().rpartition("\n")
    return sorted((Record.from_json(line) for line in whole.splitlines()), key=lambda r: r.id)
