"""Importers: each format's lines become the records they stand for, ordered by time; what is bad is named and left out."""

import gzip
import json
import os
import resource
import shutil
from collections.abc import Iterable
from errno import ENOSPC
from pathlib import Path

import msgspec
import pytest

from feeds import symbols
from feeds.errors import InputError
from feeds.hub import Hub
from feeds.importers import ImportReport, import_capture
from feeds.importers.instruments import shipped
from feeds.importers.lines import seconds_ns
from feeds.importers.places import place_of
from feeds.model import Channel, Contract, Instrument, Kind, Stream
from feeds.recording import LOST, Answer, Closed, Opened, Record, Recording, RecordingFailed, decode, encode
from feeds.venue import Checkpoint, Listener
from feeds.venues import VENUES

AT = 1_723_161_253_000_000_000
MS = 1_000_000
SNAPSHOT = '{"lastUpdateId":10,"bids":[["100.0","1"]],"asks":[["101.0","2"]]}'


def depth(symbol: str = "btcusdt", first: int = 11, last: int = 12, **more: int) -> str:
    data = {
        "e": "depthUpdate",
        "E": 1723161254000,
        "s": symbol.upper(),
        "U": first,
        "u": last,
        **more,
        "b": [["100.0", "3"]],
        "a": [],
    }
    return json.dumps({"stream": f"{symbol}@depth@100ms", "data": data}, separators=(",", ":"))


def trade(symbol: str = "btcusdt", number: int = 1) -> str:
    data = {"e": "trade", "s": symbol.upper(), "t": number, "p": "100.5", "q": "1", "m": True, "T": 1}
    return json.dumps({"stream": f"{symbol}@trade", "data": data}, separators=(",", ":"))


def a_lines(*messages: tuple[int, str]) -> bytes:
    return b"".join(f"{at} {message}\n".encode() for at, message in messages)


def c_lines(*entries: dict[str, object]) -> bytes:
    header = {"t": "header", "format": 2, "exchange": "BYBIT"}
    return b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in (header, *entries))


def bybit(topic: str, number: int = 1) -> str:
    return json.dumps(
        {"topic": topic, "ts": 1, "type": "snapshot", "data": {"s": topic.rpartition(".")[2], "b": [], "a": [], "u": number}}
    )


def put(path: Path, content: bytes, *, packed: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def run(tmp_path: Path, *paths: Path, **options: object) -> tuple[ImportReport, list[Record]]:
    directory = tmp_path / "rec"
    report = import_capture(list(paths), directory, venues=VENUES, **options)  # type: ignore[arg-type]
    recording = Recording(directory)
    records = list(recording.records())
    assert recording.damage == []
    assert [record.recv_ns for record in records] == sorted(record.recv_ns for record in records)
    return report, records


def short(records: Iterable[Record]) -> list[str]:
    return [f"{record.kind} {record.conn}" for record in records]


def opened(records: Iterable[Record]) -> dict[str, Opened]:
    values = {record.conn: decode("o", record.payload) for record in records if record.kind == "o"}
    return {conn: value for conn, value in values.items() if isinstance(value, Opened)}


def instruments(records: Iterable[Record]) -> list[Instrument]:
    return [one for record in records if record.kind == "i" for one in msgspec.json.decode(record.payload, type=list[Instrument])]


# hftbacktest


@pytest.mark.parametrize("packed", [True, False])
def test_a_collector_file_becomes_one_connection(tmp_path: Path, packed: bool) -> None:
    path = put(
        tmp_path / "x", a_lines((AT, trade()), (AT + 1, SNAPSHOT), (AT + 2, depth()), (AT + 2, trade(number=2))), packed=packed
    )
    report, records = run(tmp_path, path)
    assert short(records) == [
        "i -",
        "o binance-spot",
        "t binance-spot",
        "h binance-spot",
        "t binance-spot",
        "t binance-spot",
        "c binance-spot",
    ]
    assert [record.recv_ns - AT for record in records] == [0, 0, 0, 1, 2, 2, 2]
    assert records[2].payload == trade().encode()
    assert decode("h", records[3].payload) == Answer("depth:BTCUSDT", "", 200, SNAPSHOT)
    assert decode("c", records[-1].payload) == Closed(0, "end of the capture")
    subscriptions = [("BINANCE:BTC/USDT", "trade"), ("BINANCE:BTC/USDT", "book")]
    assert opened(records)["binance-spot"] == Opened("BINANCE", "spot", "", subscriptions)
    assert (report.frames, report.answers, report.start_ns, report.end_ns) == (3, 1, AT, AT + 2)
    assert [(one.topic, one.stream, one.frames) for one in report.streams] == [
        ("btcusdt@trade", Stream("BINANCE:BTC/USDT", Channel.TRADE), 2),
        ("btcusdt@depth@100ms", Stream("BINANCE:BTC/USDT", Channel.BOOK), 1),
    ]


def test_receive_times_in_us_and_ms_are_not_taken_for_ns(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT // MS, depth()), (AT // 1000 + 7, depth()), (AT + 9000, depth())))
    assert [record.recv_ns - AT for record in run(tmp_path, path)[1] if record.kind == "t"] == [0, 7000, 9000]


QUOTE = '{"stream":"btcusdt@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}'
FUTURES_QUOTE = QUOTE.replace('{"u"', '{"e":"bookTicker","u"')


@pytest.mark.parametrize(
    ("message", "market"),
    [
        (depth(), "spot"),
        (depth(pu=9), "usdm"),
        (depth("btcusd_perp", pu=9), "coinm"),
        (depth("btcusd_240927", pu=9), "coinm"),
        (depth("btcusdt_240927", pu=9), "usdm"),
        (depth("btcusdt_240927", pu=9, st=1), "usdm"),
        (QUOTE, "spot"),
        (FUTURES_QUOTE, "usdm"),
        (FUTURES_QUOTE.replace("BTCUSDT", "BTCUSD_PERP"), "coinm"),
        (trade(), "spot"),
        (trade().replace('"m":true', '"X":"MARKET","m":true'), "usdm"),
    ],
)
def test_the_messages_tell_the_market(tmp_path: Path, message: str, market: str) -> None:
    report, _ = run(tmp_path, put(tmp_path / "x", a_lines((AT, message))))
    assert [connection.market for connection in report.connections] == [market]


def test_a_depth_update_outweighs_what_came_before_it(tmp_path: Path) -> None:
    report, _ = run(tmp_path, put(tmp_path / "x", a_lines((AT, trade()), (AT + 1, depth(pu=9)))))
    assert report.connections[0].market == "usdm"


def test_the_user_may_say_the_market(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT, depth())))
    report, records = run(tmp_path, path, market="usdm")
    assert report.connections[0].market == "usdm"
    assert opened(records)["binance-usdm"].subscriptions == [("BINANCE:BTC/USDT:USDT", "book")]
    with pytest.raises(InputError, match="none of Binance's: spot, usdm, coinm"):
        import_capture([path], tmp_path / "other", venues=VENUES, market="linear")
    assert not (tmp_path / "other").exists()


