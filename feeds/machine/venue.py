"""The live stream of a tardis-machine in the venues' place: each exchange that an address names, with its symbols.

A machine lists no instruments: those of the list that comes with the program are used, and a symbol that is not in it is refused.
Every exchange gets a connection of its own, as at the venues, so that one that is silent does not hide behind another. Facts:
protocols.md 6.1. Not here: the messages (`feeds.venues.tardis`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from msgspec import Struct

from feeds.errors import BadFrame, InputError, NoClock
from feeds.health import HealthBoard
from feeds.importers.instruments import shipped
from feeds.machine.address import Address
from feeds.model import Channel, Instrument, InstrumentId, Instruments, Kind, Ns, Stream, VenueId
from feeds.text import clean_text
from feeds.venue import Fetch, Listener, Plan, Session, Terms, Venue
from feeds.venues import tardis

HEALTH_PATH: Final = "/health-check"
HEALTHY: Final = "Healthy"
_PREFIX: Final = "health:"

EXCHANGE_OF: Mapping[tuple[VenueId, str, Kind], str] = {
    ("BINANCE", "spot", Kind.SPOT): "binance",
    ("BINANCE", "usdm", Kind.PERP): "binance-futures",
    ("BINANCE", "usdm", Kind.FUTURE): "binance-futures",
    ("BINANCE", "coinm", Kind.PERP): "binance-delivery",
    ("BINANCE", "coinm", Kind.FUTURE): "binance-delivery",
    ("BYBIT", "spot", Kind.SPOT): "bybit-spot",
    ("BYBIT", "linear", Kind.PERP): "bybit",
    ("BYBIT", "linear", Kind.FUTURE): "bybit",
    ("BYBIT", "inverse", Kind.PERP): "bybit",
    ("BYBIT", "inverse", Kind.FUTURE): "bybit",
    ("OKX", "public", Kind.SPOT): "okex",
    ("OKX", "public", Kind.PERP): "okex-swap",
    ("OKX", "public", Kind.FUTURE): "okex-futures",
    ("DERIBIT", "public", Kind.PERP): "deribit",
    ("DERIBIT", "public", Kind.FUTURE): "deribit",
    ("DERIBIT", "public", Kind.SPOT): "deribit",
    ("BITMEX", "public", Kind.PERP): "bitmex",
    ("BITMEX", "public", Kind.FUTURE): "bitmex",
}
"""Venue, market and kind -> the exchange by whose name Tardis carries it."""
DATA_TYPE_OF: Mapping[Channel, str] = {channel: data_type for data_type, channel in tardis.CHANNEL_OF.items()}


class _Health(Struct):
    status: str


_health = msgspec.json.Decoder(_Health).decode


class _MachineVenue:
    """One venue as a machine carries it."""

    id: ClassVar[VenueId]

    def __init__(self, address: Address, instruments: Iterable[Instrument]) -> None:
        self._address = address
        self._instruments = tuple(instruments)

    def catalogue(self) -> Sequence[Fetch]:
        """That the machine is well is all that can be asked; what it has is known."""
        markets = dict.fromkeys(each.market for each in self._instruments)
        return [Fetch(f"{_PREFIX}{market}", HEALTH_PATH, 1, 1, market) for market in markets]

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        return None

    def clock(self, market: str) -> Fetch:
        return Fetch("time", HEALTH_PATH, 1, 1, market)

    def server_ns(self, body: bytes) -> Ns:
        """The machine's clock is not the venue's. Always raises: `NoClock` where the machine is well."""
        self._refuse_unwell(body)
        raise NoClock("a tardis-machine does not tell a venue's time")

    def terms(self, market: str) -> Terms:
        return Terms(rest=self._address.base, pool=self._address.base, weight_per_minute=600, sends_per_s=1.0)

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        for body in answers.values():
            self._refuse_unwell(body)
        markets = {key.removeprefix(_PREFIX) for key in answers}
        return [each for each in self._instruments if each.market in markets]

    def _refuse_unwell(self, body: bytes) -> None:
        status = _health(body).status
        if status != HEALTHY:
            raise BadFrame(f"the machine says of itself that it is {clean_text(status)}")

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        by_place: dict[tuple[str, str], list[Stream]] = {}
        for stream in wanted:
            instrument = instruments[stream.instrument]
            by_place.setdefault((_exchange(instrument), instrument.market), []).append(stream)
        plans = []
        for (exchange, market), streams in by_place.items():
            symbols = tuple(dict.fromkeys(instruments[stream.instrument].native for stream in streams))
            data_types = tuple(dict.fromkeys(DATA_TYPE_OF[stream.channel] for stream in streams))
            plans.append(Plan(self.id, market, self._address.stream_url(exchange, symbols, data_types), tuple(streams)))
        return plans

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        asked = [tardis.CHANNEL_OF[each] for each in self._address.data_types]
        return [channel for channel in asked if instrument.kind is not Kind.SPOT or channel in (Channel.BOOK, Channel.TRADE)]

    def topic(self, market: str, data: bytes) -> str | None:
        return tardis.topic_of(data)

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        own = {key: each for key, each in instruments.items() if (each.venue, each.market) == (self.id, market)}
        return tardis.stream_of(topic, own)

    def catalogue_key(self, url: str) -> str | None:
        return None

    def snapshot_key(self, url: str) -> str | None:
        return None

    def closed(self, market: str) -> str:
        """A machine carries venues that are closed, as far as it can."""
        return ""

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session:
        return tardis.session(plan, instruments, listener, health)


class _Binance(_MachineVenue):
    id = "BINANCE"


class _Bybit(_MachineVenue):
    id = "BYBIT"


class _Okx(_MachineVenue):
    id = "OKX"


class _Deribit(_MachineVenue):
    id = "DERIBIT"


class _Bitmex(_MachineVenue):
    id = "BITMEX"


KINDS: Final = (_Binance, _Bybit, _Okx, _Deribit, _Bitmex)


def machine_venues(address: Address) -> dict[VenueId, Venue]:
    """The venues that a live address names, in place of the real ones.

    Raises:
        InputError: an address that is not live, a symbol that is not known.
    """
    if not address.route.live:
        raise InputError(f"{address.place}: that is a replay, which has an end; live messages are at {tardis.STREAM_PATH}")
    listed = shipped()
    found: dict[InstrumentId, Instrument] = {}
    for exchange, symbols in address.symbols.items():
        here = {each.native: each for each in listed if _exchange(each) == exchange}
        unknown = [symbol for symbol in symbols if symbol not in here]
        if unknown or not here:
            what, there = clean_text(", ".join(unknown) or "anything", 200), ", ".join(here) or "none"
            raise InputError(f"{address.place}: no instrument is known for {what} of {exchange}; known are {there}")
        found.update((here[symbol].id, here[symbol]) for symbol in symbols or here)
    made: dict[VenueId, Venue] = {}
    for kind in KINDS:
        own = [each for each in found.values() if each.venue == kind.id]
        if own:
            made[kind.id] = kind(address, own)
    return made


def _exchange(instrument: Instrument) -> str:
    return EXCHANGE_OF.get((instrument.venue, instrument.market, instrument.kind), "")
