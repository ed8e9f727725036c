"""What a figure file declares: everything a reader asks of one figure, as data.

One file under `figures/<system>/` holds `FIGURE = Figure(...)`. The campaign expands it into points, the
plots draw it, the claims judge it. Nothing here runs anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from systems.core.variant import Scalar

Tier = Literal["smoke", "sim", "gpu", "paper"]
Color = Literal["vermillion", "blue", "green", "orange", "purple", "sky", "grey"]
Marker = Literal["o", "s", "^", "D", "v", "P", "X"]
Statistic = Literal["ratio", "order", "equal", "absolute", "below", "shrinks"]
Quantity = Literal["throughput_at_slo", "low_load_latency", "largest_gain", "largest"]
Part = Literal["queueing", "swapping", "executing"]  # of a request's latency (systems/core/virtual/ledger.py)
GridName = Literal["quick", "full"]
Metric = Literal[
    "normalized_latency_mean",  # s per output token, mean over requests
    "normalized_latency_p95",
    "latency_per_token_mean",  # s per (prompt + output) token
    "slo_attainment",  # share of requests meeting both targets, failures count as misses
    "latency_share",  # share of all requests' latency that is spent in one part of it (Series.part)
]


# What computes and what keeps the time: every result states this pair.
EXECUTORS: dict[Tier, str] = {
    "smoke": "torch + wall clock",
    "sim": "synthetic + modeled clock",
    "gpu": "torch + wall clock",
    "paper": "torch + wall clock",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """Lengths and arrivals. `scale` divides both lengths (floor 1); `name` is a sampler or a file's format.

    `lengths` (prompt, output) is what every request of the workload "fixed" has; of a sampler, the unscaled means to
    which its lengths are stretched.
    """

    name: str
    scale: float = 8.0
    arrivals: Literal["poisson", "gamma", "constant"] = "poisson"
    cv: float = 1.0
    lengths: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class At:
    """One x of a simulated panel: requests/s and how many of them, as the paper has it.

    `workload` replaces the panel's. `quick`: part of the quick grid too.
    """

    x: float
    rate: float
    requests: int
    quick: bool = False
    workload: Workload | None = None

    @classmethod
    def each(cls, requests: dict[float, int], quick: tuple[float, ...]) -> tuple[At, ...]:
        """One x per rate of `requests`, which says how many; the rates in `quick` are part of that grid."""
        return tuple(cls(float(rate), float(rate), n, quick=rate in quick) for rate, n in requests.items())


@dataclass(frozen=True, slots=True)
class Scene:
    """A panel at the paper's scale, for tier sim: names of systems/core/cost's models and GPUs, limits, the paper's x.

    `engine` has limits and memory (max_batch, max_tokens, max_model_len, page_tokens, device_pages, host_pages; pages
    that are not given are what fits). `series`, by name, has what some series have on top of it, in place of their own
    `engine`, which is tier smoke's.
    """

    model: str
    gpu: str
    workload: Workload
    at: tuple[At, ...]
    tp: int = 1
    pp: int = 1
    engine: dict[str, Scalar] = field(default_factory=dict)
    series: dict[str, dict[str, Scalar]] = field(default_factory=dict)
    trials: int = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a figure: a variant with its settings. `label` is the legend's text.

    `engine` overrides fields of EngineConfig on top of the panel's. `name` is also the name of the series in
    the published data sets. `color` and `marker` stay the same in every figure of a system. `costs` names the
    engine (systems/core/cost/engines.yaml) whose iteration times a simulation gives it. `part` is what the line shows of
    the latency, where the panel's metric is "latency_share".
    """

    name: str
    label: str
    variant: str
    settings: dict[str, Scalar] = field(default_factory=dict)
    engine: dict[str, Scalar] = field(default_factory=dict)
    color: Color = "grey"
    marker: Marker = "o"
    costs: str = "swifttransformer"
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Slo:
    """Targets as multiples of the measured decode iteration (smoke) and in seconds (the paper's own).

    `normalized` is latency per output token, `ttft` the time to the first token (None: not part of it).
    """

    normalized: float
    paper_normalized: float
    ttft: float | None = None
    paper_ttft: float | None = None
    share: float = 0.95


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes. Panels that differ only in `slo` share their points.

    `turns`, unless 0, replaces the grid's (see Grid). `slo_of` names the panel in whose iterations the SLO counts,
    where the paper's SLO is the same number of seconds on both. `paper` names data sets of `paper.yaml` by source ({"paper": "fig14_bs64_paper", "re-run": ...}).
    `engine` overrides fields of EngineConfig (max_batch, device_pages, ...). `scene` is the panel at tier sim;
    `tiers`, unless None, are the others on which it exists. `metric` and `series`, where given, replace the figure's.
    `log`: both axes are logarithmic.
    """

    name: str
    title: str
    workload: Workload
    slo: Slo
    checkpoint: str = "t-opt-smoke"
    engine: dict[str, Scalar] = field(default_factory=dict)
    paper: dict[str, str] = field(default_factory=dict)
    turns: float = 0.0
    slo_of: str = ""
    scene: Scene | None = None
    tiers: tuple[Tier, ...] | None = None
    metric: Metric | None = None
    series: tuple[Series, ...] = ()
    log: bool = False

    def on(self, tier: Tier) -> bool:
        """Whether the panel exists at `tier`."""
        return self.scene is not None if tier == "sim" else self.tiers is None or tier in self.tiers


@dataclass(frozen=True, slots=True)
class Grid:
    """Loads as multiples of the capacity measured at start-up, trials (seeds), and seconds per point.

    `turns`, unless 0, is the length of a point without a unit: it has `turns` requests per place of the batch limit
    (at loads below 1 in proportion fewer, except where a percentile needs them all), as many as the paper's points have; `seconds` is then only an estimate.
    What overload does to a latency depends on this number. `panels` limits the grid to some panels, so that
    `quick` keeps within its time; empty means all of them.
    """

    loads: tuple[float, ...]
    trials: int
    seconds: float
    panels: tuple[str, ...] = ()
    turns: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of a paper with a number.

    `quantity` is compared between series `a` and `b` on `panel`: "throughput_at_slo" is the x at which the metric
    first crosses the SLO, by linear interpolation; "low_load_latency" the metric averaged over x up to half of
    where `b` crosses; "largest_gain" the metric at the x where b / a is largest, and the ratio is then b / a;
    "largest" the metric where it is largest.

    ratio     a / b lies within `tolerance` (relative) of `value`, or of [`value`, `value_high`]
    order     a / b > 1
    equal     a / b lies within `tolerance` of 1
    shrinks   a / b on `panel` is larger than a / b on `other_panel`
    absolute  `quantity` of `a` lies within `tolerance` of `value`; never judged at tier smoke
    below     `quantity` of `a` is at most `value`

    `source` says where `value` was published. `data` is what the paper's own points give, where they contradict
    its text: our measurements are judged against it, the paper's points against `value`. `tiers` are those on which the claim can be tested, and `untested`
    says why not on the others. `note` records where the paper contradicts itself.
    """

    id: str
    section: str
    wording: str
    panel: str
    a: str
    b: str
    value: float
    source: str
    tolerance: float
    tolerance_reason: str
    statistic: Statistic = "ratio"
    quantity: Quantity = "throughput_at_slo"
    value_high: float | None = None
    data: float | None = None
    other_panel: str = ""
    tiers: tuple[Tier, ...] = ("smoke", "sim", "gpu", "paper")
    untested: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one paper. `shares` names the figure whose points it draws.

    `minutes` per grid on two cores, as measured (None: not measured yet). `y_unit` is what one unit of the drawn
    axis is worth in the metric's own unit (1e-3: milliseconds), `paper_y_unit` the same for the paper's axes.
    """

    id: str
    title: str
    caption: str
    metric: Metric
    panels: tuple[Panel, ...]
    series: tuple[Series, ...]
    grids: dict[GridName, Grid]
    claims: tuple[Claim, ...]
    hardware: str
    minutes: dict[GridName, float | None]
    limitations: tuple[str, ...]
    y_label: str
    y_unit: float = 1e-3
    paper_y_label: str = ""
    paper_y_unit: float = 1.0
    x_label: str = "offered load (multiples of measured FCFS capacity)"
    paper_x_label: str = "arrival rate (jobs/s)"
    tiers: tuple[Tier, ...] = ("smoke",)
    shares: str = ""

    @property
    def system(self) -> str:
        """The paper's system: the folder the file is in."""
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        """`figure14`, without the system."""
        return self.id.partition("/")[2]

    def metric_of(self, panel: Panel) -> Metric:
        """What the panel's y axis shows."""
        return panel.metric or self.metric

    def series_of(self, panel: Panel) -> tuple[Series, ...]:
        """The lines of the panel."""
        return panel.series or self.series