def test_messages_that_do_not_tell_the_market_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT, '{"result":null,"id":1}')))
    with pytest.raises(InputError, match="--market"):
        run(tmp_path, path)


def test_files_of_one_market_that_follow_each_other_are_one_connection(tmp_path: Path) -> None:
    second = put(tmp_path / "b", a_lines((AT + 10, depth(first=13, last=14))))
    first = put(tmp_path / "c", a_lines((AT, depth())))
    report, records = run(tmp_path, second, first)
    assert [connection.files for connection in report.connections] == [("c", "b")]
    assert short(records) == ["i -", "o binance-spot", "t binance-spot", "t binance-spot", "c binance-spot"]


def test_files_of_one_market_at_the_same_time_are_two_connections(tmp_path: Path) -> None:
    btc = [put(tmp_path / f"btc{day}", a_lines((AT + day * 100, depth()), (AT + day * 100 + 50, depth()))) for day in (0, 1)]
    eth = [
        put(tmp_path / f"eth{day}", a_lines((AT + day * 100 + 1, depth("ethusdt")), (AT + day * 100 + 40, SNAPSHOT)))
        for day in (0, 1)
    ]
    report, records = run(tmp_path, *btc, *eth)
    assert {one.conn: one.files for one in report.connections} == {
        "binance-spot": ("btc0", "btc1"),
        "binance-spot-2": ("eth0", "eth1"),
    }
    keys = [(record.conn, value.key) for record in records if isinstance(value := decode_if_answer(record), Answer)]
    assert keys == [("binance-spot-2", "depth:ETHUSDT")] * 2


def decode_if_answer(record: Record) -> object:
    return decode("h", record.payload) if record.kind == "h" else None


def test_a_snapshot_that_fits_two_symbols_is_not_guessed(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT, depth()), (AT + 1, SNAPSHOT), (AT + 2, depth("ethusdt"))))
    with pytest.raises(InputError, match="line 2: a snapshot that names no symbol"):
        run(tmp_path, path)


def test_a_snapshot_before_the_first_frame_finds_its_connection_open(tmp_path: Path) -> None:
    _, records = run(tmp_path, put(tmp_path / "x", a_lines((AT, SNAPSHOT), (AT + 1, depth()))))
    assert short(records) == ["i -", "o binance-spot", "h binance-spot", "t binance-spot", "c binance-spot"]


def test_two_connections_with_one_stream_do_not_feed_one_book(tmp_path: Path) -> None:
    paths = [put(tmp_path / name, a_lines((AT + number, depth()), (AT + 5, depth()))) for number, name in enumerate("xy")]
    report, records = run(tmp_path, *paths)
    assert [len(one.subscriptions) for one in opened(records).values()] == [1, 0]
    assert report.frames == 4
    assert any("binance-spot-2 btcusdt@depth@100ms: another connection" in note for note in report.notes)


