"""A wrong name joins two different instruments into one row: each rule, both ways, and what must be refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from feeds.errors import InputError
from feeds.model import SECOND, Contract, Kind
from feeds.symbols import Parts, expiry_ns, format_id, instrument_id, native_name, native_to_parts, parse, short_name

BOTH_WAYS = [
    ("BINANCE", "spot", "BTCUSDT", "BINANCE:BTC/USDT"),
    ("BINANCE", "spot", "ETHBTC", "BINANCE:ETH/BTC"),
    ("BINANCE", "spot", "BTCFDUSD", "BINANCE:BTC/FDUSD"),
    ("BINANCE", "spot", "1000SATSUSDT", "BINANCE:1000SATS/USDT"),
    ("BINANCE", "usdm", "BTCUSDT", "BINANCE:BTC/USDT:USDT"),
    ("BINANCE", "usdm", "1000PEPEUSDC", "BINANCE:1000PEPE/USDC:USDC"),
    ("BINANCE", "usdm", "ETHBTC", "BINANCE:ETH/BTC:BTC"),
    ("BINANCE", "usdm", "BTCUSDT_261225", "BINANCE:BTC/USDT:USDT-261225"),
    ("BINANCE", "coinm", "BTCUSD_PERP", "BINANCE:BTC/USD:BTC"),
    ("BINANCE", "coinm", "ETHUSD_210625", "BINANCE:ETH/USD:ETH-210625"),
    ("BYBIT", "spot", "BTCUSDT", "BYBIT:BTC/USDT"),
    ("BYBIT", "spot", "BTCRLUSD", "BYBIT:BTC/RLUSD"),
    ("BYBIT", "spot", "BBSOLSOL", "BYBIT:BBSOL/SOL"),
    ("BYBIT", "linear", "BTCUSDT", "BYBIT:BTC/USDT:USDT"),
    ("BYBIT", "linear", "BTCPERP", "BYBIT:BTC/USDC:USDC"),
    ("BYBIT", "linear", "HPERP", "BYBIT:H/USDC:USDC"),
    ("BYBIT", "linear", "BTC-26DEC25", "BYBIT:BTC/USDC:USDC-251226"),
    ("BYBIT", "linear", "BTCUSDT-04APR25", "BYBIT:BTC/USDT:USDT-250404"),
    ("BYBIT", "inverse", "BTCUSD", "BYBIT:BTC/USD:BTC"),
    ("BYBIT", "inverse", "BTCUSDH26", "BYBIT:BTC/USD:BTC-260327"),
    ("OKX", "public", "BTC-USDT", "OKX:BTC/USDT"),
    ("OKX", "public", "BTC-USD", "OKX:BTC/USD"),
    ("OKX", "public", "BTC-USDT-SWAP", "OKX:BTC/USDT:USDT"),
    ("OKX", "public", "BTC-USDC-SWAP", "OKX:BTC/USDC:USDC"),
    ("OKX", "public", "BTC-USD-SWAP", "OKX:BTC/USD:BTC"),
    ("OKX", "public", "BTC-USD-220527", "OKX:BTC/USD:BTC-220527"),
    ("OKX", "public", "BTC-USDT-261225", "OKX:BTC/USDT:USDT-261225"),
    ("OKX", "public", "BTC-USD_UM-261030", "OKX:BTC/USD:USD-261030"),
    ("OKX", "public", "BTC-USD-220514-22000-C", "OKX:BTC/USD:BTC-220514-22000-C"),
    ("OKX", "public", "BTC-USD_UM-260928-79000-P", "OKX:BTC/USD:USD-260928-79000-P"),
    ("DERIBIT", "", "BTC-PERPETUAL", "DERIBIT:BTC/USD:BTC"),
    ("DERIBIT", "", "BTC-25DEC26", "DERIBIT:BTC/USD:BTC-261225"),
    ("DERIBIT", "", "SOL-3JUN22", "DERIBIT:SOL/USD:SOL-220603"),
    ("DERIBIT", "", "SOL_USDC-PERPETUAL", "DERIBIT:SOL/USDC:USDC"),
    ("DERIBIT", "", "BTC_USDC", "DERIBIT:BTC/USDC"),
    ("DERIBIT", "", "BTC-30JUL21-34000-C", "DERIBIT:BTC/USD:BTC-210730-34000-C"),
    ("DERIBIT", "", "XRP_USDC-26DEC25-2d5-P", "DERIBIT:XRP/USDC:USDC-251226-2.5-P"),
    ("BITMEX", "", "XBTUSD", "BITMEX:BTC/USD:BTC"),
    ("BITMEX", "", "XBTU26", "BITMEX:BTC/USD:BTC-260925"),
    ("BITMEX", "", "XBTZ21", "BITMEX:BTC/USD:BTC-211231"),
    ("BITMEX", "", "XBTEUR", "BITMEX:BTC/EUR:BTC"),
    ("BITMEX", "", "XBTUSDT", "BITMEX:BTC/USDT:USDT"),
    ("BITMEX", "", "ETHUSD", "BITMEX:ETH/USD:BTC"),
    ("BITMEX", "", "ETHUSDU21", "BITMEX:ETH/USD:BTC-210924"),
    ("BITMEX", "", "ETHU21", "BITMEX:ETH/BTC:BTC-210924"),
    ("BITMEX", "", "XBT_USDT", "BITMEX:BTC/USDT"),
]


@pytest.mark.parametrize(("venue", "market", "native", "id_"), BOTH_WAYS)
def test_a_native_name_and_its_id_do_not_drift_apart(venue: str, market: str, native: str, id_: str) -> None:
    parts = native_to_parts(venue, market, native)
    assert parts is not None
    assert format_id(parts) == id_
    assert parse(id_) == parts
    assert native_name(parts) == native


@pytest.mark.parametrize(
    ("venue", "market", "native"),
    [
        ("BINANCE", "spot", "USDT"),
        ("BINANCE", "spot", "BTCXYZ"),
        ("BINANCE", "usdm", "BTCUSDT_261325"),
        ("BINANCE", "usdm", "BTCUSDT_PERP"),
        ("BINANCE", "coinm", "BTCUSD"),
        ("BINANCE", "options", "BTC-261225-60000-C"),
        ("BYBIT", "spot", "BTCXUSD"),
        ("BYBIT", "spot", "AVAXUSD"),
        ("BYBIT", "linear", "BTCUSDC"),
        ("BYBIT", "linear", "PERP"),
        ("BYBIT", "linear", "BTC-31FEB26"),
        ("BYBIT", "inverse", "BTCUSDF26"),
        ("BYBIT", "inverse", "BTCUSDT"),
        ("OKX", "public", "BTC"),
        ("OKX", "public", "BTC-USD-"),
        ("OKX", "public", "BTC-USD_UM"),
        ("OKX", "public", "BTC-USDT_UM-261030"),
        ("OKX", "public", "BTC-USD_UM_XPERP-310404"),
        ("OKX", "public", "BTC-USD-220532"),
        ("OKX", "public", "BTC-USD-2205277"),
        ("OKX", "public", "BTC-USD-220514-22000-X"),
        ("OKX", "public", "BTC-USD-220514-22000"),
        ("OKX", "public", "BTC-USDT-SWAP-22000-C"),
        ("OKX", "public", "btc-usdt"),
        ("DERIBIT", "", "BTC"),
        ("DERIBIT", "", "BTC-FS-25DEC26_PERP"),
        ("DERIBIT", "", "BTC-CS-25DEC26-60000_70000"),
        ("DERIBIT", "", "BTC-25DEC26-60000-X"),
        ("DERIBIT", "", "BTC-25XXX26"),
        ("BITMEX", "", ".BXBT"),
        ("BITMEX", "", "ADAUSDT"),
        ("BITMEX", "", "XBT"),
        ("BITMEX", "", "XBT7D_U105"),
        ("KRAKEN", "spot", "XBTUSD"),
        ("BINANCE", "spot", "btcusdt"),
        ("BINANCE", "spot", ""),
        ("BINANCE", "spot", "BTC\x1b[2JUSDT"),
    ],
)
def test_a_name_that_says_too_little_is_not_guessed(venue: str, market: str, native: str) -> None:
    assert native_to_parts(venue, market, native) is None


def test_xbt_is_bitcoin_at_bitmex_alone() -> None:
    assert native_to_parts("BITMEX", "", "XBTUSD") == parse("BITMEX:BTC/USD:BTC")
    assert native_to_parts("OKX", "public", "XBT-USDT") == parse("OKX:XBT/USDT")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BINANCE",
        "BINANCE:BTCUSDT",
        "BINANCE:BTC/",
        "BINANCE:/USDT",
        "binance:BTC/USDT",
        "BINANCE:btc/USDT",
        "KRAKEN:BTC/USD",
        "BINANCE:BTC/USDT:",
        "BINANCE:BTC/USDT-261225",
        "BINANCE:BTC/USDT:USDT-261325",
        "BINANCE:BTC/USDT:USDT-2612255",
        "BINANCE:BTC/USDT:USDT-261225-60000",
        "BINANCE:BTC/USDT:USDT-261225-60000-X",
        " BINANCE:BTC/USDT",
        "BINANCE:BTC/USDT\n",
        "BINANCE:BTC/USDT/EUR",
        "BINANCE:BTC_X/USDT",
        "BINANCE:BTC/USDT:USDT-２６１２２５",
        "BINANCE:BTC/US\u202eDT",
    ],
)
def test_a_malformed_id_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(InputError, match=r"VENUE:BASE/QUOTE\[:SETTLE\[-YYMMDD\]\]"):
        parse(text)


def test_a_refusal_does_not_carry_control_bytes_to_the_terminal() -> None:
    with pytest.raises(InputError) as refusal:
        parse("BINANCE:\x1b]52;c;aGk=\x07")
    assert "\x1b" not in str(refusal.value)
    assert "\x07" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "kind", "contract"),
    [
        ("OKX:BTC/USDT", Kind.SPOT, Contract.LINEAR),
        ("OKX:BTC/USDT:USDT", Kind.PERP, Contract.LINEAR),
        ("OKX:BTC/USD:BTC", Kind.PERP, Contract.INVERSE),
        ("OKX:BTC/USD:BTC-261225", Kind.FUTURE, Contract.INVERSE),
        ("BITMEX:ETH/USD:BTC", Kind.PERP, Contract.QUANTO),
        ("BITMEX:ETH/BTC:BTC-210924", Kind.FUTURE, Contract.LINEAR),
        ("DERIBIT:BTC/USD:BTC-210730-34000-C", Kind.OPTION, Contract.INVERSE),
    ],
)
def test_kind_and_contract_follow_from_settle_and_date(text: str, kind: Kind, contract: Contract) -> None:
    assert (parse(text).kind, parse(text).contract) == (kind, contract)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("BINANCE:BTC/USD:BTC", "BIN BTCUSD perp inv"),
        ("BINANCE:BTC/USDT:USDT", "BIN BTCUSDT perp"),
        ("BYBIT:BTC/USDT", "BYB BTCUSDT spot"),
        ("DERIBIT:BTC/USD:BTC-261225", "DRB BTCUSD 261225 inv"),
        ("DERIBIT:BTC/USD:BTC-210730-34000-C", "DRB BTCUSD 210730 34000C inv"),
        ("BITMEX:ETH/USD:BTC", "BMX ETHUSD perp quanto"),
        ("OKX:1000PEPE/USDT:USDT", "OKX 1000PEPEUSDT perp"),
    ],
)
def test_a_short_name_tells_two_perps_of_one_coin_apart(text: str, name: str) -> None:
    assert short_name(text) == name


@pytest.mark.parametrize(("venue", "hour"), [("BINANCE", 8), ("BYBIT", 8), ("OKX", 8), ("DERIBIT", 8), ("BITMEX", 12)])
def test_a_date_without_an_hour_expires_at_the_venues_usual_one(venue: str, hour: int) -> None:
    at = datetime(2026, 12, 25, hour, tzinfo=UTC)
    assert expiry_ns(parse(f"{venue}:BTC/USD:BTC-261225")) == int(at.timestamp()) * SECOND
    assert expiry_ns(parse(f"{venue}:BTC/USD:BTC")) == 0


def test_an_id_from_metadata_takes_the_utc_day_of_expiry() -> None:
    at = int(datetime(2026, 12, 25, 8, tzinfo=UTC).timestamp()) * SECOND
    assert instrument_id("BYBIT", "BTC", "USDT", "USDT", at) == "BYBIT:BTC/USDT:USDT-261225"
    assert instrument_id("BYBIT", "BTC", "USDT") == "BYBIT:BTC/USDT"


@pytest.mark.parametrize(
    ("base", "quote", "settle", "expires"),
    [
        ("", "USDT", "", 0),
        ("btc", "USDT", "", 0),
        ("BTC:X", "USDT", "", 0),
        ("BTC", "USDT", "", 1_798_185_600 * SECOND),
        ("BTC", "USDT", "USDT", 4_133_404_800 * SECOND),
        ("BTC", "USDT", "USDT", 1 << 200),
        ("BTC", "USDT", "USDT", -(1 << 70)),
        ("\ufffd", "USDT", "", 0),
    ],
)
def test_metadata_that_makes_no_id_is_refused(base: str, quote: str, settle: str, expires: int) -> None:
    with pytest.raises(InputError):
        instrument_id("BYBIT", base, quote, settle, expires)


@pytest.mark.parametrize(
    "parts",
    [
        Parts(venue="OKX", base="BTC", quote="USDT", expiry="261225"),
        Parts(venue="OKX", base="BTC", quote="USDT", settle="USDT", strike="1"),
        Parts(venue="OKX", base="BTC", quote="USDT", settle="USDT", expiry="261225", right="C"),
        Parts(venue="OKX", base="BTC/ETH", quote="USDT"),
        Parts(venue="OKX", base="BTC", quote="USDT:USDT"),
    ],
)
def test_parts_out_of_place_make_no_id(parts: Parts) -> None:
    with pytest.raises(InputError):
        format_id(parts)


@pytest.mark.parametrize(
    "text",
    [
        "BINANCE:ETH/USD:BTC",
        "BINANCE:BTC/USDT:USDT-261225-60000-C",
        "BYBIT:BTC/EUR:EUR",
        "BYBIT:BTC/USD:BTC-260326",
        "OKX:ETH/USD:USD",
        "OKX:ETH/BTC:USDT",
        "OKX:ETH/USDT:ETH",
        "DERIBIT:ETH/USD:BTC",
        "BITMEX:BTC/USD:BTC-260924",
        "BITMEX:BTC/USD:BTC-260925-60000-C",
    ],
)
def test_an_instrument_the_venue_has_no_name_for_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="has no name"):
        native_name(parse(text))


COINS = st.from_regex(r"[0-9A-Z]{1,8}", fullmatch=True)
DAYS = st.dates(datetime(2020, 1, 1).date(), datetime(2099, 12, 31).date()).map(lambda day: f"{day:%y%m%d}")


@given(
    venue=st.sampled_from(["BINANCE", "BYBIT", "OKX", "DERIBIT", "BITMEX"]),
    base=COINS,
    quote=COINS,
    settle=st.one_of(st.just(""), COINS),
    expiry=st.one_of(st.just(""), DAYS),
    strike=st.one_of(st.just(""), st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,3})?", fullmatch=True)),
    right=st.sampled_from(["C", "P"]),
)
def test_every_id_survives_the_round_trip(
    venue: str, base: str, quote: str, settle: str, expiry: str, strike: str, right: str
) -> None:
    if not settle:
        expiry = ""
    if not expiry:
        strike = ""
    parts = Parts(
        venue=venue,
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        strike=strike,
        right="" if not strike else "C" if right == "C" else "P",
    )
    assert parse(format_id(parts)) == parts


MARKETS = [
    ("BINANCE", "usdm", ("USDT", "USDC"), "quote", True),
    ("BINANCE", "coinm", ("USD",), "base", True),
    ("BYBIT", "linear", ("USDT", "USDC"), "quote", True),
    ("BYBIT", "inverse", ("USD",), "base", False),
    ("OKX", "public", ("USDT", "USDC", "EUR", "USD"), "", False),
    ("OKX", "public", ("USDT", "USDC"), "quote", True),
    ("OKX", "public", ("USD",), "base", True),
    ("DERIBIT", "", ("USDC", "USDT"), "quote", True),
    ("DERIBIT", "", ("USD",), "base", True),
]


@given(market=st.sampled_from(MARKETS), base=COINS, at=st.integers(0, 3), day=DAYS, dated=st.booleans())
def test_every_native_name_survives_the_round_trip(
    market: tuple[str, str, tuple[str, ...], str, bool], base: str, at: int, day: str, dated: bool
) -> None:
    venue, name, quotes, settled_in, may_be_dated = market
    quote = quotes[at % len(quotes)]
    settle = {"": "", "quote": quote, "base": base}[settled_in]
    dated = dated and may_be_dated
    assume(settle != quote or quote != "USD")  # USD/USD is no instrument
    assume(not base.endswith("USDT"))  # USDTUSDC, USDT-26DEC25: Bybit's rule reads the longer quote
    parts = Parts(venue=venue, base=base, quote=quote, settle=settle, expiry=day if dated else "")
    assert native_to_parts(venue, name, native_name(parts)) == parts
