"""How a running campaign looks: a bar with the time left on a terminal, plain lines elsewhere.

rich honours NO_COLOR and TERM itself; a terminal that can do nothing (`dumb`) gets plain lines.
"""

import contextlib
import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ae.cli.out import ReaderGone, duration, emit
from ae.report import Reporter


def reporter() -> Reporter:
    """Choose by what stdout is."""
    return Bar() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else Lines()


class Lines:
    """One line per event. A reader that goes away does not stop the work."""

    def __init__(self) -> None:
        self._done = 0
        self._points = 0

    def say(self, text: str) -> None:
        """Print `text`."""
        with contextlib.suppress(ReaderGone):
            emit(text)

    def begin(self, points: int, seconds: float) -> None:
        """Announce the work."""
        self._done, self._points = 0, points
        self.say(f"  running {points} points, about {duration(seconds)}")

    def advance(self, text: str, seconds_left: float) -> None:
        """Print the point with its number and the time left."""
        self._done += 1
        self.say(f"  [{self._done}/{self._points}] {text}  (about {duration(seconds_left)} left)")

    def end(self) -> None:
        """Nothing to take down."""


class Bar:
    """A rich progress bar below the lines."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, markup=False)

    def begin(self, points: int, seconds: float) -> None:
        """Show the bar."""
        columns = (
            TextColumn("  "),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task(f"about {duration(seconds)} left", total=points)
        self._progress.start()

    def advance(self, text: str, seconds_left: float) -> None:
        """Print the point and move the bar."""
        self.say(f"  {text}")
        if self._progress:
            self._progress.update(self._task, advance=1, description=f"about {duration(seconds_left)} left")

    def end(self) -> None:
        """Take the bar down."""
        if self._progress:
            self._progress.stop()
            self._progress = None