def test_equal_times_stand_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    usdm = put(tmp_path / "u", a_lines((AT, depth(pu=1, last=1)), (AT, depth(pu=1, last=2))))
    spot = put(tmp_path / "s", a_lines((AT, depth(last=3)), (AT, depth(last=4))))
    updates = [msgspec.json.decode(record.payload)["data"]["u"] for record in run(tmp_path, usdm, spot)[1] if record.kind == "t"]
    assert updates == [1, 2, 3, 4]


# damage


def test_bad_lines_are_left_out_and_named(tmp_path: Path) -> None:
    bad = [b"garbage\n", b"\n", b"123 {}\n", f"{AT} {depth()[:-9]}\n".encode(), f"{AT} {{}}\n".encode(), b"\xff\xfe\n"]
    path = put(tmp_path / "day.gz", b"".join([a_lines((AT, depth())), *bad, a_lines((AT + 1, depth()))]))
    report, records = run(tmp_path, path)
    assert [record.recv_ns - AT for record in records if record.kind == "t"] == [0, 1]
    assert report.damage == (
        "day.gz line 2: it does not begin with a receive time in ms, us or ns; left out",
        "day.gz line 4: it does not begin with a receive time in ms, us or ns; left out",
        "day.gz line 5: it holds no whole message; left out",
        "day.gz line 6: it holds neither a stream's message nor a snapshot; left out",
        "day.gz line 7: it does not begin with a receive time in ms, us or ns; left out",
    )


def test_a_cut_off_gzip_file_keeps_everything_before_the_cut(tmp_path: Path) -> None:
    content = a_lines(*((AT + number, depth(first=number * 7919, last=number * 7919 + 1)) for number in range(2000)))
    whole = gzip.compress(content)
    path = tmp_path / "day.gz"
    path.write_bytes(whole[: len(whole) // 2])
    report, records = run(tmp_path, path)
    assert 800 < report.frames < 1200
    assert [record.payload for record in records if record.kind == "t"] == [
        line.partition(b" ")[2] for line in content.split(b"\n")[: report.frames]
    ]
    assert report.damage[0] == "day.gz: the gzip file is cut off; everything before that is kept"
    assert len(report.damage) <= 2


def test_corrupt_gzip_data_keeps_what_came_before(tmp_path: Path) -> None:
    blocks = [gzip.compress(a_lines((AT + number, depth()))) for number in range(3)]
    path = tmp_path / "day.gz"
    path.write_bytes(blocks[0] + blocks[1] + b"\x1f\x8b\x08\x00corrupt!" + blocks[2])
    report, _ = run(tmp_path, path)
    assert (report.frames, report.damage) == (2, ("day.gz: the gzip data is corrupt; everything before that is kept",))


def test_a_capture_in_several_gzip_members_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "day.gz"
    path.write_bytes(b"".join(gzip.compress(a_lines((AT + number, depth()))) for number in range(5)) + b"\0" * 512)
    report, _ = run(tmp_path, path)
    assert (report.frames, report.damage) == (5, ())


# cryptofeed


URL = "wss://dstream.binance.com/stream?streams=btcusd_perp@depth@100ms/ethusd_perp@bookTicker"
PERP_DEPTH = depth("btcusd_perp", pu=9)
COINM_INFO = json.dumps(
    {
        "symbols": [
            {
                "symbol": symbol,
                "contractStatus": "TRADING",
                "contractType": "PERPETUAL",
                "deliveryDate": 4133404800000,
                "contractSize": size,
                "marginAsset": symbol[:3],
                "baseAsset": symbol[:3],
                "quoteAsset": "USD",
                "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.5"}, {"filterType": "LOT_SIZE", "stepSize": "1"}],
            }
            for symbol, size in (("BTCUSD_PERP", 100), ("ETHUSD_PERP", 10), ("XRPUSD_PERP", 10))
        ]
    }
)


def raw_capture(tmp_path: Path) -> tuple[Path, Path]:
    ws = f'{URL} <-> 1723161252.5\n{URL} <- 1723161252.6: {{"method":"SUBSCRIBE","params":["btcusd_perp@trade"],"id":1}}\n'
    ws += f"1723161253.000000001: {PERP_DEPTH}\n1723161253.25: pong\n\n1723161253.5: {PERP_DEPTH}\n"
    base = "https://dapi.binance.com/dapi/v1"
    rest = f"{base}/depth?symbol=BTCUSD_PERP&limit=1000 -> 1723161253.1: {SNAPSHOT}\n"
    rest += (
        f'{base}/exchangeInfo -> 1723161253.7: {COINM_INFO}\n{base}/time -> 1723161253.2: {{}}\nconfiguration: {{"l2_book":[]}}\n'
    )
    return put(tmp_path / "in/ws.txt.gz", ws.encode()), put(tmp_path / "in/rest.txt.gz", rest.encode())


