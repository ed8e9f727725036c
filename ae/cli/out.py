"""Everything the commands print: data on stdout, messages on stderr, nothing to a reader who has gone."""

import json
import os
import sys
from collections.abc import Iterable, Sequence

from systems.core.errors import AeError

SCHEMA = 1


class ReaderGone(Exception):
    """The reader of our stdout has closed it."""


def emit(text: str = "") -> None:
    """Write one line to stdout. Raises ReaderGone."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReaderGone from None


def emit_json(name: str, value: object) -> None:
    """Write one JSON object with a schema version, `value` under `name`."""
    emit(json.dumps({"schema": SCHEMA, name: value}, indent=1))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write aligned columns; the last one may be as long as it likes."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        emit("  ".join(cells).rstrip())


def complain(error: AeError) -> None:
    """Say on stderr what failed and what to do, in one line each."""
    sys.stderr.write(f"error: {error.what}\n")
    if error.fix:
        sys.stderr.write(f"  fix: {error.fix}\n")


def duration(seconds: float) -> str:
    """Write a time as people do: 45 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
