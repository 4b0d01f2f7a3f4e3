"""The venues there are: one file each, one line here."""

from collections.abc import Mapping

from feeds.model import VenueId
from feeds.venue import Venue
from feeds.venues.binance import Binance
from feeds.venues.bybit import Bybit

VENUES: Mapping[VenueId, Venue] = {venue.id: venue for venue in (Binance(), Bybit())}
