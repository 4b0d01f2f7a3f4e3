"""`arbtop doctor`: each thing that stands between a user and live data is one clear line with what to do about it.

The venues are the demo exchange, or servers of this machine that fail on purpose; no other machine is spoken to.
"""

import os
import random
import re
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

import tui.doctor as doctor
from feeds.model import SECOND
from feeds.simulator import run as exchange
from feeds.simulator.faults import FAULTS
from feeds.simulator.kit import RestHook
from feeds.venue import Endpoint
from tests.integration.test_live_commands import MARKETS, offline, run, strict_json
from tests.terminal import Terminal, plain_environment
from tui.config import Config
from tui.doctor import Finding, examine, limits, lines, terminal
from tui.settings import Paths, Venues
from tui.watching import Watch

SPOT = "BYBIT spot"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    for name, value in plain_environment(place).items():
        monkeypatch.setenv(name, value)
    return place


@asynccontextmanager
async def bitcoin_exchange() -> AsyncIterator[exchange.Exchange]:
    at = await exchange.start(3, assets=("BTC",))
    try:
        yield at
    finally:
        await at.stop()


def config_of(places: Mapping[str, Endpoint], venue: str = "bybit", ca_file: Path | None = None) -> Config:
    """One venue, its markets as given."""
    endpoints = {
        f"{name.replace('.', ' ')} {what}": getattr(place, what)
        for name, place in places.items()
        if "." in name
        for what in ("rest", "websocket")
    }
    venues = Venues(live=(venue,), endpoints=endpoints, ca_file=str(ca_file or ""))  # type: ignore[arg-type]
    return Config(venues=venues, watch=Watch(pinned=("BTC",)))


def bybit_at(rest: str, websocket: str) -> dict[str, Endpoint]:
    return {f"BYBIT.{market}": Endpoint(rest, websocket) for market in ("spot", "linear", "inverse")}


async def found_of(config: Config) -> dict[str, Finding]:
    """The checks by name; each is one line, and each failure says what to do."""
    found = await examine(config, None)
    for one in found:
        assert "\n" not in one.text + one.mend
        assert one.mend or one.state == "ok", one
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def answering(status: int) -> RestHook:
    async def hook(_request: web.Request, _path: str) -> web.StreamResponse | None:
        return web.Response(status=status, text="no")

    return hook


# -- the venues ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_where_all_is_well_every_market_says_so(venue: str) -> None:
    async with bitcoin_exchange() as at:
        found = await found_of(config_of(at.endpoints, venue))
    own = {name: one for name, one in found.items() if name.startswith(venue.upper())}
    assert len(own) == 9, "clock, instruments and websocket of three markets"
    assert {one.state for one in own.values()} == {"ok"}
    assert all("first data of BTC" in own[name].text for name in own if name.endswith("websocket"))


def test_offline_each_market_says_that_nothing_listens_and_the_exit_code_is_1(home: Path) -> None:
    result = run("--config", offline(home), "doctor")
    assert result.exit_code == 1
    said = result.stdout.splitlines()
    for market in MARKETS:
        at = next(at for at, line in enumerate(said) if f"{market} REST" in line)
        assert said[at].startswith("■ fail"), said[at]
        assert "127.0.0.1:9: no connection" in said[at]
        assert "→ nothing listens there" in said[at + 1]
    assert result.stderr == ""


def test_as_json_it_is_one_document_with_the_same_exit_code(home: Path) -> None:
    result = run("--config", offline(home), "doctor", "--json")
    assert result.exit_code == 1
    checks = strict_json(result.stdout)["checks"]
    assert {check["state"] for check in checks} <= {"ok", "warn", "fail"}
    assert [check["name"] for check in checks if check["state"] == "fail"] == [f"{market} REST" for market in MARKETS]


@pytest.mark.parametrize(("offset_s", "state"), [(30.0, "fail"), (-30.0, "fail"), (1.0, "warn"), (0.0, "ok")])
async def test_a_wrong_clock_is_told_with_its_offset(offset_s: float, state: str) -> None:
    async with bitcoin_exchange() as at:
        at.servers["BYBIT"].clock_offset_ns = int(offset_s * SECOND)
        found = await found_of(config_of(at.endpoints))
    clock = found[f"{SPOT} REST"]
    assert clock.state == state
    if offset_s:
        assert "your clock is wrong" in clock.text
        said = re.search(r"its clock ([+-][\d,]+) ± \d+ ms", clock.text)
        assert said is not None
        assert float(said[1].replace(",", "")) == pytest.approx(offset_s * 1e3, abs=200)
        assert "timedatectl" in clock.mend
    assert found[f"{SPOT} websocket"].state == "ok", "a wrong clock does not keep data away"


@pytest.mark.parametrize(
    ("status", "mend"),
    [(403, "refuses this network"), (451, "does not serve this region"), (429, "wait a minute"), (418, "banned")],
)
async def test_a_refusal_over_rest_is_told_with_its_own_mend(status: int, mend: str) -> None:
    async with bitcoin_exchange() as at:
        at.servers["BYBIT"].rest_hook = answering(status)
        found = await found_of(config_of({**at.endpoints}))
    own = [one for name, one in found.items() if name.startswith("BYBIT")]
    assert len(own) == 3, "what is behind a REST host that refuses is not asked"
    assert all(one.state == "fail" and f"HTTP {status}" in one.text and mend in one.mend for one in own), own


