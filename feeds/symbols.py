"""Names of instruments: our id, the venues' own names, and the way between them.

Our id is `VENUE:BASE/QUOTE[:SETTLE[-YYMMDD[-STRIKE-C|P]]]`; what follows the venue is the unified symbol that ccxt writes. A
venue's instrument list is the first source of every fact; the string rules here are the fallback for names that no list explains
and refuse what a name does not tell. They know no ticks, sizes or multipliers. Facts: protocols.md 8.2 (2026-11), checked on
the recorded lists of Bybit (2026-08), OKX (2022-05), Deribit and BitMEX (2021-07).
"""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from feeds.errors import InputError
from feeds.model import SECOND, Contract, InstrumentId, Kind, Ns, VenueId
from feeds.text import clean_text

SHORT_VENUES: Mapping[VenueId, str] = {"BINANCE": "BIN", "BYBIT": "BYB", "OKX": "OKX", "DERIBIT": "DRB", "BITMEX": "BMX"}
"""Every venue there is, with its three letters."""

MONTH_CODES = "FGHJKMNQUVXZ"
"""January to December, as dated contracts abbreviate them."""
MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

EXPIRY_HOURS: Mapping[VenueId, int] = {"BINANCE": 8, "BYBIT": 8, "OKX": 8, "DERIBIT": 8, "BITMEX": 12}
"""UTC hour at which dated contracts expire where the metadata does not say."""

_BINANCE_SPOT = re.compile(
    r"(\w+?)(FDUSD|USDT|USDC|BUSD|TUSD|USDP|USDE|USD1|DAI|BTC|ETH|BNB|XRP|TRX|DOGE|EURI|AEUR|EUR|TRY|BRL|AUD|RUB|UAH|NGN|ZAR|"
    r"JPY|MXN|CZK|PLN|RON|ARS|COP|IDRT|BIDR)"
)
"""A coin and the longest known quote that leaves one: the shortest coin comes first."""
_BINANCE_USDM = re.compile(r"(\w+?)(USDT|USDC|BUSD|BTC)(?:_([0-9]{6}))?")
_BINANCE_COINM = re.compile(r"(\w+)USD_(?:PERP|([0-9]{6}))")
_BYBIT_SPOT = re.compile(r"(\w+?)(RLUSD|USDT|USDC|USDE|USD1|(?<!X)USD|EUR|BRL|GBP|AED|PLN|TRY|BTC|ETH|SOL)")
"""BTCXUSD is BTC in XUSD, AVAXUSD would be AVAX in USD: the name does not tell."""
_BYBIT_INVERSE = re.compile(r"(\w+?)USD(?:([HMUZ])([0-9]{2}))?")
_BITMEX_SPOT = re.compile(r"([A-Z0-9]+)_(USDT|USDC|XBT|ETH)")
_BITMEX_DERIVATIVE = re.compile(rf"([A-Z0-9]{{2,}}?)(USDT|USD|EUR)?(?:([{MONTH_CODES}])([0-9]{{2}}))?")
_STRIKE = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_TOKEN = r"[^\W_a-z]{1,32}"
_ID = re.compile(rf"([A-Z]{{2,16}}):({_TOKEN})/({_TOKEN})(?::({_TOKEN})(?:-([0-9]{{6}})(?:-({_STRIKE})-([CP]))?)?)?")
_OKX = re.compile(rf"({_TOKEN})-({_TOKEN})(_UM)?(?:-(SWAP|[0-9]{{6}})(?:-({_STRIKE})-([CP]))?)?")
_RIGHTS: Mapping[str, Literal["", "C", "P"]] = {"": "", "C": "C", "P": "P"}
_SPOKEN_DATE = re.compile(r"([0-9]{1,2})(" + "|".join(MONTH_NAMES) + r")([0-9]{2})")


class Parts(Struct, frozen=True, kw_only=True):
    """What an id says. `expiry` is YYMMDD; `strike` and `right` are empty unless it is an option."""

    venue: VenueId
    base: str
    quote: str
    settle: str = ""
    expiry: str = ""
    strike: str = ""
    right: Literal["", "C", "P"] = ""

    @property
    def kind(self) -> Kind:
        """No settle is spot, settle without a date a perpetual, with one a future, with a strike an option."""
        if not self.settle:
            return Kind.SPOT
        if not self.expiry:
            return Kind.PERP
        return Kind.OPTION if self.strike else Kind.FUTURE

    @property
    def contract(self) -> Contract:
        """Settled in the quote is linear (spot too), in the base inverse, in anything else quanto."""
        if self.settle in ("", self.quote):
            return Contract.LINEAR
        return Contract.INVERSE if self.settle == self.base else Contract.QUANTO


