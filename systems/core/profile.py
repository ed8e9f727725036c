"""A measured profile: how long prompts and decodes take on one machine, as JSON that is checked for sanity.

FastServe (NSDI'26), section 4.1, needs it to predict a prompt's first iteration. The profile that its artifact ships
has no trend in batch or length (every entry 1.3 to 5.6 ms), so that skip-join did nothing there; `validate` refuses it.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from systems.core.errors import UsageError

SCHEMA = 1
NOISE = 1.25  # a longer prompt or a larger batch may measure this much faster before we call the profile broken


@dataclass(frozen=True, slots=True)
class Profile:
    """Medians in ns: `prefill` of (tokens, ns), `decode` of (batch, context tokens in all, ns); ids of model and machine."""

    model: str
    hardware: str
    prefill: tuple[tuple[int, int], ...]
    decode: tuple[tuple[int, int, int], ...]
    schema: int = SCHEMA

    @classmethod
    def synthetic(cls) -> Profile:
        """A made-up machine for synthetic compute: 1 ms an iteration, 0.02 ms a prompt token. Not a measurement."""
        prefill = tuple((n, 1_000_000 + 20_000 * n) for n in (1, 128, 2048))
        decode = tuple((b, b * c, 1_000_000 + 10_000 * b + 10 * b * c) for b in (1, 16, 256) for c in (16, 2048))
        return cls("synthetic", "synthetic", prefill, decode)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Profile:
        """The profile of `to_dict`. Raises UsageError when it is none or is not sane."""
        try:
            profile = cls(
                model=str(row["model"]),
                hardware=str(row["hardware"]),
                prefill=tuple(sorted((int(n), int(t)) for n, t in row["prefill"])),
                decode=tuple(sorted((int(b), int(c), int(t)) for b, c, t in row["decode"])),
                schema=int(row["schema"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"This is not a profile: {error!r}.", "Measure one: python -m systems.core.profiler."
            ) from error
        profile.validate()
        return profile

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read and validate a file. Raises UsageError."""
        try:
            row = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(
                f"Cannot read the profile {path}: {error}.", "Measure one: python -m systems.core.profiler."
            ) from error
        return cls.from_dict(row)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        temporary = path.with_suffix(path.suffix + ".tmp")
        temporary.write_text(json.dumps(self.to_dict(), indent=1))
        temporary.replace(path)

    def validate(self) -> None:
        """Raise UsageError unless the numbers can be a measurement of a model: positive, and growing with the work."""
        if self.schema != SCHEMA:
            raise UsageError(f"This profile has schema {self.schema}, this version reads {SCHEMA}.", _AGAIN)
        if len({n for n, _ in self.prefill}) < 2 or len({b for b, _, _ in self.decode}) < 2:
            raise UsageError("A profile needs prompts of two lengths and decodes of two batch sizes.", _AGAIN)
        if any(t <= 0 for *_, t in (*self.prefill, *self.decode)):
            raise UsageError("A profile with a time of zero or less is no measurement.", _AGAIN)
        times = [t for _, t in self.prefill]
        if times[-1] <= times[0] or any(b * NOISE < a for a, b in pairwise(times)):
            raise UsageError("In this profile longer prompts do not take longer: it cannot be a measurement.", _AGAIN)
        first, last = self.decode[0], self.decode[-1]
        if last[2] * NOISE < first[2]:
            raise UsageError("In this profile a large batch decodes faster than a small one.", _AGAIN)

    def check_model(self, model: str) -> None:
        """Raise UsageError when the profile was measured on another model."""
        if model != self.model:
            raise UsageError(f"This profile is of {self.model!r}, not of {model!r}.", _AGAIN)


_AGAIN = "Measure it again: python -m systems.core.profiler --config ENGINE.json --out PROFILE.json."


class ProfileEstimator:
    """A policy's idea of time: piecewise linear between measured points, straight on beyond them."""

    def __init__(self, profile: Profile) -> None:
        self._prefill = _line(profile.prefill)
        self._batches = sorted({b for b, _, _ in profile.decode})
        self._by_batch = {b: _line([(c, t) for bb, c, t in profile.decode if bb == b]) for b in self._batches}
        self._shortest = min(t for *_, t in profile.decode)

    def prefill(self, tokens: int) -> int:
        """Ns for the first iteration of a prompt of `tokens`, alone."""
        return self._prefill(tokens)

    def decode(self, batch: int, context: int) -> int:
        """Ns for one decode iteration of `batch` requests with `context` tokens in all."""
        batches = self._batches
        at = min(max(bisect_left(batches, batch), 1), len(batches) - 1)
        low, high = batches[at - 1], batches[at]
        share = context / max(1, batch)
        points = [(b, self._by_batch[b](round(share * b))) for b in (low, high)]
        return _line(points)(batch)

    def shortest(self) -> int:
        """Ns of the shortest measured iteration."""
        return self._shortest


class ProfileCost:
    """How long an iteration takes on the modeled clock, from the same measurements but a different object.

    A mixed iteration pays the fixed part of an iteration once; a chunk pays for the context before it as decodes do.
    """

    def __init__(self, profile: Profile) -> None:
        self._estimate = ProfileEstimator(profile)
        one, many = self._estimate.decode(1, 16), self._estimate.decode(1, 1040)
        self._per_context = max(0.0, (many - one) / 1024)

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], decode_batch: int, decode_context: int) -> int:
        """Ns for `chunks` (tokens, context before them) and `decode_batch` decodes over `decode_context` tokens."""
        total = 0
        if chunks:
            total += self._estimate.prefill(sum(count for count, _ in chunks))
            total += round(self._per_context * sum(count * context for count, context in chunks))
        if decode_batch:
            total += self._estimate.decode(decode_batch, decode_context)
        return total - self._estimate.shortest() if chunks and decode_batch else total


def _line(points: Sequence[tuple[int, int]]) -> Callable[[int], int]:
    """Piecewise linear through `points` (sorted by x), straight on beyond the ends, at least 1."""
    xs = [x for x, _ in points]

    def at(x: int) -> int:
        if len(points) == 1:
            return points[0][1]
        i = min(max(bisect_left(xs, x), 1), len(xs) - 1)
        (x0, y0), (x1, y1) = points[i - 1], points[i]
        return max(1, round(y0 + (y1 - y0) * (x - x0) / (x1 - x0)))

    return at
