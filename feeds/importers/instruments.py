"""Which instrument a symbol of a capture is: by the capture's own answers, else the user's file, else the shipped list.

The shipped list, `assumed.json`, holds about thirty majors with the ticks, lots and contract sizes that public metadata stated in
2024 to 2026; each is marked as assumed. Names follow protocols.md 8.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import msgspec

from feeds.errors import DECODE_ERRORS, ArbtopError, InputError
from feeds.model import Instrument, InstrumentId, Kind, VenueId
from feeds.text import clean_text
from feeds.venue import Venue
from feeds.venues.bitmex import CATALOGUE_KEY

_list = msgspec.json.Decoder(list[Instrument]).decode


class Known:
    """Instruments by venue, market and native name. What was added first wins."""

    def __init__(self) -> None:
        self._markets: dict[tuple[VenueId, str], dict[str, Instrument]] = {}

    def add(self, instruments: Iterable[Instrument]) -> None:
        for instrument in instruments:
            self._markets.setdefault((instrument.venue, instrument.market), {}).setdefault(instrument.native, instrument)

    def of(self, venue: VenueId, market: str) -> dict[InstrumentId, Instrument]:
        """Those of one market, by id."""
        return {instrument.id: instrument for instrument in self._markets.get((venue, market), {}).values()}


def shipped() -> list[Instrument]:
    """The list that comes with the program, every entry marked as assumed."""
    return _list(resources.files("feeds").joinpath("assumed.json").read_bytes())


def from_answer(venue: Venue, key: str, body: bytes) -> list[Instrument]:
    """Instruments of a recorded catalogue answer; none when the adapter refuses it."""
    try:
        return list(venue.instruments({key: body}))
    except (*DECODE_ERRORS, ArbtopError):
        return []


def from_file(path: Path, venues: Mapping[VenueId, Venue]) -> list[Instrument]:
    """The user's file: a JSON list of instruments as `arbtop instruments --json` prints it, or a venue's raw answer.

    Raises `InputError` when it is neither.
    """
    shown = clean_text(str(path), 200)
    try:
        body = path.read_bytes()
    except OSError as error:
        raise InputError(f"{shown}: cannot be read: {(error.strerror or 'error').lower()}") from None
    try:
        return _list(body)
    except DECODE_ERRORS as error:
        fault = clean_text(str(error), 160)
    found = [
        instruments
        for venue in venues.values()
        for key in [fetch.key for fetch in venue.catalogue()] or [CATALOGUE_KEY]  # a closed venue lists nothing any more
        if (instruments := from_answer(venue, key, body))
    ]
    if not found:
        raise InputError(f"{shown}: neither a list of instruments ({fault}) nor an instrument answer of {_names(venues)}")
    # Binance's three answers have one shape: a futures answer reads as a spot one too, but not the other way round
    derivatives = [instruments for instruments in found if any(one.kind is not Kind.SPOT for one in instruments)]
    return [instrument for instruments in derivatives or found for instrument in instruments]


def _names(venues: Mapping[VenueId, Venue]) -> str:
    names: Sequence[str] = sorted(venues)
    return ", ".join(names) if names else "any venue"
