"""The venues there are: one file each, one line here."""

from collections.abc import Mapping
from typing import Final

from feeds.errors import InputError
from feeds.model import VenueId
from feeds.venue import Endpoint, Venue
from feeds.venues.binance import Binance
from feeds.venues.bitmex import Bitmex
from feeds.venues.bybit import Bybit
from feeds.venues.deribit import Deribit
from feeds.venues.okx import Okx

KINDS: Final = (Binance, Bybit, Okx, Deribit, Bitmex)
VENUES: Mapping[VenueId, Venue] = {kind.id: kind() for kind in KINDS}
"""Where they really are."""


def make_venues(places: Mapping[VenueId, Mapping[str, Mapping[str, str]]]) -> dict[VenueId, Venue]:
    """The venues, some of their markets elsewhere.

    Args:
        places: venue → market → `rest` or `websocket` → base URL.

    Raises:
        InputError: a venue or market that there is not.
    """
    known = {kind.id: kind for kind in KINDS}
    for venue, markets in places.items():
        if venue not in known:
            raise InputError(f"there is no venue {venue}; there are {', '.join(known)}")
        for market in markets:
            if market not in known[venue].endpoints:
                raise InputError(f"{venue} has no market {market}; it has {', '.join(known[venue].endpoints)}")
    made: dict[VenueId, Venue] = {}
    for name, kind in known.items():
        endpoints = {
            market: Endpoint(
                rest=places.get(name, {}).get(market, {}).get("rest", usual.rest),
                websocket=places.get(name, {}).get(market, {}).get("websocket", usual.websocket),
            )
            for market, usual in kind.endpoints.items()
        }
        made[name] = kind(endpoints)
    return made


def placed_venues(places: Mapping[VenueId, Mapping[str, Mapping[str, str]]]) -> dict[VenueId, Venue]:
    """Those of `make_venues` that are somewhere else, and no other. Raises like it."""
    return {name: venue for name, venue in make_venues(places).items() if name in places}


def markets_of(venue: Venue) -> tuple[str, ...]:
    """The names of a venue's markets."""
    return tuple(dict.fromkeys(fetch.market for fetch in venue.catalogue()))