def test_a_raw_capture_with_its_rest_file_becomes_a_connection(tmp_path: Path) -> None:
    ws, rest = raw_capture(tmp_path)
    report, records = run(tmp_path, ws, rest)
    conn = "binance-coinm"
    assert short(records) == ["i -", "h -", f"o {conn}", f"t {conn}", f"h {conn}", "h -", f"t {conn}", f"t {conn}", f"c {conn}"]
    assert records[3].recv_ns == AT + 1
    assert records[4].recv_ns == AT + 100 * MS
    assert decode("h", records[4].payload) == Answer(
        "depth:BTCUSD_PERP", "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=1000", 200, SNAPSHOT
    )
    assert decode("h", records[5].payload) == Answer("rest:/dapi/v1/time", "/dapi/v1/time", 200, "{}")
    assert records[6].payload == b"pong"
    assert report.damage == ()
    assert (report.frames, report.answers) == (3, 3)


def test_subscribed_streams_that_stayed_silent_are_subscribed(tmp_path: Path) -> None:
    _, records = run(tmp_path, *raw_capture(tmp_path))
    assert opened(records)["binance-coinm"] == Opened(
        "BINANCE",
        "coinm",
        "wss://dstream.binance.com/stream",
        [("BINANCE:BTC/USD:BTC", "book"), ("BINANCE:ETH/USD:ETH", "touch"), ("BINANCE:BTC/USD:BTC", "trade")],
    )


def test_recorded_instruments_stand_at_the_head_and_only_those_in_use(tmp_path: Path) -> None:
    report, records = run(tmp_path, *raw_capture(tmp_path))
    assert [(one.native, one.tick, one.contract_size, one.assumed) for one in instruments(records[:1])] == [
        ("BTCUSD_PERP", 0.5, 100.0, False),
        ("ETHUSD_PERP", 0.5, 10.0, False),
    ]
    assert list(report.instruments) == instruments(records)
    assert report.notes == ()


def test_bad_lines_of_a_raw_capture_are_named(tmp_path: Path) -> None:
    lines = [
        f"1723161253.0: {PERP_DEPTH}",
        f"{URL} <-> 1723161253.1",
        "1723161253.2: {torn",
        "12: {}",
        f"1723161253.3: {PERP_DEPTH}",
    ]
    lines += ["https://dapi.binance.com/dapi/v1/depth?symbol=BTCUSD_PERP -> 1723161253.4: {torn"]
    report, _ = run(tmp_path, put(tmp_path / "ws.txt", "\n".join(lines).encode(), packed=False))
    assert report.frames == 1
    assert [entry.split(":")[0] for entry in report.damage] == [
        "ws.txt line 1",
        "ws.txt line 3",
        "ws.txt line 4",
        "ws.txt line 6",
    ]


LINEAR, SPOT = "wss://stream.bybit.com/v5/public/linear", "wss://stream.bybit.com/v5/public/spot"


def entry(kind: str, conn: str, ts: float, **more: object) -> dict[str, object]:
    return {"t": kind, "conn": conn, "ts": ts, **more}


def test_connections_that_follow_each_other_in_a_file_are_merged_by_time(tmp_path: Path) -> None:
    content = c_lines(
        entry("connect", "W.1", 1723161252.5, addr=LINEAR),
        entry("send", "W.1", 1723161252.6, addr=LINEAR, data='{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}'),
        entry("recv", "W.1", 1723161253.0, data=bybit("orderbook.50.BTCUSDT", 1)),
        entry("recv", "W.1", 1723161253.4, data=bybit("orderbook.50.BTCUSDT", 3)),
        entry("recv", "W.1", 1723161253.3, data=bybit("orderbook.50.BTCUSDT", 2)),
        entry("connect", "W.2", 1723161252.5, addr=SPOT),
        entry("recv", "W.2", 1723161253.1, data=bybit("orderbook.50.BTCUSDT", 4)),
        entry("recv", "W.2", 1723161253.2, data=bybit("kline.1.BTCUSDT", 5)),
    )
    report, records = run(tmp_path, put(tmp_path / "x.jsonl.gz", content))
    assert short(records) == [
        "i -",
        "o bybit-linear",
        "t bybit-linear",
        "o bybit-spot",
        "t bybit-spot",
        "t bybit-spot",
        "t bybit-linear",
        "t bybit-linear",
        "c bybit-linear",
        "c bybit-spot",
    ]
    assert [msgspec.json.decode(record.payload)["data"]["u"] for record in records if record.kind == "t"] == [1, 4, 5, 2, 3]
    assert {record.recv_ns for record in records if record.kind == "c"} == {AT + 400 * MS}
    assert any("bybit-spot kline.1.BTCUSDT: arbtop does not read such channels" in note for note in report.notes)


