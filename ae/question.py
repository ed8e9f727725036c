"""A what-if as a value, and the `Figure` in memory that it means, with every name looked up."""

from __future__ import annotations

import hashlib
import importlib
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, get_args

from ae.figure import At, Color, Figure, Grid, Marker, Panel, Scene, Series, Slo, Workload
from ae.load import workload as lengths
from ae.load.schedule import Load, plain
from ae.points import FIRST_SEED, overridden
from ae.reasons import Given
from ae.sim.points import LIMITS, SYNTHETIC  # LIMITS: what every engine has; all else is a policy's
from ae.store import canonical
from systems.core import policy, variant
from systems.core.config import EngineConfig
from systems.core.cost import tables
from systems.core.cost.gpu import gpu
from systems.core.cost.named import Hardware, Machine, machine
from systems.core.cost.shape import shape
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from systems.core.variant import Scalar, Variant

SLO_STEPS = 10.0  # decode iterations of a full batch per output token: what the papers take
POINTS = 9  # of a range of rates
WIDE = 10.0  # a range whose end is more than so many times its start is cut by equal factors
MAX_BATCH = 256  # max_num_seqs of vLLM 0.6, unless --set says otherwise
COLORS: tuple[Color, ...] = get_args(Color)
MARKERS: tuple[Marker, ...] = get_args(Marker)
LATENCY, RATE = "mean latency, ms per output token", "arrival rate (requests/s)"
POOL = "try/all"  # all what-ifs share their points, so that a wider range runs only what is new


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `systems` are systems (their default variant) or variants; `rates` are requests/s, ascending.

    `workload` is a name of workloads.yaml or PROMPT+OUTPUT tokens. `slo` is in s per output token (None: SLO_STEPS
    decode iterations of a full batch). `settings` are engine limits, for all, or settings of a policy, for those that
    have them. `costs` is the engine (engines.yaml) whose iteration times all get.
    """

    systems: tuple[str, ...]
    model: str
    gpu: str
    rates: tuple[float, ...]
    tp: int = 1
    pp: int = 1
    workload: str = "sharegpt"
    requests: int = 400
    trials: int = 3
    slo: float | None = None
    settings: tuple[tuple[str, Scalar], ...] = ()
    costs: str = "cuda-graphs"


@dataclass(frozen=True, slots=True)
class Stage:
    """A question with every name looked up. `engine` has the limits of all systems."""

    question: Question
    series: tuple[Series, ...]
    workload: Workload
    engine: EngineConfig
    machine: Machine
    given: Given


def rates(text: str, points: int = POINTS) -> tuple[float, ...]:
    """Rates, ascending: "4..20" is `points` of them from end to end, "2,4,8" these three. Raises UsageError.

    A range is cut evenly, a WIDE one by equal factors; its rates are rounded to three digits.
    """
    first, dots, last = text.partition("..")
    try:
        found = _between(float(first), float(last), points) if dots else [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < rate < math.inf for rate in found):
        raise UsageError(f"{text!r} are no rates.", "Write --rate 4..20, --rate 2,4,8 or --rate 5 (requests/s).")
    return tuple(sorted(set(found)))


def _between(low: float, high: float, points: int) -> list[float]:
    if points < 2:
        raise UsageError(f"A range of rates has two ends, not {points} points.", "Give --points of at least 2.")
    if not 0 < low < high < math.inf:
        return []
    parts = [i / (points - 1) for i in range(points)]
    every = [low * (high / low) ** part if high > WIDE * low else low + (high - low) * part for part in parts]
    return [float(f"{rate:.3g}") for rate in every]


def stage(question: Question) -> Stage:
    """Look everything up. Raises UsageError for a name, number or setting that makes no sense, and for what does not fit."""
    if question.requests < 1 or question.trials < 1:
        raise UsageError("Nothing is to be simulated.", "Give --requests and --trials of at least 1.")
    if question.slo is not None and not 0 < question.slo < math.inf:
        raise UsageError(f"An SLO of {question.slo:g} s per output token makes no sense.", "Give --slo above 0.")
    entries = list({found.id: found for found in map(variant.find, question.systems)}.values())
    own = {entry.id: _settings(entry) for entry in entries}
    for name, _ in question.settings:
        tables.check_name("setting", name, (*LIMITS, *sorted(set().union(*own.values()))))
    workload = _workload(question.workload)
    engine = _engine(question, workload)
    tp, pp = question.tp, question.pp
    found = machine(Hardware(question.model, question.gpu, tp, pp, question.costs, page_tokens=engine.page_tokens))
    series = _series(question, entries, own, engine)
    return Stage(question, series, workload, engine, found, _given(question, workload, engine, found))


def _settings(entry: Variant) -> set[str]:
    """The names of what can be set of a policy."""
    module, _, name = entry.policy.partition(":")
    return {field.name for field in fields(getattr(importlib.import_module(module), name).Settings)}


def _series(
    question: Question, entries: Sequence[Variant], own: Mapping[str, set[str]], engine: EngineConfig
) -> tuple[Series, ...]:
    if not 0 < len(entries) <= len(COLORS):
        raise UsageError(f"{len(entries)} systems make no picture.", f"Ask of 1 to {len(COLORS)}.")
    found = []
    for entry, color, marker in zip(entries, COLORS, MARKERS, strict=False):
        settings = {name: chosen for name, chosen in question.settings if name in own[entry.id]}
        variant.check(entry, policy.Limits(engine.max_batch, engine.max_tokens), settings)
        label = entry.id + (f" ({_said(settings)})" if settings else "")
        found.append(Series(entry.id, label, entry.id, settings, color=color, marker=marker, costs=question.costs))
    return tuple(found)


def _said(settings: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name}={chosen}" for name, chosen in settings.items())


def _workload(name: str) -> Workload:
    prompt, plus, output = name.partition("+")
    if plus and prompt.isdecimal() and output.isdecimal() and int(prompt) and int(output):
        return Workload("fixed", scale=1.0, lengths=(int(prompt), int(output)))
    if name in lengths.names():
        return Workload(name, scale=1.0)
    known = f"Workloads: {', '.join(lengths.names())}; or PROMPT+OUTPUT tokens, as in 512+128."
    if "." in name or "/" in name:
        raise UsageError("A file's requests have no lengths without the tokenizer of the model.", known)
    raise UsageError(f"There is no workload called {name!r}.", known)


def _engine(question: Question, workload: Workload) -> EngineConfig:
    """The limits of every system: those asked for, else vLLM's batch limit and a context that the workload fits in."""
    asked = {name: chosen for name, chosen in question.settings if name in LIMITS}
    base = EngineConfig(SYNTHETIC, max_batch=MAX_BATCH, max_queue=question.requests)
    context = int(asked.get("max_model_len") or _context(workload, base.max_model_len))
    # As in vLLM without chunked prefill: the longest prompt there can be fits in one iteration.
    both = {"max_model_len": context, "max_tokens": max(base.max_tokens, context)}
    return overridden(base, {**both, **asked}, "--set")


