"""The command line: arguments in, one report or one line of error out (DESIGN 5).

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 130 stopped by Ctrl-C. What a command prints goes to stdout, everything
else to stderr. Each command imports what it needs when it runs, so that `arbtop --version` is quick and nothing here pulls in the
terminal. Not here: any work; configuration is `tui/config.py`, a replay `tui/session.py`, an import `feeds/importers`.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from feeds.errors import ArbtopError, InputError
from feeds.text import clean_text
from tui.cli_live import COMMANDS, look_options, need_terminal, open_live, run_options
from tui.commandline import (
    DASH,
    INTERRUPTED,
    LINE,
    Commands,
    Failure,
    Mistake,
    Place,
    columns,
    error_line,
    figure,
    json_option,
    path_type,
    progress,
    show,
    state_option,
)

if TYPE_CHECKING:
    from analytics.alert import Alert
    from feeds.importers import ImportReport
    from feeds.machine.address import Address
    from tui.config import Config
    from tui.session import ReplayOptions

FASTEST: Final = 1_000_000
MARKETS: Final = ("spot", "usdm", "coinm", "linear", "inverse", "public")


def _speed(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Times real time; `max` is infinite."""
    if value == "max":
        return inf
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= FASTEST:
        what = f"{clean_text(value)!r} is no speed: write a number above 0, or max (up to {FASTEST:,})"
        raise click.BadParameter(what, ctx, param)
    return speed