def test_a_reconnect_within_a_capture_closes_and_opens(tmp_path: Path) -> None:
    content = c_lines(
        entry("connect", "W.1", 1723161252.5, addr=LINEAR),
        entry("recv", "W.1", 1723161253.0, data=bybit("orderbook.50.BTCUSDT")),
        entry("connect", "W.1", 1723161253.1, addr=LINEAR),
        entry("recv", "W.1", 1723161253.2, data=bybit("orderbook.50.BTCUSDT")),
    )
    _, records = run(tmp_path, put(tmp_path / "x.jsonl", content))
    assert [record.kind for record in records] == ["i", "o", "t", "c", "o", "t", "c"]
    assert decode("c", records[3].payload) == Closed(LOST, "reconnected")


def test_a_message_with_line_feeds_survives(tmp_path: Path) -> None:
    pretty = json.dumps(json.loads(bybit("orderbook.50.BTCUSDT")), indent=2)
    content = c_lines(entry("connect", "W.1", 1723161252.5, addr=LINEAR), entry("recv", "W.1", 1723161253.0, data=pretty))
    _, records = run(tmp_path, put(tmp_path / "x.jsonl", content))
    assert [record.payload for record in records if record.kind == "t"] == [pretty.encode()]


def test_bad_lines_of_a_capture_are_named(tmp_path: Path) -> None:
    good = entry("recv", "W.1", 1723161253.0, data=bybit("orderbook.50.BTCUSDT"))
    content = c_lines(
        good,
        entry("connect", "W.1", 1723161252.5, addr=LINEAR),
        entry("recv", "W.1", 17.0, data="{}"),
        entry("recv", "W.1", 1723161253.0, data="{torn"),
        entry("gossip", "W.1", 1723161253.0),
        good,
    )
    report, _ = run(tmp_path, put(tmp_path / "x.jsonl", content + b'{"t":"recv","conn"', packed=False))
    assert report.frames == 1
    assert [entry.split(":")[0].removeprefix("x.jsonl line ") for entry in report.damage] == ["2", "4", "5", "6", "8"]


# instruments


def test_symbols_without_any_instrument_are_kept_and_named(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT, depth()), (AT + 1, depth("pepeusdt"))))
    report, records = run(tmp_path, path)
    assert len([record for record in records if record.kind == "t"]) == 2
    assert [one.native for one in report.instruments] == ["BTCUSDT"]
    assert any(note.startswith("binance-spot pepeusdt@depth@100ms: no instrument is known") for note in report.notes)
    assert any("ASSUMED" in note and "BINANCE:BTC/USDT" in note for note in report.notes)


PEPE = Instrument(
    id="BINANCE:PEPE/USDT",
    venue="BINANCE",
    market="spot",
    native="PEPEUSDT",
    base="PEPE",
    quote="USDT",
    kind=Kind.SPOT,
    tick=1e-8,
    lot=1.0,
)


def test_the_users_file_goes_before_the_shipped_list(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT, depth()), (AT + 1, depth("pepeusdt"))))
    btc = msgspec.structs.replace(PEPE, id="BINANCE:BTC/USDT", native="BTCUSDT", base="BTC", tick=0.25)
    own = put(tmp_path / "own.json", encode([PEPE, btc]), packed=False)
    report, _ = run(tmp_path, path, instruments=own)
    assert [(one.id, one.tick, one.assumed) for one in report.instruments] == [
        ("BINANCE:BTC/USDT", 0.25, False),
        ("BINANCE:PEPE/USDT", 1e-8, False),
    ]
    assert report.notes == ()


def test_a_raw_answer_serves_as_the_users_file_and_is_not_taken_for_spot(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines((AT, depth("btcusd_perp", pu=9)), (AT + 1, depth("xrpusd_perp", pu=9))))
    own = put(tmp_path / "own.json", COINM_INFO.encode(), packed=False)
    report, _ = run(tmp_path, path, instruments=own)
    assert [(one.id, one.contract, one.contract_size) for one in report.instruments] == [
        ("BINANCE:BTC/USD:BTC", Contract.INVERSE, 100.0),
        ("BINANCE:XRP/USD:XRP", Contract.INVERSE, 10.0),
    ]


@pytest.mark.parametrize("content", [b"not json", b"[]x", b'[{"id":"BINANCE:X"}]', b'{"symbols":[]}'])
def test_an_unusable_instruments_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "x", a_lines((AT, depth())))
    own = put(tmp_path / "own.json", content, packed=False)
    with pytest.raises(InputError, match=r"own\.json: neither a list of instruments") as caught:
        run(tmp_path, path, instruments=own)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "rec").exists()
    with pytest.raises(InputError, match="cannot be read"):
        run(tmp_path, path, instruments=tmp_path / "absent.json")


