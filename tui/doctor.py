"""`arbtop doctor`: what stands between the user and live data, one line a check, each failure with its mend.

It asks every venue for its time and one frame of one instrument, over the same requests and sockets that a live run uses, and
looks at terminal, limits and places. Nothing is changed.
"""

import asyncio
import os
import re
import resource
import shutil
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct

from feeds.breaker import CircuitBreaker
from feeds.errors import DECODE_ERRORS, ArbtopError, BadFrame, NoClock
from feeds.health import HealthBoard
from feeds.live import Live
from feeds.model import MS, SECOND, Instrument, Stream
from feeds.text import clean_text
from feeds.venue import FetchError, NoListener, Send, Venue
from feeds.venues import markets_of
from feeds.wire import dial, hang_up, host_of, library
from tui.config import Config
from tui.demo import Demo, run_venues
from tui.watching import chosen

NEVER_TRIPS: Final = 1_000
FRAME_S: Final = 8.0
ANSWER_S: Final = 20.0
LOOK_S: Final = 0.2
CLOCK_WARN_MS: Final = 250.0
CLOCK_FAIL_MS: Final = 5_000.0
FILES_NEEDED: Final = 256
DISK_NEEDED: Final = 1 << 30
OUR_PACKAGES: Final = ("tui", "feeds", "analytics", "themes")
CLOCK_MEND: Final = "set it by the network (timedatectl set-ntp true); lag and funding times are wrong until then"
NETWORK_MENDS: Final[Sequence[tuple[str, str]]] = (
    (
        "certificate",
        "something opens TLS on the way: if it is your own proxy, name its certificate in [venues] ca_file",
    ),
    (r"(?<!:)\b403\b", "the venue refuses this network or region: try another network"),
    (r"(?<!:)\b451\b", "the venue does not serve this region"),
    (r"(?<!:)\b429\b", "too many requests from this address: wait a minute"),
    (r"(?<!:)\b418\b", "this address is banned for a while: wait, and close other programs that ask this venue"),
    ("name or service", "the name is not resolved: check network and DNS, or [venues] endpoints"),
    ("connect call failed", "nothing listens there, or no network: check [venues] endpoints and proxy"),
    ("refused", "nothing listens there: check [venues] endpoints and proxy"),
    ("timed out", "no answer: a firewall, or no network; check [venues] proxy"),
    ("no answer", "no answer: a firewall, or no network; check [venues] proxy"),
)
"""What a text says, as a pattern that is searched in lower case and takes no port for a status, and what to do."""
ANY_NETWORK_MEND: Final = "check network, firewall and [venues] proxy"

T = TypeVar("T")


class Finding(Struct, frozen=True):
    """One check. `mend` says what to do, and is empty where all is well."""

    name: str
    state: Literal["ok", "warn", "fail"]
    text: str
    mend: str = ""


async def examine(config: Config, demo: Demo | None) -> list[Finding]:
    """Every check, the machine's own first.

    Raises:
        ArbtopError: the simulator does not start.
    """
    found = [*terminal(os.environ), *limits(config), *packages()]
    with ExitStack() as stack:
        venues = stack.enter_context(run_venues(config.venues, demo))
        try:
            live = Live(
                venues,
                NoListener(),
                lambda _listed: (),
                markets={},
                proxy=config.venues.proxy or None,
                ca_file=config.venues.ca_path(),
            )
        except (OSError, ssl.SSLError) as error:
            return [
                *found,
                Finding("certificates", "fail", clean_text(f"{config.venues.ca_file}: {error}", 200), "mend [venues] ca_file"),
            ]
        live.make_breaker = lambda: CircuitBreaker(failures=NEVER_TRIPS)  # each market shall say for itself what is wrong
        async with live.requests():
            checks = [_market(config, live, venue, market) for venue in venues.values() for market in markets_of(venue)]
            for more in await asyncio.gather(*checks):
                found.extend(more)
    return found


# The machine.


