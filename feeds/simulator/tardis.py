"""A tardis-machine on loopback: HTTP at one port, its websockets at the next, as the machine has them.

Replays serve lines that it is given; `/ws-stream-normalized` tells of the simulated market, several exchanges in one stream when
asked so. Facts: protocols.md 6; tardis-machine's source (2026): batches of 32 lines, an error in the middle of an HTTP answer is
a last line without an end, a lost venue is a blank line of `/replay` and a `disconnect` elsewhere, close codes 1000, 1011, 1008.
Things go wrong on demand: `breaks` says where an answer ends and how, `silent` which exchanges say nothing.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

from aiohttp import web
from msgspec import Struct

from feeds.model import MS, SECOND, Ns
from feeds.simulator.kit import BACKLOG, Connection, VenueServer
from feeds.simulator.listings import Listing
from feeds.simulator.market import Step, World

REPLAY, REPLAY_NORMALIZED, HEALTH = "/replay", "/replay-normalized", "/health-check"
WS_REPLAY_NORMALIZED, WS_STREAM_NORMALIZED = "/ws-replay-normalized", "/ws-stream-normalized"
BATCH: Final = 32
BUFFERED: Final = 1 << 20
"""Bytes that wait for a slow reader before the machine waits too."""
PORTS_TRIED: Final = 50
TIMEOUT_MS: Final = 10_000
ERRORS_IN_A_ROW: Final = 50
AWAY_NS: Ns = 2 * MS
"""From the venue's clock to the machine's."""

EXCHANGES: Mapping[tuple[str, str, str], str] = {
    ("BINANCE", "spot", "spot"): "binance",
    ("BINANCE", "usdm", "perp"): "binance-futures",
    ("BINANCE", "usdm", "future"): "binance-futures",
    ("BINANCE", "coinm", "perp"): "binance-delivery",
    ("BYBIT", "spot", "spot"): "bybit-spot",
    ("BYBIT", "linear", "perp"): "bybit",
    ("BYBIT", "linear", "future"): "bybit",
    ("BYBIT", "inverse", "perp"): "bybit",
    ("OKX", "public", "spot"): "okex",
    ("OKX", "public", "perp"): "okex-swap",
    ("OKX", "public", "future"): "okex-futures",
    ("DERIBIT", "public", "spot"): "deribit",
    ("DERIBIT", "public", "perp"): "deribit",
    ("DERIBIT", "public", "future"): "deribit",
    ("BITMEX", "public", "perp"): "bitmex",
    ("BITMEX", "public", "future"): "bitmex",
}
"""Venue, market and kind of a listing -> Tardis' name of its exchange."""
OWN_NAMES: frozenset[str] = frozenset(EXCHANGES.values())

Json = dict[str, Any]


class Break(Struct, frozen=True):
    """Where an answer goes wrong: after so many lines, in which way.

    `cut`: the connection is reset. `half`: the answer ends in the middle of a line. `error`: as the machine says that it failed.
    `close`: a websocket ends with `code`. `bytes`: `data` comes in place of a line.
    """

    after: int
    how: Literal["cut", "half", "error", "close", "bytes"]
    data: bytes = b""
    code: int = 1011


