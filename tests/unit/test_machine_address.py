"""Addresses of tardis-machines: what is asked of which, what is refused and how, and that only loopback is asked without TLS."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from feeds.errors import BadFrame, InputError, NoClock
from feeds.importers.instruments import shipped
from feeds.machine.address import CHANNELS, EXAMPLE, Address
from feeds.machine.venue import EXCHANGE_OF, machine_venues
from feeds.model import SECOND
from feeds.venues import tardis

APRIL = 1_554_076_800 * SECOND
SPAN = "from=2019-04-01T00:00Z&to=2019-04-01T00:05Z"


def options(url: str) -> Any:
    return json.loads(parse_qs(urlsplit(url).query)["options"][0])


def test_the_example_that_errors_show_is_sound() -> None:
    address = Address.of(EXAMPLE)
    assert (address.host, address.port, address.path) == ("localhost", 8000, "/replay-normalized")
    assert address.symbols == {"bitmex": ("XBTUSD",), "deribit": ("BTC-PERPETUAL",)}
    assert (address.from_ns, address.to_ns) == (APRIL, APRIL + 300 * SECOND)
    assert address.name == "tardis-bitmex-deribit-20190401-0000"


def test_several_exchanges_are_one_question_with_an_array_and_one_is_an_object() -> None:
    (url,) = Address.of(EXAMPLE).urls().values()
    assert url.startswith("http://localhost:8000/replay-normalized?options=")
    every = ["book_change", "trade", "derivative_ticker", "liquidation"]
    own = {
        "from": "2019-04-01T00:00:00.000Z",
        "to": "2019-04-01T00:05:00.000Z",
        "dataTypes": every,
        "withDisconnectMessages": True,
    }
    assert options(url) == [
        {"exchange": "bitmex", "symbols": ["XBTUSD"], **own},
        {"exchange": "deribit", "symbols": ["BTC-PERPETUAL"], **own},
    ]
    (url,) = Address.of(f"tardis://127.0.0.1:9000/ws-replay-normalized?bitmex=&dataTypes=trade&{SPAN}").urls().values()
    assert url.startswith("ws://127.0.0.1:9001/ws-replay-normalized?")
    assert options(url) == {"exchange": "bitmex", **own, "dataTypes": ["trade"]}  # no symbols: all


def test_a_raw_replay_is_asked_for_exchange_by_exchange_in_the_venues_channels() -> None:
    urls = Address.of(f"tardis://localhost/replay?bitmex=XBTUSD&deribit=&{SPAN}").urls()
    assert list(urls) == ["bitmex", "deribit"]
    assert options(urls["bitmex"])["filters"] == [{"channel": name, "symbols": ["XBTUSD"]} for name in CHANNELS["bitmex"]]
    assert options(urls["deribit"])["filters"] == [{"channel": name} for name in CHANNELS["deribit"]]
    (url,) = Address.of(f"tardis://localhost/replay?bitmex=XBTUSD&channels=trade&{SPAN}").urls().values()
    assert options(url)["filters"] == [{"channel": "trade", "symbols": ["XBTUSD"]}]


@pytest.mark.parametrize(
    ("host", "http", "websocket"),
    [
        ("localhost:8000", "http://localhost:8000/", "ws://localhost:8001/"),
        ("127.0.0.9:80", "http://127.0.0.9:80/", "ws://127.0.0.9:81/"),
        ("[::1]", "http://[::1]:8000/", "ws://[::1]:8001/"),
        ("machine.example", "https://machine.example:8000/", "wss://machine.example:8001/"),
        ("10.0.0.7:443", "https://10.0.0.7:443/", "wss://10.0.0.7:444/"),
        ("[2001:db8::1]", "https://[2001:db8::1]:8000/", "wss://[2001:db8::1]:8001/"),
        ("localhost.example", "https://localhost.example:8000/", "wss://localhost.example:8001/"),
    ],
)
def test_only_this_machine_itself_is_spoken_to_without_tls(host: str, http: str, websocket: str) -> None:
    (url,) = Address.of(f"tardis://{host}/?bitmex=XBTUSD&{SPAN}").urls().values()
    assert url.startswith(http)
    (url,) = Address.of(f"tardis://{host}/ws-replay-normalized?bitmex=XBTUSD&{SPAN}").urls().values()
    assert url.startswith(websocket)
    assert Address.of(f"tardis://{host}/ws-stream-normalized?bitmex=").stream_url("bitmex", (), ()).startswith(websocket)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"tardis:///?bitmex=XBTUSD&{SPAN}", "must be tardis://HOST:PORT/"),
        (f"tardis://me:KEY@localhost/?bitmex=XBTUSD&{SPAN}", "a user or a key has no place"),
        (f"tardis://localhost:99999/?bitmex=XBTUSD&{SPAN}", "out of range"),
        (f"tardis://localhost:x/?bitmex=XBTUSD&{SPAN}", "could not be cast"),
        (f"tardis://localhost/replays?bitmex=XBTUSD&{SPAN}", "there is no /replays; there are /replay-normalized"),
        (f"tardis://localhost/?{SPAN}", "it names no exchange"),
        (f"tardis://localhost/?kraken=XBTUSD&{SPAN}", "kraken is neither an exchange"),
        (f"tardis://localhost/?bitmex=XBTUSD&bitmex=ETHUSD&{SPAN}", "bitmex stands in it twice"),
        (f"tardis://localhost/?bitmex=XBT%20USD&{SPAN}", "'XBT USD' is no symbol"),
        (f"tardis://localhost/?bitmex=XBTUSD&dataTypes=quote&{SPAN}", "dataTypes quote are not read"),
        (f"tardis://localhost/?bitmex=XBTUSD&channels=trade&{SPAN}", "channels are of /replay"),
        ("tardis://localhost/?bitmex=XBTUSD", "needs from and to"),
        ("tardis://localhost/?bitmex=XBTUSD&from=2019-04-02&to=2019-04-01", "needs from and to, the earlier first"),
        ("tardis://localhost/?bitmex=XBTUSD&from=soon&to=2019-04-01", "from=soon is no time"),
        ("tardis://localhost/?bitmex=XBTUSD&from=0001-01-01&to=2019-04-01", "from=0001-01-01 is no time"),
        (f"tardis://localhost/ws-stream-normalized?bitmex=XBTUSD&{SPAN}", "live messages have no from and to"),
    ],
)
def test_an_address_that_is_none_is_one_line_with_an_example(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Address.of(text)
    said = str(caught.value)
    assert "\n" not in said
    assert "KEY" not in said
    assert said.endswith(EXAMPLE)


def test_times_without_a_zone_are_utc_and_an_offset_is_taken() -> None:
    one = Address.of("tardis://localhost/?bitmex=&from=2019-04-01&to=2019-04-01T02:00+01:00")
    assert (one.from_ns, one.to_ns) == (APRIL, APRIL + 3600 * SECOND)


def test_every_listed_instrument_of_a_carried_exchange_is_found_again_in_a_stream() -> None:
    found = [each for each in shipped() if (each.venue, each.market, each.kind) in EXCHANGE_OF]
    assert len(found) > 20
    for each in found:
        exchange = EXCHANGE_OF[each.venue, each.market, each.kind]
        assert tardis.place_of(exchange, each.native) == (each.venue, each.market)


def test_a_live_address_becomes_the_venues_that_it_names_and_no_other() -> None:
    address = Address.of("tardis://localhost/ws-stream-normalized?deribit=BTC-PERPETUAL&bybit=BTCUSDT,BTCUSD&dataTypes=trade")
    venues = machine_venues(address)
    assert list(venues) == ["BYBIT", "DERIBIT"]
    assert [fetch.market for fetch in venues["BYBIT"].catalogue()] == ["linear", "inverse"]
    assert [each.id for each in venues["BYBIT"].instruments({"health:linear": b'{"status":"Healthy"}'})] == [
        "BYBIT:BTC/USDT:USDT"
    ]


def test_a_machines_clock_is_never_taken_for_a_venues() -> None:
    """A venue's clock by which lags are judged would be off by what is between the two."""
    venue = machine_venues(Address.of("tardis://localhost/ws-stream-normalized?bitmex="))["BITMEX"]
    with pytest.raises(NoClock):
        venue.server_ns(b'{"status":"Healthy","timestampMs":1571826780000}')
    with pytest.raises(BadFrame, match="it is Unhealthy"):
        venue.server_ns(b'{"status":"Unhealthy"}')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tardis://localhost/ws-stream-normalized?bitmex=XBTUSD,XBTEUR", "no instrument is known for XBTEUR of bitmex"),
        (f"tardis://localhost/?bitmex=XBTUSD&{SPAN}", "has an end; live messages are at /ws-stream-normalized"),
    ],
)
def test_a_symbol_that_nobody_knows_or_a_replay_is_no_live_source(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        machine_venues(Address.of(text))
