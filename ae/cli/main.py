"""The command `ae`: its commands, its options for all of them, its exit codes.

Commands import what they need when they run, so that `ae --help` answers at once.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ae.cli import asking, drawing, hands, listing, out, running, upkeep, validation
from systems.core.errors import AeError

INTERRUPTED = 130
HELP = """Measure, draw and check the figures of five LLM-serving papers, one command per figure.

FIGURE is figure14 (of every system), fastserve/figure14, fastserve (all its figures) or all.

Exit codes: 0 done, 1 internal, 2 usage, 3 claim not met (check), 4 prerequisite missing,
5 measurement invalid or points left, 6 node unreachable, 130 interrupted and cleaned up.
"""

app = typer.Typer(
    name="ae",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., Any]] = {
    "list": listing.list_figures,
    "doctor": upkeep.doctor,
    "plan": listing.plan,
    "run": running.run,
    "try": asking.try_out,
    "plot": drawing.plot,
    "check": drawing.check,
    "replay": hands.replay,
    "serve": hands.serve,
    "bench": hands.bench,
    "validate": validation.validate,
    "clean": upkeep.clean,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            out.emit(f"ae {metadata.version('ae')}")
        except metadata.PackageNotFoundError:
            out.emit("ae, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def _options(
    figures: Annotated[str, typer.Option(help="Folder of figure files, instead of the repository's.")] = "",
    results: Annotated[str, typer.Option(help="Folder of results, instead of the repository's.")] = "",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    del debug, version  # `execute` takes the one out, so that it may stand anywhere; the other never gets here
    # Children and lazily imported modules read the environment; it is the one place for both.
    for variable, folder in (("AE_FIGURES", figures), ("AE_RESULTS", results)):
        if folder:
            os.environ[variable] = str(Path(folder).resolve())


def main() -> None:
    """Run from the command line and exit."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code. Nothing but `--debug` lets a traceback through."""
    debug = "--debug" in arguments
    try:
        result = app(args=[a for a in arguments if a != "--debug"], prog_name="ae", standalone_mode=False)
    except AeError as error:
        if debug:
            traceback.print_exc()
        out.complain(error)
        return error.exit_code
    except out.ReaderGone:
        return 0
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the last resort of a command line)
        return _unexpected(error, debug=debug)
    code = result if isinstance(result, int) else 0
    if code == INTERRUPTED:
        sys.stderr.write("interrupted: everything started has been stopped, finished points are kept\n")
    return code


def _unexpected(error: Exception, *, debug: bool) -> int:
    # typer keeps its own copy of click; its errors are told by their two attributes, not by their type.
    message = getattr(error, "format_message", None)
    if message is not None:
        if not message():  # bare `ae`: the help has been printed, and says it all
            return int(getattr(error, "exit_code", 2))
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "ae"
        sys.stderr.write(f"error: {message()}\n  fix: {command} --help\n")
        return int(getattr(error, "exit_code", 2))
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"error: internal: {type(error).__name__}: {error}\n  fix: run it again with --debug\n")
    return 1
