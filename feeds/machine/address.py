"""The address of what a tardis-machine has: `tardis://HOST[:PORT][/ROUTE]?EXCHANGE=SYMBOL,SYMBOL&...&from=TIME&to=TIME`.

HOST and PORT are those of its HTTP server; its websockets are one port higher (protocols.md 6.1). ROUTE is the machine's own:
`replay-normalized` (where none is given), `ws-replay-normalized`, `replay` for the venues' own messages, `ws-stream-normalized`
for live ones. Each EXCHANGE is by Tardis' name, with the symbols as the venue writes them; none means all. `dataTypes` and, of
`replay`, `channels` choose what is sent. This machine itself is spoken to without TLS, every other with it (reliability 5.5).
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from msgspec import Struct

from feeds.errors import BadFrame, InputError
from feeds.model import SECOND, Ns
from feeds.text import clean_text
from feeds.venues import tardis
from feeds.wire import is_loopback

PORT: Final = 8000
EXAMPLE: Final = "tardis://localhost:8000/?bitmex=XBTUSD&deribit=BTC-PERPETUAL&from=2019-04-01T00:00Z&to=2019-04-01T00:05Z"


class Route(Struct, frozen=True):
    """One of a machine's routes, as arbtop uses it."""

    websocket: bool
    raw: bool = False
    live: bool = False


ROUTES: Final[Mapping[str, Route]] = {
    "/replay-normalized": Route(websocket=False),
    "/ws-replay-normalized": Route(websocket=True),
    "/replay": Route(websocket=False, raw=True),
    tardis.STREAM_PATH: Route(websocket=True, live=True),
}
CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "binance": ("depth", "depthSnapshot", "trade", "bookTicker"),
    "binance-futures": ("depth", "depthSnapshot", "trade", "bookTicker", "markPrice", "forceOrder"),
    "binance-delivery": ("depth", "depthSnapshot", "trade", "bookTicker", "markPrice", "forceOrder"),
    "bybit-spot": ("orderbook.50", "publicTrade"),
    "bybit": ("orderbook.50", "publicTrade", "tickers", "allLiquidation"),
    "okex": ("books-l2-tbt", "bbo-tbt", "trades"),
    "okex-swap": ("books-l2-tbt", "bbo-tbt", "trades", "mark-price", "funding-rate", "open-interest"),
    "okex-futures": ("books-l2-tbt", "bbo-tbt", "trades", "mark-price", "open-interest"),
    "deribit": ("book", "quote", "trades", "ticker"),
    "bitmex": ("orderBookL2", "quote", "trade", "instrument", "funding", "liquidation"),
}
"""Exchange -> the venue's channels, by Tardis' names, that a raw replay asks for: what the adapters read."""
_SYMBOL = re.compile(r"[A-Za-z0-9_.:/-]{1,60}")
_OWN_KEYS: Final = ("from", "to", "dataTypes", "channels")


