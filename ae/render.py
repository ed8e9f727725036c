"""The table, the picture and the claim files of a figure, from what was measured, kept as reference, or published."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from ae import claimfile, claims, paper, places
from ae.store import write_atomic
from ae.table import Row
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ae.claims import Verdict
    from ae.figure import Figure, Tier
    from ae.paper import Published

Source = Literal["results", "reference", "paper"]
_COLUMNS = tuple(f.name for f in fields(Row))


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdicts of one figure and the file they were written to."""

    verdicts: tuple[Verdict, ...]
    path: Path


def folder(figure: Figure, tier: Tier, source: Source = "results") -> Path:
    """Return where the table, picture and claims of a figure are: `results/` or the committed `results/reference/`."""
    root = places.results() / "reference" if source == "reference" else places.results()
    return root / tier / figure.system / figure.name


def load_rows(figure: Figure, tier: Tier, source: Source) -> list[Row]:
    """Read the measured rows a source has; none for the paper. Raises UsageError when there is no table."""
    if source == "paper":
        return []
    path = folder(figure, tier, source) / f"{figure.name}.csv"
    if not path.is_file():
        fix = f"Measure it with `ae run {figure.id}`, or use --from paper."
        if source == "reference" and not any((places.results() / "reference").glob("*/*/*/*.csv")):
            raise UsageError("No reference runs are committed yet.", fix)
        raise UsageError(f"{figure.id} has no {source} at tier {tier} ({path} is missing).", fix)
    return read_csv(path)


def plot_figure(
    figure: Figure, rows: Sequence[Row], out_dir: Path, tier: Tier, *, published: Published | None = None
) -> list[Path]:
    """Write `<figure>.csv`, `.png` and `.pdf` into `out_dir`, from whatever rows there are; return their paths.

    Without any row, only the paper is drawn, as `<figure>_paper.png` and `.pdf` beside `<figure>_paper.csv`. The
    picture is complete on disk before it takes the name of an older one.
    """
    from ae import plots  # noqa: PLC0415 - matplotlib takes half a second that checking claims must not pay

    known = paper.for_figure(figure) if published is None else published
    name = figure.name if rows else f"{figure.name}_paper"
    table = write_csv(out_dir / f"{name}.csv", rows or paper_rows(figure, known))
    return [*plots.draw(figure, rows, known, tier, out_dir / name), table]


def check_figure(figure: Figure, rows: Sequence[Row], out_dir: Path, tier: Tier) -> list[Verdict]:
    """Judge the claims on measured rows, write `<figure>.claim`, and `<figure>_paper.claim` beside it.

    Returns the verdicts on the measured rows. A figure without claims gets no files.
    """
    if not figure.claims:
        return []
    check_paper(figure, out_dir)
    return list(check_measured(figure, rows, out_dir, tier).verdicts)


def check_measured(figure: Figure, rows: Sequence[Row], out_dir: Path, tier: Tier) -> Checked:
    """Judge the claims on measured rows and write `<figure>.claim`."""
    verdicts = claims.judge(figure, rows, tier)
    path = out_dir / f"{figure.name}.claim"
    claimfile.write(path, figure, verdicts, tier)
    return Checked(tuple(verdicts), path)


def check_paper(figure: Figure, out_dir: Path, *, published: Published | None = None) -> Checked:
    """Judge the claims on the paper's own points and write `<figure>_paper.claim`."""
    known = paper.for_figure(figure) if published is None else published
    verdicts = claims.judge_paper(figure, known)
    path = out_dir / f"{figure.name}_paper.claim"
    claimfile.write(path, figure, verdicts, None)
    return Checked(tuple(verdicts), path)


def paper_rows(figure: Figure, published: Published) -> list[Row]:
    """Return every published point of the figure's panels as rows, marked with their source."""
    return [
        row
        for panel in figure.panels
        for label, data in published.of(panel)
        for row in paper.rows(panel, label, data, paper.threshold(figure, panel, data))
    ]


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as a table, one column per field of Row, floats to their last digit; the old file is replaced."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return write_atomic(path, text.getvalue())


def read_csv(path: Path) -> list[Row]:
    """Read `write_csv` back. Raises UsageError for a file with other columns or a value that does not parse."""
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        if missing := set(_COLUMNS) - set(table.fieldnames or ()):
            raise UsageError(f"{path} lacks {', '.join(sorted(missing))}.", "Write it again with `ae plot`.")
        try:
            return [_row(line) for line in table]
        except ValueError as error:
            raise UsageError(f"{path}, line {table.line_num}: {error}.", "Write it again with `ae plot`.") from error


def _row(line: dict[str, str]) -> Row:
    return Row(
        panel=line["panel"],
        series=line["series"],
        x=float(line["x"]),
        rate=float(line["rate"]),
        trial=int(line["trial"]),
        value=float(line["value"]),
        requests=int(line["requests"]),
        failed=int(line["failed"]),
        valid=line["valid"] == "True",
        why=line["why"],
        source=line["source"],
        slo=float(line["slo"]),
    )
