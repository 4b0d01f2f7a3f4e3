"""The commands that watch venues, or the simulator: live, demo, record, watch, instruments (DESIGN 5).

Each imports what it needs when it runs. Not here: any work; a live run is `tui/live.py`, how it is driven `tui/headless.py`.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from feeds.errors import ArbtopError
from feeds.text import clean_text
from tui.commandline import LINE, Failure, Mistake, columns, error_line, json_option, path_type, show, state_option

if TYPE_CHECKING:
    from tui.config import Config
    from tui.demo import Demo
    from tui.headless import LiveOptions

LOOK: Final = ("theme", "glyphs", "fps", "calm")
SEEDS: Final = click.IntRange(0, (1 << 31) - 1)

F = TypeVar("F", bound=Callable[..., Any])


def look_options(command: F) -> F:
    """How the screens look."""
    for option in (
        click.option("--calm", is_flag=True, help="Two frames per second, and nothing flashes."),
        click.option("--fps", type=click.IntRange(1, 30), help="Frames per second."),
        click.option("--glyphs", type=click.Choice(["auto", "braille", "block", "ascii"]), help="Signs to draw with."),
        click.option("--theme", metavar="NAME", help="midnight, okabe, ansi, one of your own, or a .toml file."),
    ):
        command = option(command)
    return command


def run_options(command: F) -> F:
    """What a live run is told."""
    for option in (
        click.option("--record", type=path_type, metavar="DIR", help="Record into this new directory from the start."),
        click.option("--rules", type=path_type, metavar="FILE", help="Alert rules."),
        state_option,
    ):
        command = option(command)
    return command


def demo_options(command: F) -> F:
    """The simulator in place of the venues."""
    for option in (
        click.option("--faults", is_flag=True, help="The simulator misbehaves now and then, as venues do."),
        click.option("--seed", type=SEEDS, default=1, show_default=True, help="Of the simulated market."),
        click.option("--demo", "demo", is_flag=True, help="The simulator in place of the venues."),
    ):
        command = option(command)
    return command


def need_terminal(instead: str) -> None:
    """Refuse in one line to draw where nothing can be drawn."""
    for stream, name, mend in (
        (sys.__stdin__, "stdin", "arbtop reads keys from it; do not pipe into it"),
        (sys.__stderr__, "stderr", "the screens are drawn there; do not redirect it"),
    ):
        if stream is None or not stream.isatty():
            raise Mistake(f"{name} is no terminal: {mend}, or {instead}")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise Mistake(f"TERM is dumb: this terminal cannot draw screens; set TERM, or {instead}")


def open_live(
    config: "Config", demo: "Demo | None", state: Path | None, rules: Path | None, record: Path | None, look: Mapping[str, Any]
) -> None:
    """The screens on live data."""
    need_terminal("try arbtop watch")
    from msgspec import structs

    from tui.run import run_live

    options = live_options(config, demo, state, rules, record)
    ui = structs.replace(config.ui, **{name: value for name, value in look.items() if value})
    code = run_live(options, ui)
    if code:
        raise click.exceptions.Exit(code)


def live_options(
    config: "Config", demo: "Demo | None", state: Path | None, rules: Path | None, record: Path | None
) -> "LiveOptions":
    """A run as the arguments say."""
    from tui.headless import LiveOptions
    from tui.rules import rules_of

    return LiveOptions(
        config=config,
        demo=demo,
        rules=rules_of(config.alerts, rules),
        state=state,
        record=record,
    )


def asked_demo(demo: bool, seed: int, faults: bool) -> "Demo | None":
    """What `--demo`, `--seed` and `--faults` say together."""
    from tui.demo import Demo

    if not demo and faults:
        raise Mistake("--faults goes with --demo: real venues do not fail on demand")
    return Demo(seed=seed, faults=faults) if demo else None


@click.command()
@click.option("--seed", type=SEEDS, default=1, show_default=True, help="Of the simulated market.")
@click.option("--faults", is_flag=True, help="The venues misbehave now and then, as they do.")
@run_options
@look_options
@click.pass_obj
def demo(
    config_file: Path | None,
    /,
    seed: int,
    faults: bool,
    state: Path | None,
    rules: Path | None,
    record: Path | None,
    **look: Any,
) -> None:
    """Open the screens on a simulated market: two venues on this machine, no network and no key.

    What it shows is made up, but it comes over real websockets through the same code as live data. It keeps no alert log unless
    --state says where.
    """
    from tui.config import load_config
    from tui.demo import Demo

    open_live(load_config(config_file), Demo(seed=seed, faults=faults), state, rules, record, look)


@click.command()
@click.option("--output", "-o", type=path_type, metavar="DIR", help="The new recording; by default among the recordings.")
@click.option("--seconds", type=click.FloatRange(0.1, 1e7), metavar="S", help="Stop after so long; otherwise at Ctrl-C.")
@click.option("--export", "export_file", type=path_type, metavar="FILE", help="Write the run's alerts as .csv or .jsonl.")
@click.option("--rules", type=path_type, metavar="FILE", help="Alert rules.")
@click.option("--state", type=path_type, metavar="DIR", help="Log alerts there. Without it a recording logs none.")
@demo_options
@json_option
@click.pass_obj
def record(
    config_file: Path | None,
    /,
    output: Path | None,
    seconds: float | None,
    export_file: Path | None,
    rules: Path | None,
    state: Path | None,
    demo: bool,
    seed: int,
    faults: bool,
    as_json: bool,
) -> None:
    """Record live data into a directory that `arbtop replay` plays, until Ctrl-C."""
    import asyncio

    from tui.config import load_config
    from tui.export import export, format_of
    from tui.headless import live_run, progress_text, recording_place, until_ended

    config = load_config(config_file)
    directory = output or recording_place(config, demo)
    if export_file is not None:
        export_file = config.paths.export_path(export_file)
        format_of(export_file)
    options = live_options(config, asked_demo(demo, seed, faults), state, rules, directory)
    if state is None:
        from msgspec import structs

        options = structs.replace(options, logged=False)
    terminal = sys.stderr.isatty()
    with live_run(options) as run:
        if export_file is not None:
            run.episodes.keep = None  # an export is of all of them

        def tell() -> None:
            if terminal:
                click.echo(f"\r{progress_text(run):<100.100}", nl=False, err=True)

        click.echo(error_line(f"recording into {directory}; Ctrl-C ends it"), err=True)
        said = asyncio.run(until_ended(run, seconds, tell))
        if terminal:
            click.echo(err=True)
        if export_file is not None:
            export([run.alerts[seq] for seq in sorted(run.alerts)], export_file)
        done = {
            "directory": directory,
            "bytes": said.bytes,
            "frames": run.live.hub.frames,
            "alerts": len(run.alerts),
            "faults": run.live.faults,
        }
    show(
        done,
        lambda: (
            f"{clean_text(str(directory), LINE)}: {done['frames']:,} frames, {said.bytes / 1e6:,.1f} MB, {done['alerts']} alerts"
        ),
        as_json,
    )
    if said.failure:
        raise Failure(said.failure)


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1, 1e7), metavar="S", help="Stop after so long; otherwise at Ctrl-C.")
@click.option(
    "--show",
    "shown",
    type=click.Choice(["alerts", "figures", "links", "all"]),
    default="all",
    show_default=True,
    help="Alerts as they happen; the figures of markets, pairs and routes; connections.",
)
@click.option("--every", type=click.IntRange(1, 3600), default=1, show_default=True, metavar="S", help="Seconds between figures.")
@run_options
@demo_options
@click.pass_obj
def watch(
    config_file: Path | None,
    /,
    seconds: float | None,
    shown: str,
    every: int,
    state: Path | None,
    rules: Path | None,
    record: Path | None,
    demo: bool,
    seed: int,
    faults: bool,
) -> None:
    """Print alerts and figures of live data, one JSON object a line, until Ctrl-C."""
    import asyncio
    from itertools import count

    from tui.config import load_config
    from tui.headless import alert_line, figure_lines, link_lines, live_run, until_ended

    options = live_options(load_config(config_file), asked_demo(demo, seed, faults), state, rules, record)
    out = sys.stdout.buffer
    with live_run(options) as run:
        if shown in ("alerts", "all"):
            run.heard = lambda event: out.write(alert_line(event))
        second = count(1)

        def tell() -> None:
            if not next(second) % every:
                if shown in ("figures", "all"):
                    out.writelines(figure_lines(run))
                if shown in ("links", "all"):
                    out.writelines(link_lines(run.feeds()))
            out.flush()

        asyncio.run(until_ended(run, seconds, tell))
        out.flush()


@click.command()
@click.option("--all", "every", is_flag=True, help="All that the venues list, not only what is watched.")
@demo_options
@json_option
@click.pass_obj
def instruments(config_file: Path | None, /, every: bool, demo: bool, seed: int, faults: bool, as_json: bool) -> None:
    """List the venues' instruments with their units, ticks and fees, and which of them a live run watches."""
    import asyncio

    from tui.config import load_config
    from tui.listing import list_instruments

    config = load_config(config_file)
    found, trouble = asyncio.run(list_instruments(config, asked_demo(demo, seed, faults), every))

    def text() -> str:
        heads = ("instrument", "native", "market", "kind", "contract", "tick", "lot", "unit of size", "funding", "expiry")
        return "\n".join(columns(heads, [row.cells() for row in found])) if found else "no instruments"

    show({"instruments": found, "trouble": trouble}, text, as_json)
    for line in trouble:
        click.echo(error_line(line), err=True)
    if trouble and not found:
        raise ArbtopError("no venue could be reached; arbtop doctor says why")


@click.command()
@demo_options
@json_option
@click.pass_obj
def doctor(config_file: Path | None, /, demo: bool, seed: int, faults: bool, as_json: bool) -> None:
    """Check terminal, limits, places, clock, and each venue's REST and websocket; say what to do about each failure."""
    import asyncio

    from tui.config import load_config
    from tui.doctor import examine, lines

    found = asyncio.run(examine(load_config(config_file), asked_demo(demo, seed, faults)))
    show({"checks": found}, lambda: "\n".join(lines(found)), as_json)
    if any(one.state == "fail" for one in found):
        raise click.exceptions.Exit(1)


COMMANDS: Final = (demo, record, watch, instruments, doctor)