def test_the_shipped_list_names_every_instrument_as_the_rest_of_the_program_does() -> None:
    found = shipped()
    assert len({one.id for one in found}) == len(found)
    assert len({(one.venue, one.market, one.native) for one in found}) == len(found)
    for one in found:
        assert one.assumed
        assert one.id == symbols.instrument_id(one.venue, one.base, one.quote, one.settle, one.expiry_ns)
        assert (one.contract is Contract.INVERSE) == (bool(one.settle) and one.settle == one.base)
    wanted = {
        ("BINANCE", "spot"),
        ("BINANCE", "usdm"),
        ("BINANCE", "coinm"),
        ("BYBIT", "spot"),
        ("BYBIT", "linear"),
        ("BYBIT", "inverse"),
    }
    for venue, market in sorted(wanted):
        assert {"BTC", "ETH", "SOL"} <= {one.base for one in found if (one.venue, one.market) == (venue, market)}


# Tardis, raw


def raw_lines(*messages: tuple[str, str] | None, exchange: str = "") -> bytes:
    """Lines as tardis-machine sends them, or with the exchange in front as arbtop keeps them; None is a lost connection."""
    head = f'"exchange":"{exchange}",' if exchange else ""
    made = (
        "" if one is None else f'{{{head}"localTimestamp":"2024-08-08T23:54:{one[0]}Z","message":{one[1]}}}' for one in messages
    )
    return "".join(f"{line}\n" for line in made).encode()


BITMEX_ROW = '{"symbol":"XBTUSD","id":8799999900,"side":"Buy","size":5,"price":1000}'
BITMEX_BOOK = f'{{"table":"orderBookL2","action":"partial","data":[{BITMEX_ROW}]}}'
DERIBIT_QUOTE = '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"quote.BTC-PERPETUAL","data":{}}}'
OKX_TRADE = '{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[]}'


@pytest.mark.parametrize(
    ("message", "exchange", "conn", "url"),
    [
        (BITMEX_BOOK, "", "bitmex-public", "tardis-raw://bitmex/public"),
        (DERIBIT_QUOTE, "", "deribit-public", "tardis-raw://deribit/public"),
        (OKX_TRADE, "", "okx-public", "tardis-raw://okex/public"),
        (bybit("tickers.BTCUSDT"), "", "bybit-linear", "tardis-raw://bybit/linear"),
        (bybit("tickers.BTCUSD"), "", "bybit-inverse", "tardis-raw://bybit/inverse"),
        (bybit("publicTrade.BTCUSDT"), "bybit-spot", "bybit-spot", "tardis-raw://bybit-spot/spot"),
        (depth(), "binance", "binance-spot", "tardis-raw://binance/spot"),
        (depth(pu=9), "binance-futures", "binance-usdm", "tardis-raw://binance-futures/usdm"),
        (depth("btcusd_perp", pu=9), "binance-delivery", "binance-coinm", "tardis-raw://binance-delivery/coinm"),
    ],
)
def test_a_raw_line_of_tardis_finds_its_venue_and_stays_as_it_was(
    tmp_path: Path, message: str, exchange: str, conn: str, url: str
) -> None:
    path = put(tmp_path / "x", raw_lines(("12.3456789", message), exchange=exchange))
    report, records = run(tmp_path, path)
    assert report.damage == ()
    assert [(one.conn, one.url, one.frames) for one in report.connections] == [(conn, url, 1)]
    (frame,) = [record for record in records if record.kind == "t"]
    assert (frame.conn, frame.payload.decode()) == (conn, message)
    assert frame.recv_ns == 1_723_161_252_345_679_000  # to the microsecond


def test_raw_lines_of_binance_alone_do_not_tell_the_market(tmp_path: Path) -> None:
    path = put(tmp_path / "x", raw_lines(("12", depth(pu=9))))
    with pytest.raises(InputError, match="--market"):
        import_capture([path], tmp_path / "other", venues=VENUES)
    report, _ = run(tmp_path, path, market="usdm")
    assert [one.conn for one in report.connections] == ["binance-usdm"]


@pytest.mark.parametrize("exchange", ["binance", "binance-futures", "binance-delivery"])
def test_the_snapshot_channel_that_tardis_made_up_is_the_answer_that_a_book_waits_for(tmp_path: Path, exchange: str) -> None:
    symbol = "btcusd_perp" if exchange == "binance-delivery" else "btcusdt"
    more = {} if exchange == "binance" else {"pu": 9}
    made_up = f'{{"stream":"{symbol}@depthSnapshot","generated":true,"data":{SNAPSHOT}}}'
    path = put(tmp_path / "x", raw_lines(("12", depth(symbol, 8, 9, **more)), ("12.1", made_up), exchange=exchange))
    _, records = run(tmp_path, path)
    hub = Hub(VENUES, Silent())  # type: ignore[abstract]  # empty bodies of a protocol: nothing is missing
    for record in records:
        if record.kind != "c":
            hub.handle(record)
    (connection,) = hub.connections.values()
    (book,) = connection.session.books.values()
    assert book.levels(9) == ([(100.0, 1.0)], [(101.0, 2.0)])