def terminal(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What the terminal can draw."""
    name = environment.get("TERM", "")
    tty = all(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stderr__))
    if not tty:
        yield Finding(
            "terminal",
            "warn",
            "stdin or stderr is no terminal",
            "only the screens need one",
        )
    elif name in ("", "dumb"):
        yield Finding("terminal", "fail", f"TERM is {name or 'not set'}", "set TERM to what it is, as xterm-256color")
    else:
        size = shutil.get_terminal_size()
        small = size.columns < 60 or size.lines < 16
        mend = "make the window at least 60x16; 120x36 shows most" if small else ""
        inside = ", in tmux" if environment.get("TMUX") else ""
        yield Finding("terminal", "warn" if small else "ok", clean_text(f"{name}{inside}, {size.columns}x{size.lines}", 80), mend)
    colours = environment.get("COLORTERM", "").lower()
    if environment.get("NO_COLOR"):
        yield Finding("colours", "ok", "off (NO_COLOR)")
    elif colours in ("truecolor", "24bit"):
        yield Finding("colours", "ok", "true colour")
    elif "256" in name:
        yield Finding("colours", "warn", "256: themes are approximated", "set COLORTERM=truecolor if the terminal has it")
    else:
        yield Finding("colours", "warn", "16: themes do not fit", "use --theme ansi; set COLORTERM=truecolor if it has more")
    encoding = (getattr(sys.__stderr__, "encoding", "") or "").lower()
    utf8 = "utf-8" in encoding or "utf8" in encoding
    yield Finding(
        "signs",
        "ok" if utf8 else "warn",
        encoding or "unknown encoding",
        "" if utf8 else "set LANG to a UTF-8 locale, or use --glyphs ascii",
    )


def limits(config: Config) -> Iterator[Finding]:
    """Files, disk and places."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = files == resource.RLIM_INFINITY or files >= FILES_NEEDED
    yield Finding("open files", "ok" if enough else "warn", f"{files} allowed", "" if enough else f"ulimit -n {FILES_NEEDED}")
    for name, place in (("alert log", config.paths.state_dir()), ("recordings", config.paths.recordings_dir())):
        yield _place(name, place)


def _place(name: str, place: Path) -> Finding:
    there = next(each for each in (place, *place.parents) if os.path.exists(each))  # which is False where one may not look
    shown = clean_text(str(place), 120)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Finding(
            name,
            "fail",
            f"{shown}: not writable",
            f"make it writable, or set [paths] to another place than {clean_text(str(there), 120)}",
        )
    free = shutil.disk_usage(there).free
    if free < DISK_NEEDED:
        return Finding(
            name, "warn", f"{shown}: {free / 1e6:,.0f} MB free", "free some space: an hour of recording takes hundreds of MB"
        )
    return Finding(name, "ok", f"{shown}: {free / 1e9:,.1f} GB free")


def packages() -> Iterator[Finding]:
    """Our packages have plain names: another distribution with one of them would be imported in place of ours, or ours of its."""
    owners = packages_distributions()
    others = {name: sorted(set(owners.get(name, ())) - {"arbtop"}) for name in OUR_PACKAGES}
    taken = [f"{name} of {', '.join(found)}" for name, found in others.items() if found]
    if taken:
        yield Finding(
            "packages",
            "warn",
            clean_text(f"also installed here: {'; '.join(taken)}", 200),
            "install arbtop in an environment of its own (pipx)",
        )
    chosen_library = library()
    quick = chosen_library.name == "picows"
    yield Finding("websockets", "ok", f"{chosen_library.name}{'' if quick else ' (the extra fast is quicker)'}")


# The venues.


async def _market(config: Config, live: Live, venue: Venue, market: str) -> list[Finding]:
    name = f"{venue.id} {market}"
    why = venue.closed(market)
    if why:
        return [Finding(name, "warn", why, f"take {venue.id.lower()} out of [venues] live; its recordings can be replayed")]
    found = [await _clock(live, venue, market, name)]
    if found[0].state == "fail" and found[0].mend != CLOCK_MEND:
        return found  # what is behind it cannot be reached either
    try:
        listed = await _unless_held(live, venue, market, live.catalogue(venue, market))
    except TimeoutError:
        return [*found, _trouble(f"{name} instruments", f"no answer in {ANSWER_S:.0f} s")]
    except (*DECODE_ERRORS, ArbtopError) as error:
        return [*found, _trouble(f"{name} instruments", str(error))]
    watched = chosen(listed, config.watch)
    found.append(Finding(f"{name} instruments", "ok", f"{len(listed)} listed, {len(watched)} watched"))
    if watched:
        found.append(await _socket(live, venue, watched, f"{name} websocket", config.venues.proxy or None))
    return found


async def _unless_held(live: Live, venue: Venue, market: str, asking: Coroutine[Any, Any, T]) -> T:
    """What is asked for, unless the venue has just said that it wants no more requests for a while: nobody waits for that here.

    Raises:
        TimeoutError: no answer.
        ArbtopError: what the venue said.
    """
    terms = venue.terms(market)
    asked = asyncio.create_task(asking)
    try:
        async with asyncio.timeout(ANSWER_S):
            while not (await asyncio.wait({asked}, timeout=LOOK_S))[0]:
                held = next((pool for pool in live.view().pools if pool.name == terms.pool and pool.gate_ns), None)
                if held is not None:
                    raise ArbtopError(f"{host_of(terms.rest)}: {held.reason}")
            return asked.result()
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def _clock(live: Live, venue: Venue, market: str, name: str) -> Finding:
    host = host_of(venue.terms(market).rest)
    try:
        answer = await _unless_held(live, venue, market, live.ask(venue.id, market, venue.clock(market)))
    except TimeoutError:
        return _trouble(f"{name} REST", f"{host}: no answer in {ANSWER_S:.0f} s")
    except ArbtopError as error:
        return _trouble(f"{name} REST", str(error))
    body = answer.outcome
    if isinstance(body, FetchError):
        return _trouble(f"{name} REST", f"{host}: {body.reason}")
    try:
        server_ns = venue.server_ns(body)
    except NoClock as error:
        return Finding(f"{name} REST", "ok", f"{host}: it is well; {error}")
    except (*DECODE_ERRORS, BadFrame) as error:
        return _trouble(f"{name} REST", f"{host}: {error}")
    trip_ms = (answer.received_ns - answer.sent_ns) / MS
    offset_ms = (server_ns - (answer.sent_ns + answer.received_ns) // 2) / MS
    text = f"{host}: round trip {trip_ms:.0f} ms, its clock {offset_ms:+,.0f} ± {trip_ms / 2:.0f} ms"
    off = max(abs(offset_ms) - trip_ms / 2, 0.0)
    if off >= CLOCK_WARN_MS:
        return Finding(f"{name} REST", "fail" if off >= CLOCK_FAIL_MS else "warn", f"{text}: your clock is wrong", CLOCK_MEND)
    return Finding(f"{name} REST", "ok", text)


async def _socket(live: Live, venue: Venue, watched: Sequence[Instrument], name: str, proxy: str | None) -> Finding:
    """Every connection that carries the first instrument: opened, subscribed, and one frame waited for."""
    instruments = {each.id: each for each in watched}
    first = watched[0]
    plans = venue.plan([Stream(first.id, channel) for channel in venue.channels(first)], instruments)
    spans: list[float] = []
    for plan in plans:
        host = host_of(plan.url)
        begun_ns = live.stamp()
        try:
            socket = await dial(live.library, plan.url, 20.0, proxy, live.tls)
        except Exception as error:  # noqa: BLE001 - each is a finding
            return _trouble(name, f"{host}: {_why(error)}")
        try:
            session = venue.session(plan, instruments, NoListener(), HealthBoard())
            for action in session.opened(live.stamp()):
                if isinstance(action, Send):
                    await socket.send(action.text)
            await asyncio.wait_for(_data(socket.recv, venue, plan.market), FRAME_S)
        except TimeoutError:
            return _trouble(name, f"{host}: connected, but no data of {first.native} in {FRAME_S:.0f} s")
        except Exception as error:  # noqa: BLE001 - each is a finding
            return _trouble(name, f"{host}: {_why(error)}")
        finally:
            with suppress(Exception):
                await hang_up(socket)
        spans.append((live.stamp() - begun_ns) / SECOND)
    slowest = max(spans)
    hosts = ", ".join(dict.fromkeys(host_of(plan.url) for plan in plans))
    return Finding(name, "ok", f"{hosts}: first data of {first.native} after {slowest:.1f} s")


async def _data(recv: Callable[..., Awaitable[bytes]], venue: Venue, market: str) -> None:
    while venue.topic(market, await recv(decode=False)) is None:
        pass


def _why(error: Exception) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    if status:
        return f"refused with {int(status)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'verify_message', '') or error}: certificate not trusted"
    if isinstance(error, TimeoutError):
        return "no answer"
    return clean_text(str(error) or type(error).__name__, 160)


def _trouble(name: str, text: str) -> Finding:
    shown = clean_text(text, 200)
    low = shown.lower()
    return Finding(name, "fail", shown, next((mend for sign, mend in NETWORK_MENDS if re.search(sign, low)), ANY_NETWORK_MEND))


def lines(found: Sequence[Finding]) -> list[str]:
    """For people."""
    glyphs = {"ok": "●", "warn": "▲", "fail": "■"}
    width = max(len(one.name) for one in found)
    shown = []
    for one in found:
        shown.append(f"{glyphs[one.state]} {one.state:<4}  {one.name:<{width}}  {one.text}")
        if one.mend:
            shown.append(f"{'':<{width + 10}}→ {one.mend}")
    return shown
