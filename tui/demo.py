"""The simulator as a child process, and the venues that are on it: a market of its own on loopback, without a network or a key.

A process of its own, so that what it costs is not on the program's own loop.
"""

import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec
from msgspec import Struct

from feeds.errors import DECODE_ERRORS, ArbtopError
from feeds.machine.address import Address
from feeds.machine.venue import machine_venues
from feeds.model import VenueId
from feeds.text import clean_text
from feeds.venue import Venue
from feeds.venues import make_venues, placed_venues
from tui.settings import Venues

START_S: Final = 20.0
STOP_S: Final = 2.0


class Demo(Struct, frozen=True, kw_only=True):
    """What the simulator is asked for."""

    seed: int = 1
    faults: bool = False


class Announced(Struct, frozen=True):
    """Its first line: where each market is, by `VENUE.market`."""

    seed: int
    endpoints: dict[str, dict[str, str]]


@contextmanager
def run_venues(venues: Venues, demo: Demo | None) -> Iterator[Mapping[VenueId, Venue]]:
    """The venues of a run: those the user wants live, those that a tardis-machine has, or all that the simulator plays.

    Raises:
        ArbtopError: an address that is not allowed, a simulator that does not start.
    """
    if demo is not None:
        with demo_venues(demo) as played:
            yield played
    elif venues.tardis:
        yield machine_venues(Address.of(venues.tardis))
    else:
        known = make_venues(venues.places())
        yield {name: known[name] for name in map(str.upper, venues.live)}


@contextmanager
def demo_venues(demo: Demo) -> Iterator[Mapping[VenueId, Venue]]:
    """The venues of a running simulator, which ends with the block, or with this process.

    Raises:
        ArbtopError: it did not start.
    """
    arguments = [sys.executable, "-P", "-m", "feeds.simulator", "--seed", str(demo.seed), *(["--faults"] if demo.faults else [])]
    with TemporaryFile() as said:  # a pipe that nobody reads would stop it when it is full
        child = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True, bufsize=0
        )
        try:
            line = _first_line(child)
            try:
                announced = msgspec.json.decode(line, type=Announced)
            except DECODE_ERRORS:
                _end(child)
                raise ArbtopError(f"the simulator did not start: {_last_line(said) or 'it said nothing'}") from None
            yield placed_venues(places(announced.endpoints))
        finally:
            _end(child)


def _first_line(child: "subprocess.Popen[bytes]") -> bytes:
    """What it announces; something else, or nothing, where it does not start in time."""
    assert child.stdout is not None
    found = b""
    end = time.monotonic() + START_S
    while not found.endswith(b"\n") and select.select([child.stdout], [], [], max(end - time.monotonic(), 0.0))[0]:
        more = child.stdout.read(1 << 16)
        if not more:
            break
        found += more
    return found


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    return clean_text(said.read().strip().rpartition(b"\n")[2], 300)


def places(endpoints: Mapping[str, Mapping[str, str]]) -> dict[VenueId, dict[str, Mapping[str, str]]]:
    """`VENUE.market` → bases, as `placed_venues` takes them."""
    found: dict[VenueId, dict[str, Mapping[str, str]]] = {}
    for name, bases in endpoints.items():
        venue, _, market = name.partition(".")
        found.setdefault(venue, {})[market] = bases
    return found


def _end(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