class Address(Struct, frozen=True, kw_only=True):
    """What is asked of which machine."""

    host: str
    """Without a port, IPv6 in brackets."""
    port: int
    path: str
    """One of `ROUTES`."""
    symbols: Mapping[str, tuple[str, ...]]
    """Exchange -> native names; none for all."""
    data_types: tuple[str, ...]
    channels: tuple[str, ...] = ()
    """Of a raw replay; none for those of `CHANNELS`."""
    from_ns: Ns = 0
    to_ns: Ns = 0
    """First moment that is not asked for any more. Both 0 for live messages."""

    @classmethod
    def of(cls, text: str) -> "Address":
        """Raises `InputError`, which says how one is written."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise _mistake(text, str(error)) from None
        host = parts.hostname or ""
        if (
            parts.scheme != tardis.SCHEME
            or not host
            or parts.username is not None
            or parts.password is not None
            or parts.fragment
        ):
            raise _mistake(
                text, "it must be tardis://HOST:PORT/ with what is asked for behind a ?; a user or a key has no place in it"
            )
        path = parts.path if parts.path not in ("", "/") else "/replay-normalized"
        route = ROUTES.get(path)
        if route is None:
            raise _mistake(text, f"there is no {path}; there are {', '.join(ROUTES)}")
        symbols, own = _asked(text, parts)
        from_ns, to_ns = (_time(text, name, own.get(name)) for name in ("from", "to"))
        if route.live and (from_ns or to_ns):
            raise _mistake(text, "live messages have no from and to: leave them out, or ask /replay-normalized")
        if not route.live and not 0 < from_ns < to_ns:
            raise _mistake(text, "a replay needs from and to, the earlier first")
        if "channels" in own and not route.raw:
            raise _mistake(text, "channels are of /replay; the other routes have dataTypes")
        data_types = _list(own.get("dataTypes", "")) or tuple(tardis.CHANNEL_OF)
        unread = [each for each in data_types if each not in tardis.CHANNEL_OF]
        if unread:
            raise _mistake(text, f"dataTypes {', '.join(unread)} are not read here; there are {', '.join(tardis.CHANNEL_OF)}")
        return cls(
            host=f"[{host}]" if ":" in host else host,
            port=port or PORT,
            path=path,
            symbols=symbols,
            data_types=data_types,
            channels=_list(own.get("channels", "")),
            from_ns=from_ns,
            to_ns=to_ns,
        )

    @property
    def route(self) -> Route:
        return ROUTES[self.path]

    @property
    def plain(self) -> bool:
        """Whether it is this machine itself."""
        return is_loopback(self.host.strip("[]"))

    @property
    def place(self) -> str:
        """How messages name it."""
        return clean_text(f"{tardis.SCHEME}://{self.host}:{self.port}{self.path}", 200)

    @property
    def name(self) -> str:
        """For a directory: exchanges and first moment."""
        first = datetime.fromtimestamp(self.from_ns // SECOND, UTC)
        return f"tardis-{'-'.join(self.symbols)}-{first:%Y%m%d-%H%M}"

    @property
    def base(self) -> str:
        """Of its HTTP server."""
        return f"{'http' if self.plain else 'https'}://{self.host}:{self.port}"

    def urls(self) -> dict[str, str]:
        """What is asked for, by exchange; under "" where one answer holds all exchanges."""
        if not self.route.raw:
            options = [self._options(exchange, symbols) for exchange, symbols in self.symbols.items()]
            return {"": self._url(options[0] if len(options) == 1 else options)}
        return {exchange: self._url(self._raw_options(exchange, symbols)) for exchange, symbols in self.symbols.items()}

    def stream_url(self, exchange: str, symbols: tuple[str, ...], data_types: tuple[str, ...]) -> str:
        """Of the live messages of some symbols of one exchange."""
        options = {"exchange": exchange, "symbols": symbols, "dataTypes": data_types, "withDisconnectMessages": True}
        return f"{'ws' if self.plain else 'wss'}://{self.host}:{self.port + 1}{tardis.STREAM_PATH}?options={_quoted(options)}"

    def _url(self, options: object) -> str:
        base = f"{'ws' if self.plain else 'wss'}://{self.host}:{self.port + 1}" if self.route.websocket else self.base
        return f"{base}{self.path}?options={_quoted(options)}"

    def _options(self, exchange: str, symbols: tuple[str, ...]) -> dict[str, object]:
        return {
            "exchange": exchange,
            **({"symbols": symbols} if symbols else {}),
            "from": _iso(self.from_ns),
            "to": _iso(self.to_ns),
            "dataTypes": self.data_types,
            "withDisconnectMessages": True,
        }

    def _raw_options(self, exchange: str, symbols: tuple[str, ...]) -> dict[str, object]:
        more = {"symbols": symbols} if symbols else {}
        filters = [{"channel": channel, **more} for channel in self.channels or CHANNELS[exchange]]
        return {"exchange": exchange, "filters": filters, "from": _iso(self.from_ns), "to": _iso(self.to_ns)}


def _asked(text: str, parts: SplitResult) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Symbols by exchange, and the keys that name none."""
    symbols: dict[str, tuple[str, ...]] = {}
    own: dict[str, str] = {}
    for key, value in parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True):
        if key in symbols or key in own:
            raise _mistake(text, f"{key} stands in it twice: put what belongs to it behind one =, with commas")
        if key in _OWN_KEYS:
            own[key] = value
        elif key in tardis.EXCHANGES:
            symbols[key] = _list(value)
        else:
            raise _mistake(
                text, f"{key} is neither an exchange ({', '.join(tardis.EXCHANGES)}) nor one of {', '.join(_OWN_KEYS)}"
            )
    if not symbols:
        raise _mistake(text, f"it names no exchange; there are {', '.join(tardis.EXCHANGES)}")
    odd = next((each for names in symbols.values() for each in names if _SYMBOL.fullmatch(each) is None), None)
    if odd is not None:
        raise _mistake(text, f"{odd!r} is no symbol")
    return symbols, own


def _list(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, value.split(","))))


def _time(text: str, name: str, value: str | None) -> Ns:
    """0 for none."""
    if value is None:
        return 0
    try:
        when = datetime.fromisoformat(value)
        return tardis.ns_of(when if when.tzinfo is not None else when.replace(tzinfo=UTC))
    except (ValueError, OverflowError, BadFrame):
        raise _mistake(text, f"{name}={value} is no time: write 2019-04-01T00:00Z") from None


def _iso(at: Ns) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{at % SECOND // 1_000_000:03}Z"


def _quoted(options: object) -> str:
    return quote(json.dumps(options, separators=(",", ":")), safe="")


def _mistake(text: str, what: str) -> InputError:
    shown = clean_text(re.sub(r"//[^/@]*@", "//", text), 120)
    return InputError(f"{shown}: {clean_text(what, 400)}. An example: {EXAMPLE}")