def main() -> None:
    """The program `arbtop`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        cli(prog_name="arbtop")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="arbtop", prog_name="arbtop", message="%(prog)s %(version)s")
@click.option("--config", "config_file", type=path_type, metavar="FILE", help="Read FILE as the configuration.")
@run_options
@look_options
@click.pass_context
def cli(
    ctx: click.Context, /, config_file: Path | None, state: Path | None, rules: Path | None, record: Path | None, **look: Any
) -> None:
    """Live order books, spreads and arbitrage of crypto venues, net of every fee.

    Without a command: the screens on live data.
    """
    ctx.obj = config_file
    given = {"state": state, "rules": rules, "record": record, **look}
    if ctx.invoked_subcommand is not None:
        misplaced = next((name for name, value in given.items() if value), None)
        if misplaced is not None:
            raise Mistake(f"--{misplaced} before {ctx.invoked_subcommand} does nothing: write it behind")
        return
    from tui.config import load_config

    open_live(load_config(config_file), None, state, rules, record, look)


for live_command in COMMANDS:
    cli.add_command(live_command)


@cli.command()
@click.argument("path", type=Place())
@click.option("--headless", is_flag=True, help="Without screens: run, then print a report.")
@click.option(
    "--speed", metavar="N|max", default="1", show_default=True, callback=_speed, help="Times real time, or as quickly as it goes."
)
@click.option("--at", metavar="TIME", help="Begin at a UTC time (2024-08-08T23:58:00Z), or +SECONDS after the start.")
@click.option("--rules", type=path_type, metavar="FILE", help="Alert rules.")
@click.option("--export", "export_file", type=path_type, metavar="FILE", help="Write the alerts as .csv or .jsonl.")
@click.option("--state", type=path_type, metavar="DIR", help="Log alerts there. Without it a replay keeps nothing.")
@look_options
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    path: "Path | Address",
    headless: bool,
    speed: float,
    at: str | None,
    rules: Path | None,
    export_file: Path | None,
    state: Path | None,
    as_json: bool,
    **look: Any,
) -> None:
    """Play a recording through the same code as live data, on the screens or, with --headless, into a report.

    PATH is a recording: a directory or one file of it. A name that is not here is looked for among the imported recordings.
    Lines of Tardis are played too: those in a file, or what a tardis-machine has, which is written
    tardis://HOST:PORT/?EXCHANGE=SYMBOL,SYMBOL&from=TIME&to=TIME.
    """
    from tui.captures import as_recording
    from tui.config import load_config
    from tui.rules import rules_of
    from tui.session import ReplayOptions, replay_headless

    config = load_config(ctx.obj)
    place = _recording(config, path) if isinstance(path, Path) else path
    chosen = rules_of(config.alerts, rules)
    target = _export_target(config, export_file) if export_file is not None else None
    if not headless:
        _refuse_to_draw(as_json, export_file)
    options = ReplayOptions(
        path=ctx.with_resource(as_recording(place, config)),
        speed=speed,
        at=at,
        rules=chosen,
        export=target,
        state=state,
        settings=config.analytics,
    )
    if not headless:
        _draw(config, options, look)
        return
    with progress("replay") as tell:
        report = replay_headless(options, tell)
    show(report, report.text, as_json)
    if report.alerts_lost:
        raise Failure(f"{state}: {report.alerts_lost} alert records could not be written; free some space and run it again")


def _refuse_to_draw(as_json: bool, export_file: Path | None) -> None:
    """Say in one line why the screens cannot be opened, before anything is done for them."""
    if as_json:
        raise Mistake("--json goes with --headless: the screens print no document")
    if export_file is not None:
        raise Mistake("--export goes with --headless; on the screens press e")
    need_terminal("add --headless for a report")


def _draw(config: "Config", options: "ReplayOptions", asked: Mapping[str, Any]) -> None:
    """Open the screens on a recording."""
    from msgspec import structs

    ui = structs.replace(config.ui, **{name: value for name, value in asked.items() if value})
    from tui.run import run_replay

    code = run_replay(options, ui, config.paths.exports_dir())
    if code:
        raise click.exceptions.Exit(code)


@cli.command("import")
@click.argument("paths", type=Place(), nargs=-1, required=True, metavar="PATH...")
@click.option("--output", "-o", type=path_type, metavar="DIR", help="The new recording; by default among the imported ones.")
@click.option("--market", type=click.Choice(MARKETS), help="The files' market, where they do not say.")
@click.option("--instruments", type=path_type, metavar="FILE", help="Instruments that the files do not describe.")
@json_option
@click.pass_obj
def import_(
    config_file: Path | None,
    paths: "tuple[Path | Address, ...]",
    output: Path | None,
    market: str | None,
    instruments: Path | None,
    as_json: bool,
) -> None:
    """Make a recording of other recorders' captures.

    PATH is a file or a directory of files: hftbacktest's collector, cryptofeed's captures, lines of Tardis; or what a
    tardis-machine has, which is written tardis://HOST:PORT/?EXCHANGE=SYMBOL,SYMBOL&from=TIME&to=TIME. Several are merged by time.
    """
    from tui.captures import imported
    from tui.config import load_config

    config = load_config(config_file)
    first = paths[0].resolve() if isinstance(paths[0], Path) else paths[0]
    directory = output or config.paths.recordings_dir() / first.name.partition(".")[0]
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        what = "not empty" if directory.is_dir() else "not a directory"
        raise InputError(f"{directory}: {what}; name a new directory with --output")
    with progress("import") as tell:
        try:
            report = imported(paths, directory, config, tell, market=market, instruments=instruments)
        except KeyboardInterrupt:
            click.echo(error_line(f"stopped; {directory}, if it is there, is not whole: remove it"), err=True)
            raise
    show(report, lambda: _import_text(report), as_json)


def _import_text(report: "ImportReport") -> str:
    from tui.export import utc_text

    rows = [(c.conn, c.venue, c.market, f"{c.frames:,}", " ".join(c.files)) for c in report.connections]
    assumed = sum(instrument.assumed for instrument in report.instruments)
    return "\n".join(
        [
            f"{clean_text(str(report.directory), LINE)}  {utc_text(report.start_ns)} to {utc_text(report.end_ns)}",
            f"{report.frames:,} frames, {report.answers} REST answers, {report.bytes / 1e6:,.1f} MB of text",
            f"{len(report.instruments)} instruments" + (f", {assumed} of them assumed" if assumed else ""),
            *columns(("connection", "venue", "market", "frames", "files"), rows),
            *(f"note: {note}" for note in report.notes),
            *(f"left out: {damage}" for damage in report.damage),
        ]
    )


@cli.group()
def alerts() -> None:
    """The alert log: one row an episode."""


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which alerts of which log."""
    for option in (
        click.option("--open", "only_open", is_flag=True, help="Only those that fire still."),
        click.option("--rule", metavar="ID", help="Only those of one rule."),
        state_option,
    ):
        command = option(command)
    return command


@alerts.command("list")
@_selection
@json_option
@click.pass_obj
def list_(config_file: Path | None, state: Path | None, rule: str | None, only_open: bool, as_json: bool) -> None:
    """Show the alerts of the log."""
    from tui.config import load_config
    from tui.export import row_of

    chosen = _chosen(load_config(config_file), state, rule, only_open)
    rows = [row_of(alert) for alert in chosen]

    def text() -> str:
        heads = ("seq", "opened", "lasted", "rule", "severity", "state", "value", "peak", "unit", "scope")
        cells = [
            (
                str(row.seq),
                row.opened_utc or DASH,
                figure(row.duration_ms and row.duration_ms / 1e3, ".1f") + (" s" if row.duration_ms else ""),
                row.rule,
                row.severity,
                row.state,
                figure(row.value, "+.2f"),
                figure(row.peak, "+.2f"),
                row.unit,
                row.scope,
            )
            for row in rows
        ]
        return "\n".join(columns(heads, cells)) if cells else "no alerts"

    show({"alerts": rows}, text, as_json)