class Refused(Exception):  # noqa: N818 - what happens
    """What the machine answers in place of data."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Wanted:
    """One exchange of a live stream, as one client asked for it."""

    def __init__(self, option: Json, listings: Sequence[Listing], now_ns: Ns) -> None:
        self.exchange: str = option["exchange"]
        self.data_types = frozenset(option.get("dataTypes", ()))
        self.disconnects = bool(option.get("withDisconnectMessages", False))
        self.errors = bool(option.get("withErrorMessages", False))
        self.timeout_ns: Ns = int(option.get("timeoutIntervalMS", TIMEOUT_MS)) * MS
        self.listings = listings
        self.seqs: dict[str, int] = {}
        """Listing -> the state of its book that was told last; none before the first."""
        self.heard_ns = now_ns
        self.failed = 0
        """Attempts in a row that brought nothing."""


class TardisServer(VenueServer):
    """The machine.

    Args:
        stored: normalised lines of all exchanges, by time.
        raw: exchange -> (localTimestamp, the venue's message) by time; None for a lost connection.
        keyless: only the first day of a month is served.
        patience_s: how long a reader may leave the machine waiting.
    """

    name = "TARDIS.machine"

    def __init__(
        self,
        world: World,
        stored: Iterable[bytes] = (),
        raw: Mapping[str, Sequence[tuple[str, bytes] | None]] | None = None,
        *,
        keyless: bool = False,
        patience_s: float = 135.0,
    ) -> None:
        super().__init__(world)
        self.stored = [(message := json.loads(line), _when(message["localTimestamp"]), line) for line in stored]
        self.raw = dict(raw or {})
        self.keyless = keyless
        self.patience_s = patience_s
        self.breaks: Break | None = None
        self.health = "Healthy"
        self.silent: set[str] = set()
        """Exchanges that cannot be reached now."""
        self.asked: list[tuple[str, Json]] = []
        """Route and options of every request that was understood, an array's one by one."""
        self._wanted: dict[Connection, list[_Wanted]] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._second: asyncio.Server | None = None

    # -- ports -------------------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Two ports next to each other; the same as before where there were some."""
        if self._listening is not None or self._runner is None or self._runner.server is None:
            return
        for _ in range(PORTS_TRIED):
            first = await self._bind(self.port)
            port = first.sockets[0].getsockname()[1]
            try:
                self._second = await self._bind(port + 1)
            except (OSError, OverflowError):
                first.close()
                continue
            self._listening, self.port = first, port
            return
        raise OSError("no two free ports next to each other")

    async def _bind(self, port: int) -> asyncio.Server:
        assert self._runner is not None
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._runner.server, "127.0.0.1", port, backlog=BACKLOG, reuse_address=True)

    def refuse(self) -> None:
        super().refuse()
        second, self._second = self._second, None
        if second is not None:
            second.close()

    # -- HTTP --------------------------------------------------------------------------------------------------------------

    def websocket_paths(self) -> Iterable[str]:
        return (WS_REPLAY_NORMALIZED, WS_STREAM_NORMALIZED)

    async def rest(self, request: web.Request) -> web.StreamResponse:
        answers = {REPLAY: self._raw_lines, REPLAY_NORMALIZED: self._normalized_lines}
        if self._on_second(request) or request.path not in (*answers, HEALTH):
            return web.Response(status=404)
        if request.path == HEALTH:
            body = {"status": self.health, "uptimeHours": 0.1, "timestampMs": time.time_ns() // MS, "memoryInfo": {"rssMB": 80.0}}
            return web.json_response(body)
        try:
            lines = answers[request.path](_options(request))
        except Refused as error:
            return web.Response(status=error.status, body=_said(str(error), request.path))
        response = web.StreamResponse(headers={"Content-Type": "application/x-json-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        with suppress(ConnectionError):
            await self._write(request, response, lines)
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, lines: Sequence[bytes]) -> None:
        end = self.breaks
        whole = lines if end is None else lines[: end.after]
        for at in range(0, len(whole), BATCH):
            await response.write(b"".join(line + b"\n" for line in whole[at : at + BATCH]))
        if end is None:
            return
        torn = {"half": lines[end.after][:40] if end.after < len(lines) else b'{"type"', "bytes": end.data + b"\n"}
        if end.how in torn:
            await response.write(torn[end.how])
        elif end.how == "error":
            await response.write(_said("an error in the middle", request.path))
        elif request.transport is not None:
            request.transport.abort()

    def _raw_lines(self, options: Any) -> list[bytes]:
        if not isinstance(options, dict):
            raise Refused(500, "options are no object")
        since, until = self._span(options)
        exchange = options.get("exchange")
        if exchange not in OWN_NAMES:
            raise Refused(400, f"Invalid 'exchange' argument: {exchange}.")
        self.asked.append((REPLAY, options))
        lines = []
        for one in self.raw.get(exchange, ()):
            if one is None:
                lines.append(b"")
                continue
            at, message = one
            if since <= _when(at) < until and _passes(message, options.get("filters", [])):
                lines.append(b'{"localTimestamp":"%s","message":%s}' % (at.encode(), message))
        return lines

    def _normalized_lines(self, options: Any, route: str = REPLAY_NORMALIZED) -> list[bytes]:
        wanted = []
        for option in options if isinstance(options, list) else [options]:
            if not isinstance(option, dict) or option.get("exchange") not in OWN_NAMES:
                raise Refused(400, f"Invalid 'exchange' argument: {option}.")
            if not isinstance(option.get("dataTypes"), list):
                raise Refused(500, "Cannot read property 'includes' of undefined")
            wanted.append((option, *self._span(option)))
            self.asked.append((route, option))
        return [line for message, at, line in self.stored if any(_meant(message, at, *one) for one in wanted)]

    def _span(self, option: Json) -> tuple[datetime, datetime]:
        since, until = option.get("from"), option.get("to")
        if not isinstance(since, str) or not isinstance(until, str) or not _when(since) < _when(until):
            raise Refused(400, f"Invalid 'from' or 'to' argument: {since}, {until}.")
        if self.keyless and not since[8:10] == "01" <= until[8:10] <= "02":
            raise Refused(401, "API key is missing. Only the first day of each month is accessible without it.")
        return _when(since), _when(until)

    # -- websockets --------------------------------------------------------------------------------------------------------

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        return await super()._websocket(request) if self._on_second(request) else web.Response(status=404)

    def _on_second(self, request: web.Request) -> bool:
        assert request.transport is not None
        port: int = request.transport.get_extra_info("sockname")[1]
        return port == self.port + 1

    async def opened(self, connection: Connection) -> None:
        try:
            options = _options(connection.request)
            if connection.path == WS_REPLAY_NORMALIZED:
                lines = self._normalized_lines(options, connection.path)
            else:
                self._wanted[connection] = self._begin(options)
                return
        except (Refused, KeyError, TypeError, ValueError) as error:
            await connection.close(1011, f"Error: {error}")
            return
        await self._replay(connection, lines)

    async def _replay(self, connection: Connection, lines: Sequence[bytes]) -> None:
        end = self.breaks
        for at in range(0, len(lines) if end is None else end.after, BATCH):
            for line in lines[at : at + BATCH if end is None else min(at + BATCH, end.after)]:
                connection.send_frame(line)
            if not await self._drained(connection):
                await connection.close(1008, "Too much backpressure")
                return
        if end is None:
            await connection.close(1000, "WS replay-normalized finished")
        elif end.how == "cut":
            connection.abort()
        elif end.how in ("half", "bytes"):
            connection.send_frame(end.data or lines[end.after][:40])
            await connection.close(1000, "WS replay-normalized finished")
        else:
            await connection.close(end.code, "Error: an error in the middle")

    async def _drained(self, connection: Connection) -> bool:
        """Whether the client reads: waits for one that is slow."""
        until = time.monotonic() + self.patience_s
        while connection.transport.get_write_buffer_size() > BUFFERED and not connection.transport.is_closing():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.002)
        return True

    async def received(self, connection: Connection, text: str) -> None:
        """Clients have nothing to say."""

    def closed(self, connection: Connection) -> None:
        self._wanted.pop(connection, None)

    def _begin(self, options: Any) -> list[_Wanted]:
        wanted = []
        for option in options if isinstance(options, list) else [options]:
            listings = [
                listing
                for listing in self.world.listings.values()
                if EXCHANGES.get((listing.venue, listing.market, listing.kind)) == option["exchange"]
                and listing.native in option.get("symbols", [listing.native])
            ]
            if option["exchange"] not in OWN_NAMES:
                raise Refused(400, f"not supported exchange {option['exchange']}")
            wanted.append(_Wanted(option, listings, self.world.now_ns))
            self.asked.append((WS_STREAM_NORMALIZED, option))
        return wanted

    # -- the live stream ---------------------------------------------------------------------------------------------------

    def on_step(self, step: Step) -> None:
        for connection, wanted in list(self._wanted.items()):
            for each in wanted:
                if each.exchange in self.silent:
                    self._miss(connection, each, step)
                else:
                    self._tell(connection, each, step)

    def _tell(self, connection: Connection, wanted: _Wanted, step: Step) -> None:
        """What the step brought. A book that was told nothing of so far begins with its snapshot."""
        told = [made for listing in wanted.listings for made in self._of(listing, wanted, step)]
        for made in told:
            connection.publish(f"{made['type']}.{made['symbol']}", _text(made))
        if told:
            wanted.heard_ns, wanted.failed = step.now_ns, 0

    def _of(self, listing: Listing, wanted: _Wanted, step: Step) -> list[Json]:
        book, figures, key = self.world.books[listing.key], self.world.figures[listing.key], listing.key
        at = _iso(self.clock_ns(step.now_ns))
        head = {"symbol": listing.native, "exchange": wanted.exchange}
        tail = {"timestamp": at, "localTimestamp": _iso(self.clock_ns(step.now_ns) + AWAY_NS)}
        made: list[Json] = []
        if "book_change" in wanted.data_types:
            before = wanted.seqs.get(key)
            wanted.seqs[key] = book.seq
            if before is None:
                sides = [[(book.price(t), book.size(n)) for t, n in side.items()] for side in (book.bids, book.asks)]
                made.append(_book(head, tail, sides, snapshot=True))
            else:
                change = book.changes_since(before)
                if change is not None:
                    sides = [
                        [(book.price(t), book.size(n) if n else 0.0) for t, n in side.items()]
                        for side in (change.bids, change.asks)
                    ]
                    made.append(_book(head, tail, sides, snapshot=False))
        if "trade" in wanted.data_types:
            for one in step.prints:
                if one.key == key:
                    fill = {"id": str(one.number), "price": book.price(one.ticks), "amount": book.size(one.lots)}
                    made.append({"type": "trade", **head, **fill, "side": "buy" if one.buy else "sell", **tail})
        if "derivative_ticker" in wanted.data_types and step.whole_second and listing.kind != "spot":
            sides_counted = 2 if listing.venue == "BYBIT" else 1
            row: Json = {
                "lastPrice": book.price(figures.last_ticks),
                "openInterest": book.size(figures.open_interest_lots) * sides_counted,
                "indexPrice": figures.index,
                "markPrice": figures.mark,
            }
            if listing.kind == "perp":
                row |= {"fundingRate": figures.rate, "fundingTimestamp": _iso(figures.next_funding_ns)}
            made.append({"type": "derivative_ticker", **head, **row, **tail})
        if "liquidation" in wanted.data_types:
            for forced in step.forced:
                if forced.key == key:
                    fill = {"id": None, "price": book.price(forced.ticks), "amount": book.size(forced.lots)}
                    made.append(
                        {"type": "liquidation", **head, **fill, "side": "sell" if forced.position_long else "buy", **tail}
                    )
        return made

    def _miss(self, connection: Connection, wanted: _Wanted, step: Step) -> None:
        """An exchange says nothing: after its timeout the machine connects anew, in vain."""
        if step.now_ns - wanted.heard_ns < wanted.timeout_ns:
            return
        wanted.heard_ns = step.now_ns
        wanted.failed += 1
        wanted.seqs.clear()
        head: Json = {"exchange": wanted.exchange, "localTimestamp": _iso(self.clock_ns(step.now_ns) + AWAY_NS)}
        if wanted.errors:
            details = f"{wanted.exchange} real-time feed connection timed out"
            connection.publish(
                "error", _text({"type": "error", **head, "details": details, "subSequentErrorsCount": wanted.failed})
            )
        if wanted.disconnects and wanted.failed == 1:
            symbols = [listing.native for listing in wanted.listings]
            connection.publish("disconnect", _text({"type": "disconnect", **head, "symbols": symbols}))
        if wanted.failed >= ERRORS_IN_A_ROW:
            self._end(connection, f"Error: {ERRORS_IN_A_ROW} errors in a row of {wanted.exchange}")

    def _end(self, connection: Connection, why: str) -> None:
        self._wanted.pop(connection, None)
        ending = asyncio.create_task(connection.close(1011, why))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


def _book(head: Json, tail: Json, sides: Sequence[Sequence[tuple[float, float]]], *, snapshot: bool) -> Json:
    bids, asks = ([{"price": price, "amount": amount} for price, amount in side] for side in sides)
    return {"type": "book_change", **head, "isSnapshot": snapshot, "bids": bids, "asks": asks, **tail}


def _options(request: web.Request) -> Any:
    try:
        return json.loads(request.query["options"])
    except (KeyError, ValueError) as error:
        raise Refused(500, f"Unexpected token in JSON: {error}") from None


def _said(message: str, path: str) -> bytes:
    return json.dumps({"message": message, "url": path}).encode()


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _meant(message: Json, at: datetime, option: Json, since: datetime, until: datetime) -> bool:
    """Whether a stored message is one that was asked for."""
    if message["exchange"] != option["exchange"] or not since <= at < until:
        return False
    if message["type"] == "disconnect":
        return bool(option.get("withDisconnectMessages", False))
    symbols = option.get("symbols")
    return message["type"] in option["dataTypes"] and (not symbols or message["symbol"] in symbols)


def _passes(message: bytes, filters: Sequence[Json]) -> bool:
    """Whether a filter lets a venue's own message through: by the words of its channel and symbols."""
    text = message.decode().lower()
    return not filters or any(
        each["channel"].lower() in text and (not each.get("symbols") or any(s.lower() in text for s in each["symbols"]))
        for each in filters
    )


def _text(made: Json) -> str:
    return json.dumps(made, separators=(",", ":"))


def _iso(at: Ns) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{at % SECOND // 1_000:06}Z"
