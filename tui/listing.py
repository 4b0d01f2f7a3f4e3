"""What the venues list: every instrument with its unit, or only those that a live run watches. For `arbtop instruments`."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from feeds.breaker import CircuitBreaker
from feeds.errors import DECODE_ERRORS, ArbtopError
from feeds.live import Live
from feeds.model import SECOND, Contract, Instrument
from feeds.venue import NoListener, Venue
from feeds.venues import markets_of
from tui.config import Config
from tui.demo import Demo, run_venues
from tui.watching import chosen

DASH: Final = "—"
NEVER_TRIPS: Final = 1_000
"""Failures in a row: a list is asked for once."""


class Row(Struct, frozen=True, kw_only=True):
    """One instrument. `unit` is what one in the venue's size field stands for."""

    instrument: str
    native: str
    market: str
    kind: str
    contract: str
    tick: float
    lot: float
    unit: str
    funding_h: float | None
    expiry_utc: str | None
    fees_taker_bps: float | None

    def cells(self) -> tuple[str, ...]:
        funding = f"{self.funding_h:g} h" if self.funding_h else DASH
        expiry = self.expiry_utc or DASH
        figures = (f"{self.tick:.15g}", f"{self.lot:.15g}")
        return (self.instrument, self.native, self.market, self.kind, self.contract, *figures, self.unit, funding, expiry)


def row_of(instrument: Instrument) -> Row:
    """How an instrument is listed."""
    expiry = datetime.fromtimestamp(instrument.expiry_ns // SECOND, UTC) if instrument.expiry_ns else None
    return Row(
        instrument=instrument.id,
        native=instrument.native,
        market=instrument.market,
        kind=str(instrument.kind),
        contract=str(instrument.contract),
        tick=instrument.tick,
        lot=instrument.lot,
        unit=_unit(instrument),
        funding_h=instrument.funding_interval_s / 3600 or None,
        expiry_utc=f"{expiry:%Y-%m-%dT%H:%MZ}" if expiry is not None else None,
        fees_taker_bps=instrument.fees.taker * 1e4 if instrument.fees is not None else None,
    )


def _unit(instrument: Instrument) -> str:
    """What one unit of size is."""
    if instrument.contract is Contract.QUANTO:
        return f"{instrument.contract_size:g} {instrument.settle} a {instrument.quote} of price"
    return f"{instrument.contract_size:g} {instrument.quote if instrument.contract is Contract.INVERSE else instrument.base}"


async def list_instruments(config: Config, demo: Demo | None, every: bool) -> tuple[list[Row], list[str]]:
    """Rows by venue and market, and a line for each market that could not be listed.

    Raises:
        ArbtopError: an address that is not allowed, or a simulator that does not start.
    """
    with ExitStack() as stack:
        venues = stack.enter_context(run_venues(config.venues, demo))
        places = [(venue, market) for venue in venues.values() for market in markets_of(venue)]
        proxy, ca_file = config.venues.proxy or None, config.venues.ca_path()
        live = Live(venues, NoListener(), lambda _listed: (), markets={}, proxy=proxy, ca_file=ca_file)
        live.make_breaker = lambda: CircuitBreaker(failures=NEVER_TRIPS)  # nobody waits until a venue may be asked again
        async with live.requests():
            lists = await asyncio.gather(*(_listed(live, venue, market) for venue, market in places))
    rows: list[Row] = []
    trouble: list[str] = []
    for found in lists:
        if isinstance(found, str):
            trouble.append(found)
        else:
            rows.extend(row_of(each) for each in (found if every else chosen(found, config.watch)))
    return rows, trouble


async def _listed(live: Live, venue: Venue, market: str) -> Sequence[Instrument] | str:
    try:
        return await live.catalogue(venue, market)
    except (*DECODE_ERRORS, ArbtopError) as error:
        return f"{venue.id} {market}: {error}"
