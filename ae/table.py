"""The table behind a picture: one row per (panel, series, x, trial), from our points or from the paper's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """`x` is what the axis shows (load, or the paper's rate), `value` the figure's metric in its unit.

    `source` is "measured" or the name of a published data set. `valid` is false for a measurement that
    cannot be believed, with `why`; such a row is drawn hollow and counts towards no claim.

    `slo` is what `value` is judged against, in the same unit: for a latency, the panel's multiple times the decode
    iteration measured at calibration (seconds); for an attainment, the share that must be met. 0: not known.
    """

    panel: str
    series: str
    x: float
    rate: float
    trial: int
    value: float
    requests: int = 0
    failed: int = 0
    valid: bool = True
    why: str = ""
    source: str = "measured"
    slo: float = 0.0