def parse(text: str) -> Parts:
    """The parts of an id. Raises `InputError` for anything that is not exactly one."""
    match = _ID.fullmatch(text)
    if match is None or match[1] not in SHORT_VENUES or (match[5] and _date(match[5]) is None):
        raise InputError(
            f"{clean_text(text)!r} is no instrument: write VENUE:BASE/QUOTE[:SETTLE[-YYMMDD]] in capitals, "
            f"for example BINANCE:BTC/USDT:USDT, with a venue of {', '.join(SHORT_VENUES)}"
        )
    venue, base, quote, settle, expiry, strike, right = match.groups(default="")
    return Parts(venue=venue, base=base, quote=quote, settle=settle, expiry=expiry, strike=strike, right=_RIGHTS[right])


def format_id(parts: Parts) -> InstrumentId:
    """The id of parts. Raises `InputError` where they make none that `parse` would take."""
    text = f"{parts.venue}:{parts.base}/{parts.quote}"
    if parts.settle:
        text += f":{parts.settle}"
    if parts.expiry:
        text += f"-{parts.expiry}"
    if parts.strike or parts.right:
        text += f"-{parts.strike}-{parts.right}"
    if parse(text) != parts:
        raise InputError(f"{clean_text(text)!r} is no instrument: a part of it is missing or out of place")
    return text


