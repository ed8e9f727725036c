"""`ae try`: a what-if outside any figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out
from ae.cli.listing import Json
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ae.cells import Cell
    from ae.report import Reporter
    from ae.whatif import Answer
    from systems.core.variant import Scalar

FAILED = 1
HEAD = ("rate/s", "system", "mean ms/token", "P95 ms/token", "mean TTFT ms", "within SLO", "offered conc.", "preempted")


def try_out(
    systems: Annotated[
        list[str], typer.Argument(metavar="SYSTEM[/VARIANT]", help="A system alone means its default variant.")
    ],
    model: Annotated[str, typer.Option(help="As in systems/core/cost/models.yaml; a wrong name lists them.")],
    gpu: Annotated[str, typer.Option(help="As in systems/core/cost/gpus.yaml; a wrong name lists them.")],
    rate: Annotated[str, typer.Option(help="Requests/s: 4..20, or 2,4,8, or 5.")],
    tier: Annotated[str, typer.Option("--tier", help="sim is the only one here.")] = "sim",
    workload: Annotated[str, typer.Option(help="sharegpt, alpaca, ... or PROMPT+OUTPUT tokens.")] = "sharegpt",
    tp: Annotated[int, typer.Option(help="GPUs that share each layer.")] = 1,
    pp: Annotated[int, typer.Option(help="Stages that share the layers.")] = 1,
    points: Annotated[int, typer.Option(help="Rates of a range, ends included.")] = 9,
    requests: Annotated[int, typer.Option("--requests", "-n", help="So many at each rate.")] = 400,
    trials: Annotated[int, typer.Option(help="Seeds; from 3 on there are intervals.")] = 3,
    slo: Annotated[
        float, typer.Option(help="Seconds per output token. 0: 10 decode iterations of a full batch.")
    ] = 0.0,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A limit of all, or a setting of the policies that have it."),
    ] = None,
    costs: Annotated[
        str, typer.Option(help="The engine (systems/core/cost/engines.yaml) whose iteration times all get.")
    ] = "cuda-graphs",
    folder: Annotated[str, typer.Option("--out", help="Keep picture, tables and reasons in this folder, too.")] = "",
    json: Json = False,
) -> None:
    """Simulate systems on a model, GPU and load of your own: a table, a picture, and the reasons for what they show."""
    from ae import options, whatif
    from ae.question import Question, rates

    if options.tier(tier) != "sim":
        raise UsageError(
            f"ae try has no tier {tier!r} yet.", "Leave --tier out; to measure a server: ae serve, ae bench."
        )
    question = Question(
        systems=tuple(systems),
        model=model,
        gpu=gpu,
        rates=rates(rate, points),
        tp=tp,
        pp=pp,
        workload=workload,
        requests=requests,
        trials=trials,
        slo=slo or None,
        settings=_settings(option or []),
        costs=costs,
    )
    found = whatif.answer(question, _reporter(json=json))
    kept = whatif.keep(found, Path(folder)) if folder else []
    if json:
        out.emit_json("try", whatif.value(found))
    else:
        _show(found, kept)
    raise typer.Exit(FAILED if found.result.failed else 0)


def _settings(options: list[str]) -> "tuple[tuple[str, Scalar], ...]":
    """Pairs, read as `ae serve` reads them. Raises UsageError."""
    from ae.cli.hands import configured
    from systems.core.config import EngineConfig

    engine = configured(EngineConfig(model="synthetic"), options)
    names = dict.fromkeys(option.partition("=")[0] for option in options)
    return tuple((n, engine.settings[n] if n in engine.settings else getattr(engine, n)) for n in names)


def _reporter(*, json: bool) -> "Reporter":
    """A bar on a terminal, else nothing: the answer is what was asked for."""
    from ae.cli.progress import Bar, reporter
    from ae.report import Silent

    class Quiet(Bar):
        def say(self, text: str) -> None:
            """Drop the lines."""

    return Quiet() if not json and isinstance(reporter(), Bar) else Silent()


def _show(found: "Answer", kept: "Sequence[Path]") -> None:
    question = found.question
    out.emit(f"{found.title}; {question.requests} requests a point, trials: {question.trials}")
    out.emit()
    out.table(HEAD, _rows(found.cells))
    for failed in found.result.failed:
        out.emit(f"FAILED {failed}")
    out.emit()
    for word in found.words:
        out.emit(f"- {word}")
    out.emit()
    out.emit("Times and memory rest on:")
    for line in found.constants:
        out.emit(f"  {line}")
    out.emit(f"picture: {kept[0] if kept else found.picture}")


def _rows(cells: "Sequence[Cell]") -> "Iterator[tuple[str, ...]]":
    """A line per rate and system; the rate stands in the first line of its own."""
    before = None
    for cell in cells:
        x = cell.numbers
        yield (
            "" if cell.rate == before else f"{cell.rate:g}",
            cell.series,
            f"{x.normalized * 1e3:.1f}",
            f"{x.p95 * 1e3:.1f}",
            f"{x.ttft * 1e3:.0f}",
            f"{x.attainment:.1%}",
            f"{x.offered:.1f}",
            f"{x.preemptions:.2f}",
        )
        before = cell.rate
