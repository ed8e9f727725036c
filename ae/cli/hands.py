"""`ae serve`, `ae bench` and `ae replay`: the parts, by hand."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ae.cli import out
from ae.cli.listing import Json
from systems.core.errors import UsageError

if TYPE_CHECKING:
    from ae.load.arrivals import Kind
    from systems.core.config import EngineConfig
    from systems.core.variant import Scalar

INVALID = 5
KINDS: "dict[str, Kind]" = {"poisson": "poisson", "gamma": "gamma", "constant": "constant"}


def serve(
    system: Annotated[str, typer.Argument(metavar="SYSTEM[/VARIANT]")],
    model: Annotated[str, typer.Option(help="Checkpoint directory, a tiny checkpoint's name, or synthetic.")] = "t-opt",
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8000,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Engine or policy setting, repeatable.")
    ] = None,
) -> None:
    """Serve one engine in the foreground, OpenAI-compatible, until Ctrl-C."""
    from ae import places, prepare
    from ae.cli.progress import Lines
    from ae.store import write_atomic
    from systems.core.config import EngineConfig

    engine = configured(EngineConfig(model=model, variant=system, port=port), option or [])
    _check_names(engine)
    engine = prepare.prepared(engine, places.cache() / "serve", Lines().say)
    # The server becomes this process: its signals, its terminal and its exit code are the user's own.
    file = write_atomic(places.cache() / "serve" / "run" / f"engine-{os.getpid()}.json", engine.to_json())
    os.environ["PYTHONPATH"] = str(places.REPOSITORY)
    os.execv(sys.executable, [sys.executable, "-m", "systems.core.serve", "--config", str(file)])  # noqa: S606


def replay(
    point: Annotated[str, typer.Argument(metavar="POINT", help="An event log, a point's folder, or part of its name.")],
    explain: Annotated[bool, typer.Option("--explain", help="One plain line per decision.")] = False,
    timeline: Annotated[str, typer.Option(metavar="FILE.json", help="Write what ran when, for ui.perfetto.dev.")] = "",
) -> None:
    """Re-drive recorded events through the policy and compare every decision. Exit code 1 when one differs.

    A simulated point, which keeps no events, is simulated again.
    """
    from ae.catalog import find_log
    from ae.sim.again import event_log
    from ae.timeline import write
    from systems.core.replay import replay as decisions

    found, total, different = find_log(point), 0, 0
    with event_log(found) as log:
        for decision in decisions(log):
            total += 1
            different += not decision.equal
            if explain and decision.words:
                mark = "" if decision.equal else "   <-- DIFFERS from what was recorded"
                out.emit(f"{decision.at / 1e6:12.3f} ms  {decision.words}{mark}")
        if timeline:
            out.emit(f"{timeline}: {write(log, Path(timeline))} events; open it in https://ui.perfetto.dev")
    out.emit(f"{found}: {total} decisions, {different or 'none'} different")
    raise typer.Exit(1 if different else 0)


def bench(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of any OpenAI-compatible server.")],
    rate: Annotated[float, typer.Option(help="Open loop: requests/s.")] = 0.0,
    concurrency: Annotated[int, typer.Option(help="Closed loop: so many clients.")] = 0,
    requests: Annotated[int, typer.Option("--requests", "-n", help="So many requests.")] = 0,
    seconds: Annotated[float, typer.Option(help="Open loop: so long (default 10, without --requests).")] = 0.0,
    workload: Annotated[str, typer.Option(help="sharegpt, alpaca, ... or fixed.")] = "sharegpt",
    scale: Annotated[float, typer.Option(help="Divide both lengths.")] = 1.0,
    prompt: Annotated[int, typer.Option(help="fixed: prompt tokens.")] = 128,
    output: Annotated[int, typer.Option(help="fixed: output tokens.")] = 64,
    arrivals: Annotated[str, typer.Option(help="poisson, gamma or constant.")] = "poisson",
    cv: Annotated[float, typer.Option(help="gamma: standard deviation / mean of the gaps.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    vocab: Annotated[int, typer.Option(help="Prompt ids are below this.")] = 500,
    max_model_len: Annotated[int, typer.Option(help="No request is longer.")] = 2048,
    model: Annotated[str, typer.Option(help="Default: the server's first.")] = "",
    folder: Annotated[str, typer.Option("--out", help="Keep schedule, records and summary in this folder.")] = "",
    json: Json = False,
) -> None:
    """Measure a server by hand. Exit code 5 when the measurement cannot be believed."""
    from ae.load.bench import Ask
    from ae.load.bench import bench as measure

    if arrivals not in KINDS:
        raise UsageError(f"There are no {arrivals!r} arrivals.", f"Arrivals: {', '.join(KINDS)}.")
    ask = Ask(
        url=url,
        rate=rate,
        concurrency=concurrency,
        requests=requests or None,
        seconds=seconds or (10.0 if rate and not requests else None),
        workload=workload,
        prompt=prompt,
        output=output,
        scale=scale,
        arrivals=KINDS[arrivals],
        cv=cv,
        seed=seed,
        vocab=vocab,
        max_model_len=max_model_len,
        model=model,
    )
    found = measure(ask, Path(folder) if folder else None)
    out.emit(found.line if json else str(found))
    raise typer.Exit(0 if found.verdict.valid else INVALID)


def _check_names(engine: "EngineConfig") -> None:
    """Raise UsageError for a variant, setting, limit or model there is not: before minutes go into preparing it."""
    from ae import prepare
    from systems.core import variant
    from systems.core.policy import Limits
    from systems.core.torch.recipes import RECIPES

    variant.check(variant.find(engine.variant), Limits(engine.max_batch, engine.max_tokens), engine.settings)
    if engine.model == prepare.SYNTHETIC or engine.model in RECIPES:
        return
    if os.sep not in engine.model:
        names = ", ".join([*RECIPES, prepare.SYNTHETIC])
        raise UsageError(f"There is no model called {engine.model!r}.", f"Models: {names}; or give a directory.")
    if not prepare.present(path := prepare.checkpoint_path(engine.model)):
        raise UsageError(f"{path} is no checkpoint directory: it has no config.json.", "Give a Hugging Face directory.")


def configured(engine: "EngineConfig", options: list[str]) -> "EngineConfig":
    """Fields of the engine by their own name; anything else is a setting of the policy, checked by it."""
    from typing import get_type_hints

    from systems.core.variant import read

    kinds = get_type_hints(type(engine))
    del kinds["settings"]  # not a value; what is in it is given one by one
    for option in options:
        name, separator, text = option.partition("=")
        if not separator:
            raise UsageError(f"{option!r} is no setting.", "Write --set key=value.")
        if name in kinds:
            value = text if kinds[name] is str else read(name, _guess(text), kinds[name])
            engine = engine.but(**{name: value})
        else:
            engine = engine.but(settings={**engine.settings, name: _guess(text)})
    return engine


def _guess(text: str) -> "Scalar":
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
