"""What long work says while it runs; the command line decides how it looks."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Told about progress, in order. Times are seconds."""

    def say(self, text: str) -> None:
        """One line worth keeping."""

    def begin(self, points: int, seconds: float) -> None:
        """So many points are about to run, for about so long."""

    def advance(self, text: str, seconds_left: float) -> None:
        """One more point is over (`text` says which and how)."""

    def end(self) -> None:
        """No more points."""


class Silent:
    """Says nothing (tests, and commands whose output is JSON)."""

    def say(self, text: str) -> None:
        """Drop `text`."""

    def begin(self, points: int, seconds: float) -> None:
        """Do nothing."""

    def advance(self, text: str, seconds_left: float) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""