def test_a_blank_line_of_a_raw_capture_is_a_lost_connection(tmp_path: Path) -> None:
    path = put(tmp_path / "x", raw_lines(("12", BITMEX_BOOK), None, ("14", BITMEX_BOOK)))
    _, records = run(tmp_path, path)
    assert short(records)[1:] == [f"{kind} bitmex-public" for kind in "otcotc"]
    lost = decode("c", records[3].payload)
    assert isinstance(lost, Closed)
    assert (lost.code, records[3].recv_ns) == (LOST, records[2].recv_ns)


def test_bad_lines_of_a_raw_capture_of_tardis_are_named(tmp_path: Path) -> None:
    good = raw_lines(("12", BITMEX_BOOK))
    kraken = good.replace(b'{"local', b'{"exchange":"kraken","local')
    path = put(tmp_path / "x", good + good[:40] + b"\n" + kraken + good.replace(b"2024-", b"1924-") + good)
    report, records = run(tmp_path, path)
    assert report.damage == (
        "x line 2: it is no whole message of a venue with its time; left out",
        "x line 3: its exchange kraken is none that arbtop knows; left out",
        "x line 4: it is no whole message of a venue with its time; left out",
    )
    assert sum(record.kind == "t" for record in records) == 2


def test_a_message_in_no_venues_form_is_named(tmp_path: Path) -> None:
    path = put(tmp_path / "x", raw_lines(("12", '{"hello":1}'), ("13", BITMEX_BOOK)))
    assert run(tmp_path, path)[0].damage == ("x line 1: it does not tell its venue; left out",)


# refusals


def test_a_venue_without_an_adapter_is_refused_by_name(tmp_path: Path) -> None:
    content = c_lines(entry("connect", "W.1", 1723161252.5, addr=LINEAR), entry("recv", "W.1", 1723161253.0, data="{}"))
    path = put(tmp_path / "x.jsonl", content)
    with pytest.raises(InputError, match="holds messages of BYBIT, a venue that arbtop has no adapter for"):
        import_capture([path], tmp_path / "rec", venues={"BINANCE": VENUES["BINANCE"]})
    assert not (tmp_path / "rec").exists()


