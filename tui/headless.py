"""Live runs without screens: what `watch` prints, what `record` records, and how a signal ends both.

Not here: arguments (`tui/cli.py`), drawing.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from analytics.alert import AlertEvent
from analytics.alerts import DEFAULT_RULES, Rule
from analytics.snapshot import View
from feeds.links import FeedsView, Recording
from feeds.model import LinkState
from feeds.venues import markets_of
from feeds.wire import Library
from tui.config import Config
from tui.demo import Demo, run_venues
from tui.export import utc_text
from tui.journal import Journal
from tui.live import LiveRun
from tui.memory import return_large_blocks

ROUTES_SHOWN: Final = 10
TELL_S: Final = 1.0


class LiveOptions(Struct, frozen=True, kw_only=True):
    """One live run.

    `demo` takes the simulator in place of the venues. Where `state` does not say, alerts are logged in the configuration's state
    directory, those of a demo nowhere.
    """

    config: Config
    demo: Demo | None = None
    rules: tuple[Rule, ...] = DEFAULT_RULES
    state: Path | None = None
    record: Path | None = None
    logged: bool = True
    """False: without `state`, no alerts are logged at all."""
    library: Library | None = None


@contextmanager
def live_run(options: LiveOptions) -> Iterator[LiveRun]:
    """A run that is ready to begin; its log and its simulator end with the block.

    Raises:
        ArbtopError: an address that is not allowed, a place that cannot be recorded into, a simulator that does not start.
    """
    config = options.config
    return_large_blocks()
    with ExitStack() as stack:
        state = options.state
        if state is None and options.logged and options.demo is None:
            state = config.paths.state_dir()
        journal = stack.enter_context(Journal(state / "alerts")) if state is not None else None
        venues = stack.enter_context(run_venues(config.venues, options.demo))
        run = LiveRun(
            config.analytics,
            venues,
            {name: markets_of(venue) for name, venue in venues.items()},
            config.watch,
            rules=options.rules,
            journal=journal,
            demo=options.demo is not None,
            chosen_library=options.library,
            proxy=config.venues.proxy or None,
            ca_file=config.venues.ca_path(),
        )
        if options.record is not None:
            run.record(options.record)
        yield run


def recording_place(config: Config, demo: bool) -> Path:
    """A new directory's name among the user's recordings, by the wall clock in UTC."""
    now = datetime.now(UTC)
    return config.paths.recordings_dir() / f"{'demo' if demo else 'live'}-{now:%Y%m%d-%H%M%S}"


async def until_ended(run: LiveRun, seconds: float | None, each_second: Callable[[], None]) -> Recording:
    """Drive a run until a signal, or for so many seconds; `each_second` is called while it lasts.

    Returns:
        What was recorded.
    """
    loop = asyncio.get_running_loop()
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in ends:
        loop.add_signal_handler(one, run.stop)
    if seconds is not None:
        loop.call_later(seconds, run.stop)
    telling = asyncio.create_task(_tell(each_second))
    telling.add_done_callback(lambda task: run.stop() if not task.cancelled() else None)
    try:
        await run.run()
    finally:
        for one in ends:
            loop.remove_signal_handler(one)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
    return run.live.recorded


async def _tell(each_second: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        each_second()


# What `watch` prints.


def alert_line(event: AlertEvent) -> bytes:
    """An alert event as one JSON object."""
    return _line("alert", {"event": event.kind, "at": utc_text(event.at_ns), **structs.asdict(event.alert)})


def figure_lines(run: LiveRun) -> Iterator[bytes]:
    """What stablecoins are worth, every market, and the routes closest to money: one JSON object a line; null is not known."""
    engine = run.engine
    near = engine.nearest_routes(ROUTES_SHOWN)
    snapshot = engine.snapshot(View(routes=near or None, pairs=()))
    at = utc_text(snapshot.now_ns)
    for rate in snapshot.fx if at is not None else ():  # before the first boundary there is nothing to say of it
        yield _line("fx", {"at": at, **structs.asdict(rate)})
    for market in snapshot.markets:
        known = structs.asdict(market)
        for left_out in ("facts", "mark_index_history", "premium_history", "histories"):
            known.pop(left_out, None)
        yield _line("market", {"at": at, **known})
    for pair in snapshot.pairs:
        known = structs.asdict(pair)
        known.pop("history", None)
        yield _line("pair", {"at": at, **known})
    for route in snapshot.routes:
        known = structs.asdict(route)
        known.pop("detail", None)
        known.pop("episode", None)
        yield _line("route", {"at": at, **known})


def link_lines(view: FeedsView) -> Iterator[bytes]:
    """Every connection as it stands."""
    for link in view.links:
        known = structs.asdict(link)
        known.pop("raw")
        yield _line("link", {"at": utc_text(view.now_ns), **known})


def _line(kind: str, known: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, **known}) + b"\n"


def progress_text(run: LiveRun) -> str:
    """A line for people: how the run stands."""
    view = run.feeds()
    up = sum(link.state is LinkState.READY for link in view.links)
    frames = sum(link.frames for link in view.links)
    size = view.recording.bytes / 1e6
    open_alerts = sum(alert.closed_ns == 0 for alert in run.alerts.values())
    return (
        f"{up} of {len(view.links)} connections, {frames:,} frames, {size:,.1f} MB, {len(run.alerts)} alerts, {open_alerts} open"
    )