def _context(workload: Workload, endless: int) -> int:
    """Tokens of the longest request of a workload; `endless` where its lengths have no bound."""
    if workload.lengths:
        return int(sum(workload.lengths))
    known = lengths.published(workload.name)
    if known.filter.total_max < lengths.Filter().total_max:
        return known.filter.total_max
    ends = [marginal.quantiles[-1] for marginal in (known.prompt, known.output) if marginal.quantiles]
    return int(sum(ends)) if len(ends) == 2 else endless


def _given(question: Question, workload: Workload, engine: EngineConfig, on: Machine) -> Given:
    fits, tokens = on.capacity, engine.page_tokens
    pages = engine.device_pages or fits.pages
    source = f"as asked; {fits.pages:,} would fit" if engine.device_pages else fits.source
    load = Load(1.0, requests=question.requests, seed=FIRST_SEED, max_model_len=engine.max_model_len)
    _, pairs = plain(workload, load)
    # A request holds its prompt and, on average, half of its output, for as long as its output is; half a page is empty.
    held = float((pairs.output * (pairs.prompt + pairs.output / 2)).sum() / pairs.output.sum()) + tokens / 2
    full = max(1, min(engine.max_batch, int(pages * tokens / held)))
    step = on.estimator.decode(full, round(full * held)) / 1e9
    slo = SLO_STEPS * step if question.slo is None else question.slo
    prompt = on.estimator.prefill(round(float(pairs.prompt.mean()))) / 1e9
    return Given(slo, step, full, engine.max_batch, pages, tokens, source, held, float(pairs.output.mean()), prompt)


def figure_of(staged: Stage) -> Figure:
    """The question as a figure with one panel: its id differs where anything that is asked does."""
    question, engine = staged.question, staged.engine
    model, on, gpus = shape(question.model).name, gpu(question.gpu).name, question.tp * question.pp
    where = f"{model}_{gpus}x-{on}_{question.workload}"
    digest = hashlib.sha256(canonical(asdict(question)).encode()).hexdigest()[:8]
    at = tuple(At(rate, rate, question.requests) for rate in question.rates)
    limits: dict[str, Scalar] = {name: getattr(engine, name) for name in LIMITS}
    tp, pp = question.tp, question.pp
    scene = Scene(model, on, staged.workload, at, tp, pp, engine=limits, trials=question.trials)
    asked = {"max_batch": engine.max_batch} | {name: chosen for name, chosen in question.settings if name in LIMITS}
    return Figure(
        id=f"try/{where}-{digest}",
        title="What if: mean latency against load",
        caption=f"{model} on {gpus}x {on}, {question.workload}, {_said(asked)}, times of {question.costs}",
        metric="normalized_latency_mean",
        panels=(Panel(where, question.workload, staged.workload, Slo(SLO_STEPS, staged.given.slo), scene=scene),),
        series=staged.series,
        grids={"full": Grid(question.rates, question.trials, 0.0)},
        claims=(),
        hardware=f"{gpus}x {on}",
        minutes={},
        limitations=(),
        y_label=LATENCY,
        paper_y_label=LATENCY,
        paper_y_unit=1e-3,
        x_label=RATE,
        paper_x_label=RATE,
        tiers=("sim",),
        shares=POOL,
    )