@pytest.mark.parametrize(("status", "mend"), [(403, "refuses this network"), (451, "does not serve this region")])
async def test_a_refusal_of_the_websocket_alone_is_told_with_its_own_mend(status: int, mend: str) -> None:
    async with bitcoin_exchange() as at:
        at.servers["BYBIT"].handshake = lambda _request: web.Response(status=status)
        found = await found_of(config_of(at.endpoints))
    assert found[f"{SPOT} REST"].state == "ok"
    socket = found[f"{SPOT} websocket"]
    assert (socket.state, f"refused with {status}" in socket.text) == ("fail", True), socket
    assert mend in socket.mend


async def test_a_websocket_without_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FRAME_S", 0.3)
    async with bitcoin_exchange() as at:
        injection = await FAULTS["acknowledged but silent"].inject(at.servers["BYBIT"], random.Random(1))
        found = await found_of(config_of(at.endpoints))
        await injection.lift()
    socket = found[f"{SPOT} websocket"]
    assert socket.state == "fail"
    assert "connected, but no data of BTCUSDT" in socket.text


@asynccontextmanager
async def tls_server(tmp_path: Path, handler: Callable[[web.Request], web.Response]) -> AsyncIterator[tuple[int, Path]]:
    """An HTTPS server on loopback whose certificate nobody knows; its port, and the file that would make it known."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    known = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(known))

    async def answer(request: web.Request) -> web.Response:
        return handler(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield int(runner.addresses[0][1]), known
    finally:
        await runner.cleanup()


def bybit_time(_request: web.Request) -> web.Response:
    now = time.time_ns()
    body = {
        "retCode": 0,
        "retMsg": "OK",
        "result": {"timeSecond": str(now // SECOND), "timeNano": str(now)},
        "retExtInfo": {},
        "time": now // 1_000_000,
    }
    return web.json_response(body)


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_named(tmp_path: Path) -> None:
    async with tls_server(tmp_path, bybit_time) as (port, _):
        found = await found_of(config_of(bybit_at(f"https://localhost:{port}", f"wss://localhost:{port}")))
    rest = found[f"{SPOT} REST"]
    assert rest.state == "fail"
    assert "TLS failed" in rest.text
    assert "[venues] ca_file" in rest.mend


async def test_the_mend_for_it_works(tmp_path: Path) -> None:
    async with tls_server(tmp_path, bybit_time) as (port, known):
        places = bybit_at(f"https://localhost:{port}", f"wss://localhost:{port}")
        found = await found_of(config_of(places, ca_file=known))
    assert found[f"{SPOT} REST"].state == "ok"


async def test_a_websocket_with_such_a_certificate_is_named_as_well(tmp_path: Path) -> None:
    async with bitcoin_exchange() as at, tls_server(tmp_path, bybit_time) as (port, _):
        rest = at.endpoints["BYBIT.spot"].rest
        found = await found_of(config_of(bybit_at(rest, f"wss://localhost:{port}")))
    socket = found[f"{SPOT} websocket"]
    assert (socket.state, found[f"{SPOT} REST"].state) == ("fail", "ok")
    assert "certificate" in socket.text
    assert "[venues] ca_file" in socket.mend


async def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    for path in (wrong, tmp_path / "missing.pem"):
        found = await found_of(config_of(bybit_at("http://127.0.0.1:9", "ws://127.0.0.1:9"), ca_file=path))
        assert found["certificates"].state == "fail"
        assert str(path) in found["certificates"].text


# -- the machine -----------------------------------------------------------------------------------------------------------


def test_a_port_is_not_taken_for_a_refusal() -> None:
    assert (
        "nothing listens" in doctor._trouble("x", "127.0.0.1:403: no connection: Connect call failed ('127.0.0.1', 40345)").mend
    )


@pytest.mark.parametrize(
    ("environment", "state", "word"),
    [
        ({"TERM": "xterm"}, "warn", "16"),
        ({"TERM": "linux"}, "warn", "16"),
        ({"TERM": "xterm-256color"}, "warn", "256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "ok", "true colour"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "ok", "off"),
    ],
)
def test_how_many_colours_there_are_is_told(environment: Mapping[str, str], state: str, word: str) -> None:
    colours = next(one for one in terminal(environment) if one.name == "colours")
    assert (colours.state, colours.text.startswith(word)) == (state, True)
    assert bool(colours.mend) == (state != "ok")


def test_in_a_small_terminal_of_16_colours_each_is_a_line_with_a_mend(home: Path) -> None:
    environment = plain_environment(home, TERM="xterm", COLORTERM=None)
    command: Sequence[str] = [sys.executable, "-m", "tui", "--config", str(offline(home)), "doctor"]
    with Terminal(command, environment, 58, 60) as window:
        assert window.exit_code() == 1
        text = "".join("".join(window.lines).split())  # lines wrap
        for said in ("▲ warn terminal xterm, 58x60", "at least 60x16", "▲ warn colours 16: themes do not fit", "--theme ansi"):
            assert said.replace(" ", "") in text


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(paths=Paths(state=str(tmp_path / "state"), recordings=str(tmp_path)))
    assert {one.name: one.state for one in limits(config)}["alert log"] == "ok"
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = {one.name: one for one in limits(config)}
    assert found["alert log"].state == found["recordings"].state == "fail"
    assert f"{tmp_path}/state: not writable" in found["alert log"].text
    assert "[paths]" in found["alert log"].mend


def test_a_place_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = Config(paths=Paths(state=str(tmp_path / "file" / "state"), recordings=str(tmp_path)))
    found = {one.name: one for one in limits(config)}
    assert (found["alert log"].state, found["recordings"].state) == ("fail", "ok")


def test_a_line_of_text_has_a_sign_that_needs_no_colour() -> None:
    shown = lines([Finding("one", "ok", "well"), Finding("other", "fail", "ill", "mend it")])
    assert shown == ["● ok    one    well", "■ fail  other  ill", f"{'':15}→ mend it"]
