"""Short names of markets and routes, as a desk says them: `BIN perp BTC/USDT`, `BTC/USDT BIN spot → BIN perp`."""

from datetime import UTC, datetime

from feeds.model import SECOND, Instrument, Kind, Ns
from feeds.symbols import SHORT_VENUES


def venue_name(venue: str) -> str:
    """Three letters."""
    return SHORT_VENUES.get(venue, venue[:3])


def kind_name(instrument: Instrument) -> str:
    """`spot`, `perp`, or the day on which a dated contract ends: `26MAR27`."""
    return (
        expiry_name(instrument.expiry_ns) if instrument.expiry_ns and instrument.kind is not Kind.PERP else str(instrument.kind)
    )


def expiry_name(at: Ns) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%d%b%y").upper()


def leg_name(instrument: Instrument) -> str:
    """A market where its asset is known: `BIN perp`."""
    return f"{venue_name(instrument.venue)} {kind_name(instrument)}"


def market_name(instrument: Instrument) -> str:
    """A market on its own: `BIN perp BTC/USDT`."""
    return f"{leg_name(instrument)} {instrument.base}/{instrument.quote}"


def quoted_name(instrument: Instrument) -> str:
    """A market beside others of its asset: `BIN perp USDT`."""
    return f"{leg_name(instrument)} {instrument.quote}"


def two_name(one: Instrument, other: Instrument, sign: str) -> str:
    """Two markets of one asset: `BTC/USDT BIN spot / BIN perp`, or with each one's quote where they differ."""
    if one.quote == other.quote:
        return f"{one.base}/{one.quote} {leg_name(one)}{sign}{leg_name(other)}"
    return f"{one.base} {quoted_name(one)}{sign}{quoted_name(other)}"


def route_name(buy: Instrument, sell: Instrument) -> str:
    """Buy here, sell there."""
    return two_name(buy, sell, " → ")