def test_a_host_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    path = put(tmp_path / "ws.txt", b"wss://ws.example.org/v1 <-> 1723161252.5\n1723161253.0: {}\n")
    with pytest.raises(InputError, match=r"wss://ws\.example\.org/v1, a venue that arbtop does not know"):
        run(tmp_path, path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello\n", "none of the formats"),
        (b"", "none of the formats"),
        (b"\x1f\x8b\x08\x00broken", "none of the formats"),
        (b'{"type":"trade","localTimestamp":"2019-04-01T00:00:00.336181Z"}\n', "no message of a market data connection"),
        (b"arbtop-recording 1\n{}\n", "recording of arbtop already"),
        (b"configuration: {}\n", "no message of a market data connection"),
        (f"{AT} {SNAPSHOT}\n".encode(), "names no symbol"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = put(tmp_path / "x", content, packed=False)
    with pytest.raises(InputError, match=says) as caught:
        run(tmp_path, path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "rec").exists()
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path, tmp_path / "absent")


def test_a_directory_is_its_captures_and_the_rest_is_named(tmp_path: Path) -> None:
    put(tmp_path / "in/a.gz", a_lines((AT, depth())))
    put(tmp_path / "in/README.md", b"# text\n", packed=False)
    report, _ = run(tmp_path, tmp_path / "in")
    assert report.frames == 1
    assert "README.md: no capture; left out" in report.notes


def test_an_import_does_not_write_into_a_directory_that_holds_something(tmp_path: Path) -> None:
    put(tmp_path / "rec/precious.txt", b"x")
    with pytest.raises(InputError, match="not empty"):
        run(tmp_path, put(tmp_path / "x", a_lines((AT, depth()))))
    assert [path.name for path in (tmp_path / "rec").iterdir()] == ["precious.txt"]


# the whole


class Silent(Listener):
    """Hears and does nothing."""


DAY = 86_400 * 1000 * MS


def test_captures_of_different_days_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    put(tmp_path / "in/monday.gz", a_lines((AT, trade()), (AT + 60_000 * MS, trade(number=2))))
    put(tmp_path / "in/thursday.gz", a_lines((AT + 3 * DAY + 60_000 * MS, trade(number=3))))
    with pytest.raises(InputError) as caught:
        run(tmp_path, tmp_path / "in")
    assert str(caught.value) == "monday.gz ends 3.0 days before thursday.gz begins: import them separately"
    assert not (tmp_path / "rec").exists()


def test_captures_of_one_name_that_lie_apart_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    one = put(tmp_path / "a/x.gz", a_lines((AT, trade())))
    other = put(tmp_path / "b/x.gz", a_lines((AT + 2 * DAY, trade("ethusdt"))))
    with pytest.raises(InputError, match=f"{one} ends 2.0 days before {other} begins"):
        run(tmp_path, other, one)


def test_files_less_than_a_day_apart_or_bridged_by_another_are_one_import(tmp_path: Path) -> None:
    put(tmp_path / "in/a.gz", a_lines((AT, trade())))
    put(tmp_path / "in/b.gz", a_lines((AT + DAY, trade(number=2))))
    put(
        tmp_path / "in/c.gz", a_lines((AT + 1, trade("ethusdt")), (AT + DAY // 2, trade("ethusdt")), (AT + DAY, trade("ethusdt")))
    )
    put(tmp_path / "in/d.gz", a_lines((AT + 2 * DAY, trade(number=3))))
    report, _ = run(tmp_path, tmp_path / "in")
    assert report.frames == 6


def test_an_import_that_the_disk_ends_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "x", a_lines(*((AT + number, trade(number=number)) for number in range(2000))))
    directory = tmp_path / "rec"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(RecordingFailed) as caught:
            run(tmp_path, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    rest = f"{directory} is not whole: remove it, mend that and import again"
    assert str(caught.value) == f"{directory}: recording stopped: file too large; {rest}"

    def full(fd: int, data: bytes) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    shutil.rmtree(directory)
    monkeypatch.setattr("feeds.recording.writer._write_all", full)
    with pytest.raises(RecordingFailed) as caught:
        run(tmp_path, path)
    rest = f"{directory} is not whole: remove it, free some space and import again"
    assert str(caught.value) == f"{directory}: recording stopped: no space left on device; {rest}"


def test_an_import_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    paths = raw_capture(tmp_path)
    made = []
    for name in ("one", "two"):
        import_capture(list(paths), tmp_path / name, venues=VENUES, make_hub=lambda: Hub(VENUES, Silent()))  # type: ignore[abstract]
        made.append([(path.name, path.read_bytes()) for path in sorted((tmp_path / name).iterdir())])
    assert made[0] == made[1]


def test_later_segments_open_with_the_books_of_the_hub(tmp_path: Path) -> None:
    updates = [(AT + number * MS, depth(first=11 + number, last=11 + number)) for number in range(200)]
    path = put(tmp_path / "x", a_lines(updates[0], (AT, SNAPSHOT), *updates[1:]))
    hub = lambda: Hub(VENUES, Silent())  # type: ignore[abstract]  # noqa: E731
    _, records = run(tmp_path, path, make_hub=hub, segment_bytes=10_000)
    assert len([record for record in records if record.kind == "t"]) == 200
    second = Recording(Recording(tmp_path / "rec").segments[1].path)
    head = list(second.records())[:4]
    assert [record.kind for record in head] == ["i", "o", "s", "t"]
    checkpoint = decode("s", head[2].payload)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.seq + 1 == msgspec.json.decode(head[3].payload)["data"]["U"]


def test_without_a_hub_later_segments_open_with_what_is_open(tmp_path: Path) -> None:
    path = put(tmp_path / "x", a_lines(*((AT + number, depth()) for number in range(200))))
    run(tmp_path, path, segment_bytes=10_000)
    second = Recording(Recording(tmp_path / "rec").segments[1].path)
    assert [record.kind for record in list(second.records())[:3]] == ["i", "o", "t"]


def test_progress_ends_where_it_said_it_would(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    paths = raw_capture(tmp_path)
    run(tmp_path, *paths, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == 2 * sum(path.stat().st_size for path in paths)


def test_decimal_seconds_become_ns_without_rounding() -> None:
    assert seconds_ns(b"1618677480.0770838") == 1_618_677_480_077_083_800
    assert seconds_ns(b"1786310818.2235148") == 1_786_310_818_223_514_800
    assert seconds_ns(b"1618677480") == 1_618_677_480_000_000_000
    assert seconds_ns(b"1618677480.0123456789012") == 1_618_677_480_012_345_678
    assert [seconds_ns(text) for text in (b"", b"nan", b"1e9", b"-1618677480", b"161867748", b"1618677480.", b"9999999999")] == [
        None
    ] * 7


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("wss://stream.binance.com:9443/stream?streams=a", ("BINANCE", "spot")),
        ("https://api.binance.com/api/v3/depth", ("BINANCE", "spot")),
        ("wss://fstream.binance.com/public/stream", ("BINANCE", "usdm")),
        ("https://dapi.binance.com/dapi/v1/depth", ("BINANCE", "coinm")),
        (LINEAR, ("BYBIT", "linear")),
        ("wss://stream.bybit.com/v5/public/inverse", ("BYBIT", "inverse")),
        ("https://api.bybit.com/v5/market/instruments-info", ("BYBIT", "")),
        ("wss://ws.okx.com:8443/ws/v5/public", ("OKX", "public")),
        ("wss://www.deribit.com/ws/api/v2", ("DERIBIT", "public")),
        ("https://www.bitmex.com/api/v1/instrument/active", ("BITMEX", "public")),
        ("wss://stream.binance.com.evil.example/stream", None),
    ],
)
def test_a_url_tells_venue_and_market(url: str, place: tuple[str, str] | None) -> None:
    assert place_of(url) == place