@alerts.command("export")
@click.argument("file", type=path_type)
@_selection
@json_option
@click.pass_obj
def export_(config_file: Path | None, file: Path, state: Path | None, rule: str | None, only_open: bool, as_json: bool) -> None:
    """Write the alerts of the log to FILE: .csv or .jsonl."""
    from tui.config import load_config
    from tui.export import export

    config = load_config(config_file)
    target = _export_target(config, file)
    count = export(_chosen(config, state, rule, only_open), target)
    show({"file": target, "alerts": count}, lambda: f"{clean_text(str(target), LINE)}: {count} alerts", as_json)


def _chosen(config: "Config", state: Path | None, rule: str | None, only_open: bool) -> "list[Alert]":
    """The alerts asked for, in the order in which they began; damage in the log is said on stderr."""
    from analytics.alert import AlertState
    from tui.alert_log import read

    if state is not None and not state.is_dir():
        raise InputError(f"{state}: there is no such directory; name the state directory of a run")
    directory = (state or config.paths.state_dir()) / "alerts"
    found, log = read(directory)
    if log.text():
        click.echo(error_line(f"{directory}: {log.text()}"), err=True)
    if rule is not None:
        found = [alert for alert in found if alert.rule == rule]
    return [alert for alert in found if alert.state is AlertState.FIRING] if only_open else found


@cli.group()
def config() -> None:
    """The configuration file."""


@config.command("path")
@json_option
@click.pass_obj
def path_(config_file: Path | None, as_json: bool) -> None:
    """Print where the configuration file is looked for."""
    file = _config_path(config_file)
    show({"file": file}, lambda: clean_text(str(file), LINE), as_json)


@config.command()
@json_option
@click.pass_obj
def init(config_file: Path | None, as_json: bool) -> None:
    """Write a configuration file with every key, its default and its unit. Never replaces one."""
    from tui.config import write_default_file

    file = _config_path(config_file)
    write_default_file(file)
    show({"file": file}, lambda: f"{clean_text(str(file), LINE)}: written", as_json)


@config.command()
@click.option("--rules", type=path_type, multiple=True, metavar="FILE", help="Check a rule file too; may be repeated.")
@json_option
@click.pass_context
def check(ctx: click.Context, rules: tuple[Path, ...], as_json: bool) -> None:
    """Say of each file whether it is sound, and what is wrong with it."""
    from tui.config import load_config
    from tui.rules import load_rules

    file = _config_path(ctx.obj)
    checks: list[tuple[Path, Callable[[], object]]] = [(file, partial(load_config, ctx.obj))]
    checks += [(rule_file, partial(load_rules, rule_file)) for rule_file in rules]
    said = []
    for checked, load in checks:
        try:
            load()
        except ArbtopError as error:
            said.append({"file": checked, "ok": False, "text": clean_text(str(error), LINE)})
        else:
            absent = "" if checked.exists() else " (not there, so the defaults apply)"
            said.append({"file": checked, "ok": True, "text": f"{clean_text(str(checked), LINE)}: ok{absent}"})
    show({"files": said}, lambda: "\n".join(str(one["text"]) for one in said), as_json)
    ctx.exit(0 if all(one["ok"] for one in said) else 2)


def _config_path(config_file: Path | None) -> Path:
    from tui.settings import default_config_path

    return config_file or default_config_path()


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete arbtop's arguments.

    \b
    bash   eval "$(arbtop completion bash)"   in ~/.bashrc
    zsh    eval "$(arbtop completion zsh)"    in ~/.zshrc
    fish   arbtop completion fish | source    in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:
        raise InputError(f"click knows no completion for {shell}")
    click.echo(script(cli, {}, "arbtop", "_ARBTOP_COMPLETE").source())


def _recording(config: "Config", path: Path) -> Path:
    """A recording given by path, or by name among the imported ones."""
    if path.exists():
        return path
    imported = config.paths.recordings_dir()
    if (imported / path).exists():
        return imported / path
    raise InputError(f"{path}: there is no such recording, neither here nor in {imported}")


def _export_target(config: "Config", path: Path) -> Path:
    """Where an export goes; refused before any work is done for it."""
    from tui.export import format_of

    target = config.paths.export_path(path)
    format_of(target)
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no directory {target.parent}; make it first")
    return target