def instrument_id(
    venue: VenueId,
    base: str,
    quote: str,
    settle: str = "",
    expiry_ns: Ns = 0,
    strike: str = "",
    right: Literal["", "C", "P"] = "",
) -> InstrumentId:
    """The id of an instrument out of a venue's metadata; `expiry_ns` 0 is no expiry.

    Raises `InputError` where the parts make no id: a lower-case or empty coin, an expiry without a settle, a date beyond 2099.
    """
    expiry = ""
    if expiry_ns:
        try:
            day = datetime.fromtimestamp(expiry_ns // SECOND, UTC)
        except (OverflowError, ValueError, OSError):
            day = datetime.min.replace(tzinfo=UTC)
        if not 2000 <= day.year < 2100:
            raise InputError(f"{clean_text(f'{venue}:{base}/{quote}')!r} expires outside the years 2000 to 2099")
        expiry = f"{day:%y%m%d}"
    return format_id(Parts(venue=venue, base=base, quote=quote, settle=settle, expiry=expiry, strike=strike, right=right))


def expiry_ns(parts: Parts) -> Ns:
    """The instant a dated contract expires by its venue's usual hour, UTC; 0 for spot and perpetuals."""
    day = _date(parts.expiry)
    if day is None:
        return 0
    at = datetime(day.year, day.month, day.day, EXPIRY_HOURS[parts.venue], tzinfo=UTC)
    return int(at.timestamp()) * SECOND


def short_name(instrument: InstrumentId) -> str:
    """For tables: `BIN BTCUSD perp inv`, `BYB BTCUSDT spot`, `DRB BTCUSD 261225 inv`. Raises `InputError` for what is no id."""
    parts = parse(instrument)
    words = [SHORT_VENUES[parts.venue], parts.base + parts.quote, parts.expiry or parts.kind.value]
    if parts.strike:
        words.append(parts.strike + parts.right)
    if parts.contract is not Contract.LINEAR:
        words.append("inv" if parts.contract is Contract.INVERSE else "quanto")
    return " ".join(words)


def native_to_parts(venue: VenueId, market: str, native: str) -> Parts | None:
    """What a venue's own name says by itself; None where it says too little, or names what is not carried.

    `market` is spot, usdm or coinm (Binance), spot, linear or inverse (Bybit); OKX's, Deribit's and BitMEX's names are unique
    without one.
    """
    rule = _READ.get((venue, market)) or _READ.get((venue, ""))
    parts = rule(native) if rule is not None else None
    if parts is None:
        return None
    try:
        format_id(parts)
    except InputError:
        return None
    return parts


def native_name(parts: Parts) -> str:
    """The venue's own name of an instrument. Raises `InputError` for one that the venue has no name for."""
    write = _WRITE.get(parts.venue)
    name = write(parts) if write is not None else None
    if name is None:
        raise InputError(f"{format_id(parts)} has no name at {parts.venue}: look it up in the venue's instrument list")
    return name


def _date(expiry: str) -> date | None:
    """YYMMDD as a date; None for an empty text and for a day that no calendar has."""
    if not expiry:
        return None
    try:
        return date(2000 + int(expiry[:2]), int(expiry[2:4]), int(expiry[4:]))
    except ValueError:
        return None


def _last_friday(year: int, month: int) -> date:
    last = date(year, month, monthrange(year, month)[1])
    return last - timedelta(days=(last.weekday() - 4) % 7)


def _coded_expiry(code: str, year: str) -> str:
    """H26 as the last Friday of March 2026."""
    return f"{_last_friday(2000 + int(year), MONTH_CODES.index(code) + 1):%y%m%d}"


def _month_code(expiry: str) -> str | None:
    """The code of a date that is the last Friday of its month; None for another."""
    day = _date(expiry)
    if day is None or day != _last_friday(day.year, day.month):
        return None
    return f"{MONTH_CODES[day.month - 1]}{expiry[:2]}"


def _spoken_expiry(text: str) -> str | None:
    """25DEC26 as 261225."""
    match = _SPOKEN_DATE.fullmatch(text)
    if match is None:
        return None
    expiry = f"{match[3]}{MONTH_NAMES.index(match[2]) + 1:02}{int(match[1]):02}"
    return expiry if _date(expiry) is not None else None


def _spoken_date(expiry: str, width: int) -> str:
    """261225 as 25DEC26; Bybit writes two digits of a day, Deribit as few as there are."""
    return f"{int(expiry[4:]):0{width}}{MONTH_NAMES[int(expiry[2:4]) - 1]}{expiry[:2]}"


def _binance_spot(native: str) -> Parts | None:
    match = _BINANCE_SPOT.fullmatch(native)
    return Parts(venue="BINANCE", base=match[1], quote=match[2]) if match is not None else None


def _binance_usdm(native: str) -> Parts | None:
    match = _BINANCE_USDM.fullmatch(native)
    if match is None:
        return None
    return Parts(venue="BINANCE", base=match[1], quote=match[2], settle=match[2], expiry=match[3] or "")


def _binance_coinm(native: str) -> Parts | None:
    match = _BINANCE_COINM.fullmatch(native)
    if match is None:
        return None
    return Parts(venue="BINANCE", base=match[1], quote="USD", settle=match[1], expiry=match[2] or "")


def _binance_name(parts: Parts) -> str | None:
    symbol = parts.base + parts.quote
    match parts.kind, parts.contract:
        case Kind.SPOT, _:
            return symbol
        case ((Kind.PERP | Kind.FUTURE), Contract.LINEAR):
            return f"{symbol}_{parts.expiry}" if parts.expiry else symbol
        case ((Kind.PERP | Kind.FUTURE), Contract.INVERSE):
            return f"{symbol}_{parts.expiry or 'PERP'}"
    return None


def _bybit_spot(native: str) -> Parts | None:
    match = _BYBIT_SPOT.fullmatch(native)
    return Parts(venue="BYBIT", base=match[1], quote=match[2]) if match is not None else None


def _bybit_linear(native: str) -> Parts | None:
    symbol, dash, day = native.partition("-")
    expiry = _spoken_expiry(day) if dash else ""
    if expiry is None:
        return None
    base, quote = symbol.removesuffix("USDT"), "USDT"
    if base == symbol:
        quote = "USDC"
        base = symbol if dash else symbol.removesuffix("PERP")
        if base == symbol and not dash:
            return None
    return Parts(venue="BYBIT", base=base, quote=quote, settle=quote, expiry=expiry)


def _bybit_inverse(native: str) -> Parts | None:
    match = _BYBIT_INVERSE.fullmatch(native)
    if match is None:
        return None
    return Parts(
        venue="BYBIT", base=match[1], quote="USD", settle=match[1], expiry=_coded_expiry(match[2], match[3]) if match[2] else ""
    )


def _bybit_name(parts: Parts) -> str | None:
    symbol = parts.base + parts.quote
    match parts.kind, parts.contract, parts.settle:
        case Kind.SPOT, _, _:
            return symbol
        case Kind.PERP, Contract.LINEAR, "USDT":
            return symbol
        case Kind.PERP, Contract.LINEAR, "USDC":
            return f"{parts.base}PERP"
        case Kind.FUTURE, Contract.LINEAR, "USDT":
            return f"{symbol}-{_spoken_date(parts.expiry, 2)}"
        case Kind.FUTURE, Contract.LINEAR, "USDC":
            return f"{parts.base}-{_spoken_date(parts.expiry, 2)}"
        case Kind.PERP, Contract.INVERSE, _:
            return symbol
        case Kind.FUTURE, Contract.INVERSE, _:
            code = _month_code(parts.expiry)
            return symbol + code if code is not None else None
    return None


def _okx(native: str) -> Parts | None:
    """USD without a mark is settled in the coin, USD_UM in USD; USD_UM_XPERP names contracts without end by a date: no rule."""
    match = _OKX.fullmatch(native)
    if match is None or (match[3] and match[2] != "USD"):
        return None
    base, quote, linear, ends, strike, right = match.groups(default="")
    if not ends:
        return Parts(venue="OKX", base=base, quote=quote) if not linear else None
    settle = base if quote == "USD" and not linear else quote
    if ends == "SWAP":
        return Parts(venue="OKX", base=base, quote=quote, settle=settle) if not strike else None
    return Parts(venue="OKX", base=base, quote=quote, settle=settle, expiry=ends, strike=strike, right=_RIGHTS[right])


def _okx_name(parts: Parts) -> str | None:
    """A perpetual in USD settled in USD may be a swap or an X-Perp."""
    pair = f"{parts.base}-{parts.quote}"
    match parts.kind, parts.contract, parts.quote:
        case Kind.SPOT, _, _:
            return pair
        case (_, Contract.INVERSE, "USD"):
            mark = ""
        case ((Kind.FUTURE | Kind.OPTION), Contract.LINEAR, "USD"):
            mark = "_UM"
        case (_, Contract.LINEAR, quote) if quote != "USD":
            mark = ""
        case _:
            return None
    name = f"{pair}{mark}-{parts.expiry or 'SWAP'}"
    return f"{name}-{parts.strike}-{parts.right}" if parts.strike else name


def _deribit(native: str) -> Parts | None:
    pair, *rest = native.split("-")
    base, underscore, quote = pair.partition("_")
    if not rest:
        return Parts(venue="DERIBIT", base=base, quote=quote) if underscore else None
    settle = quote if underscore else base
    quote = quote if underscore else "USD"
    if rest == ["PERPETUAL"]:
        return Parts(venue="DERIBIT", base=base, quote=quote, settle=settle)
    expiry = _spoken_expiry(rest[0])
    if expiry is None:
        return None
    if len(rest) == 1:
        return Parts(venue="DERIBIT", base=base, quote=quote, settle=settle, expiry=expiry)
    strike = rest[1].replace("d", ".")
    if len(rest) != 3 or rest[2] not in ("C", "P"):
        return None
    return Parts(venue="DERIBIT", base=base, quote=quote, settle=settle, expiry=expiry, strike=strike, right=_RIGHTS[rest[2]])


def _deribit_name(parts: Parts) -> str | None:
    pair = f"{parts.base}_{parts.quote}"
    if parts.kind is Kind.SPOT:
        return pair
    if parts.contract is Contract.INVERSE and parts.quote == "USD":
        pair = parts.base
    elif parts.contract is not Contract.LINEAR:
        return None
    if parts.kind is Kind.PERP:
        return f"{pair}-PERPETUAL"
    name = f"{pair}-{_spoken_date(parts.expiry, 1)}"
    return f"{name}-{parts.strike.replace('.', 'd')}-{parts.right}" if parts.strike else name


def _bitmex(native: str) -> Parts | None:
    """Contracts in USDT on another coin were settled in BTC until 2021 and in USDT later: their names do not tell."""
    spot = _BITMEX_SPOT.fullmatch(native)
    if spot is not None:
        return Parts(venue="BITMEX", base=_coin(spot[1]), quote=_coin(spot[2]))
    match = _BITMEX_DERIVATIVE.fullmatch(native)
    if match is None or not (match[2] or match[3]):
        return None
    base, quote = _coin(match[1]), match[2] or ("USD" if match[1] == "XBT" else "BTC")
    if base != "BTC" and quote in ("USDT", "EUR"):
        return None
    expiry = _coded_expiry(match[3], match[4]) if match[3] else ""
    return Parts(venue="BITMEX", base=base, quote=quote, settle="USDT" if quote == "USDT" else "BTC", expiry=expiry)


def _coin(native: str) -> str:
    return "BTC" if native == "XBT" else native


def _bitmex_name(parts: Parts) -> str | None:
    base, quote = ("XBT" if coin == "BTC" else coin for coin in (parts.base, parts.quote))
    match parts.kind:
        case Kind.SPOT:
            return f"{base}_{quote}"
        case Kind.PERP:
            return base + quote
        case Kind.FUTURE:
            code = _month_code(parts.expiry)
            quote = "" if quote == "XBT" or (base, quote) == ("XBT", "USD") else quote
            return base + quote + code if code is not None else None
    return None


_READ: Mapping[tuple[VenueId, str], Callable[[str], Parts | None]] = {
    ("BINANCE", "spot"): _binance_spot,
    ("BINANCE", "usdm"): _binance_usdm,
    ("BINANCE", "coinm"): _binance_coinm,
    ("BYBIT", "spot"): _bybit_spot,
    ("BYBIT", "linear"): _bybit_linear,
    ("BYBIT", "inverse"): _bybit_inverse,
    ("OKX", ""): _okx,
    ("DERIBIT", ""): _deribit,
    ("BITMEX", ""): _bitmex,
}

_WRITE: Mapping[VenueId, Callable[[Parts], str | None]] = {
    "BINANCE": _binance_name,
    "BYBIT": _bybit_name,
    "OKX": _okx_name,
    "DERIBIT": _deribit_name,
    "BITMEX": _bitmex_name,
}
