"""The REST pool against a real HTTP server on loopback that misbehaves in every way a venue or a network can."""

import asyncio
import gzip
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn, TypeAlias, cast

import aiohttp
import pytest
import stamina
from aiohttp import web
from aiohttp.http import HttpProcessingError
from yarl import URL

from feeds.clock import ReceiveClock
from feeds.links import Breaker
from feeds.model import SECOND, Ns
from feeds.rest import IN_FLIGHT, MAX_BODY, NoReply, RestPool, Web, open_session
from feeds.venue import Fetch, FetchError, Terms

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
START: Ns = 1_790_784_000 * SECOND
"""The beginning of a minute, so that none ends within a test."""


@pytest.fixture(autouse=True)
def no_pause_between_attempts() -> Iterator[None]:
    stamina.set_testing(True, attempts=3, cap=True)
    yield
    stamina.set_testing(False)


class Venue:
    """A server whose paths are handlers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.base = ""
        self.hold = asyncio.Event()
        """`/held/...` is answered when it is set."""
        self.answers: dict[str, Handler] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        if request.path.startswith("/held/"):
            await self.hold.wait()
        if handler := self.answers.get(request.path):
            return await handler(request)
        return web.Response(text=request.raw_path)


@asynccontextmanager
async def serving(venue: Venue, tls: ssl.SSLContext | None = None) -> AsyncIterator[Venue]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", venue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    venue.base = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield venue
    finally:
        venue.hold.set()
        await runner.cleanup()


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with serving(Venue()) as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as made:
        yield made


@pytest.fixture
async def pool(venue: Venue, session: aiohttp.ClientSession) -> AsyncIterator[RestPool]:
    made = pool_of(venue, session)
    yield made
    await made.close()


def pool_of(venue: Venue, session: aiohttp.ClientSession, total_s: float = 5.0, connect_s: float = 5.0) -> RestPool:
    terms = Terms(rest=venue.base, pool="SPOT", weight_per_minute=6_000, sends_per_s=5, used_weight="X-MBX-USED-WEIGHT-1M")
    ask = Web(session, timeout=aiohttp.ClientTimeout(total=total_s, connect=connect_s))
    monotonic = ReceiveClock().start_monotonic_ns
    return RestPool(terms, ask, ReceiveClock(lambda: START, lambda: _since(monotonic)).stamp)


def _since(monotonic: Ns) -> Ns:
    return int(asyncio.get_running_loop().time() * SECOND) - monotonic


def fetch(path: str, priority: int = 0, weight: int = 1, key: str = "") -> Fetch:
    return Fetch(key=key or path, path=path, weight=weight, priority=priority)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.002)


# -- one request --------------------------------------------------------------------------------------------------------------


async def test_an_answer_comes_whole_with_its_times_and_is_counted(venue: Venue, pool: RestPool) -> None:
    async def depth(request: web.Request) -> web.Response:
        return web.Response(
            body=gzip.compress(b'{"bids":[]}'), headers={"Content-Encoding": "gzip", "X-MBX-USED-WEIGHT-1M": "50"}
        )

    venue.answers["/api/v3/depth"] = depth
    answer = await pool.fetch(fetch("/api/v3/depth?symbol=BTCUSDT", weight=50), venue.base)
    assert (answer.status, answer.outcome, answer.reason) == (200, b'{"bids":[]}', "")
    assert START <= answer.sent_ns < answer.received_ns
    view = pool.view(answer.received_ns)
    assert (view.name, view.used, view.limit, view.answered, view.failed) == ("SPOT", 50, 6_000, 1, 0)
    assert view.host == venue.base.removeprefix("http://")
    assert view.last_ms == (answer.received_ns - answer.sent_ns) / 1e6


async def test_where_the_venue_counts_more_weight_than_we_asked_for_its_count_is_shown_and_kept_to(
    venue: Venue, pool: RestPool
) -> None:
    count = 200

    async def depth(request: web.Request) -> web.Response:
        return web.Response(headers={"X-MBX-USED-WEIGHT-1M": str(count)})

    venue.answers["/depth"] = depth
    answer = await pool.fetch(fetch("/depth", weight=50), venue.base)
    assert pool.view(answer.received_ns).used == 200
    count = 190  # another server of theirs, which has not heard of everything
    answer = await pool.fetch(fetch("/depth", weight=50), venue.base)
    assert pool.view(answer.received_ns).used == 190
    count = 10
    answer = await pool.fetch(fetch("/depth", weight=50), venue.base)
    assert pool.view(answer.received_ns).used == 150, "never less than what is known to be ours"
    count = 4_801
    answer = await pool.fetch(fetch("/depth", weight=50), venue.base)
    assert pool.view(answer.received_ns).gate_ns == START + 60 * SECOND, "four fifths of 6,000 are used"


async def test_a_cursor_reaches_the_venue_as_it_was_given(venue: Venue, pool: RestPool) -> None:
    path = "/v5/market/instruments-info?category=linear&cursor=first%3DBTC%26last%3D%2Bx%252F"
    await pool.fetch(fetch(path), venue.base)
    assert venue.asked == [path]


async def test_a_redirect_leads_nowhere(venue: Venue, pool: RestPool) -> None:
    async def moved(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    venue.answers["/moved"] = moved
    answer = await pool.fetch(fetch("/moved", priority=1), venue.base)
    assert answer.outcome == FetchError(302, "HTTP 302: redirects are not followed")
    assert venue.asked == ["/moved"]


async def test_no_cookie_and_no_language_version_is_told_to_a_venue(venue: Venue, pool: RestPool) -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def look(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Cookie"), request.headers.get("User-Agent")))
        return web.Response(headers={"Set-Cookie": "who=you"})

    venue.answers["/look"] = look
    named = venue.base.replace("127.0.0.1", "localhost")  # an address gets no cookies anyway
    for number in (1, 2):
        await pool.fetch(fetch("/look", key=str(number)), named)
    assert seen == [(None, "arbtop")] * 2


async def test_a_proxy_is_used_where_it_is_configured_and_never_because_the_environment_names_one(
    venue: Venue, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Venue()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base)
        for ask in (Web(session), Web(session, proxy=proxy.base)):
            assert (await ask(URL(f"{venue.base}/time"))).status == 200
        assert venue.asked == ["/time"]
        assert proxy.asked == [f"{venue.base}/time"]


async def test_a_body_without_end_is_cut_off_and_not_asked_for_again(venue: Venue, pool: RestPool) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(40):
            await response.write(bytes(1 << 20))
        return response

    async def bomb(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(MAX_BODY + 1), 1), headers={"Content-Encoding": "gzip"})

    async def largest(request: web.Request) -> web.Response:
        return web.Response(body=bytes(MAX_BODY))

    venue.answers |= {"/endless": endless, "/bomb": bomb, "/largest": largest}
    answer = await pool.fetch(fetch("/endless", priority=1), venue.base)
    assert answer.outcome == FetchError(0, "answer larger than 32 MiB")
    assert venue.asked == ["/endless"]
    assert (await pool.fetch(fetch("/bomb"), venue.base)).status == 0
    assert len((await pool.fetch(fetch("/largest"), venue.base)).body) == MAX_BODY


async def test_a_hostile_error_page_becomes_one_clean_line(venue: Venue, pool: RestPool) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=400, body=b"\x1b]52;c;YWJj\x07<h1>\xff no" + b"x" * 100_000)

    venue.answers["/page"] = page
    answer = await pool.fetch(fetch("/page"), venue.base)
    assert answer.status == 400
    assert answer.reason.isprintable()
    assert len(answer.reason) < 120
    assert pool.view(answer.received_ns).reason == answer.reason


RAW = {
    "cut in the head": (b"HTTP/1.1 200 OK\r\nContent-Len", "connection cut"),
    "nothing at all": (b"", "connection cut"),
    "cut in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "answer cut or damaged"),
    "bad gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
        "answer cut or damaged",
    ),
    "an encoding never asked for": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
        "answer cut or damaged",
    ),
    "bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", "answer cut or damaged"),
    "bad later chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", "answer cut or damaged"),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", "answer cut or damaged"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "answer cut or damaged"),
    "a length that is none": (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", "answer cut or damaged"),
    "a head without end": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "answer cut or damaged"),
}


@pytest.mark.parametrize("case", RAW)
async def test_damage_on_the_wire_is_an_answer_that_is_none_never_an_exception(case: str, session: aiohttp.ClientSession) -> None:
    wire, reason = RAW[case]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(wire)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        made = Venue()
        made.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pool = pool_of(made, session)
        answer = await pool.fetch(fetch("/"), made.base)
        await pool.close()
    assert (answer.status, answer.outcome) == (0, FetchError(0, reason))


class Failing:
    """What stands for an HTTP session, and fails in a way that no server here can bring about."""

    closed = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, url: URL, **options: object) -> NoReturn:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        HttpProcessingError(message="bad"),
        ValueError("bad header"),
        aiohttp.InvalidURL("https://venue.invalid/?secret=1"),
        OSError(24, "Too many open files"),
        ssl.SSLError(1, "bad"),
        aiohttp.ClientError("https://venue.invalid/?secret=1"),
    ],
)
async def test_no_error_of_the_network_reaches_the_caller_and_none_tells_the_query(error: Exception) -> None:
    with pytest.raises(NoReply) as caught:
        await Web(cast(aiohttp.ClientSession, Failing(error)))(URL("https://venue.invalid/?secret=1"))
    assert caught.value.reason
    assert "secret" not in caught.value.reason


async def test_a_venue_that_hangs_or_is_not_there_is_given_up_in_time(venue: Venue, session: aiohttp.ClientSession) -> None:
    pool = pool_of(venue, session, total_s=0.05)
    answer = await pool.fetch(fetch("/held/"), venue.base)
    assert answer.outcome == FetchError(0, "no answer within 0.05 s")
    answer = await pool.fetch(fetch("/"), "http://127.0.0.1:1")
    assert answer.reason.startswith("no connection: ")
    assert pool.view(answer.received_ns).host.endswith(", 127.0.0.1:1")
    await pool.close()


async def test_a_certificate_that_nobody_signed_is_refused_and_there_is_no_way_around(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    ask = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    ask += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(ask, check=True, capture_output=True, timeout=20)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with serving(Venue(), tls) as made:
        pool = pool_of(made, session)
        answer = await pool.fetch(fetch("/", priority=1), made.base)
        await pool.close()
        assert answer.status == 0
        assert answer.reason.startswith("TLS failed: self")
        assert made.asked == []
        async with open_session(certificate) as trusting:
            pool = pool_of(made, trusting)
            assert (await pool.fetch(fetch("/"), made.base)).status == 200
            await pool.close()


@pytest.mark.parametrize(
    "base",
    [
        "http://api.binance.com",
        "http://192.168.1.7:80",
        "http://127.0.0.1@venue.invalid",
        "http://localhost.venue.invalid",
        "ftp://127.0.0.1",
        "file://",
        "//127.0.0.1",
        "",
        "http://[",
    ],
)
async def test_plain_http_leaves_this_machine_never(base: str, pool: RestPool) -> None:
    answer = await pool.fetch(fetch("/secret?key=1"), base)
    assert answer.status == 0
    assert "only https:// is asked" in answer.reason or answer.reason == "not an address"
    assert "secret" not in answer.reason


async def test_a_path_cannot_name_another_host(venue: Venue, pool: RestPool) -> None:
    for path in ("@venue.invalid/", ".venue.invalid/", "0/x", ""):
        assert (await pool.fetch(fetch(path), "https://127.0.0.1")).reason == "a path begins with /"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "[::1]", "localhost"])
async def test_this_machine_may_be_asked_in_plain(host: str, pool: RestPool) -> None:
    answer = await pool.fetch(fetch("/"), f"http://{host}:1")
    assert "only https" not in answer.reason


# -- the queue ----------------------------------------------------------------------------------------------------------------


async def fill(venue: Venue, pool: RestPool) -> list["asyncio.Task[object]"]:
    """Four requests of priority 0 that the venue holds."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(pool.fetch(fetch(f"/held/{number}"), venue.base)) for number in range(IN_FLIGHT)
    ]
    await until(lambda: len(venue.asked) == IN_FLIGHT)
    return tasks


async def test_four_at_once_and_the_more_urgent_first(venue: Venue, pool: RestPool) -> None:
    tasks = await fill(venue, pool)
    ranks = {"/c": 2, "/b": 1, "/d": 2, "/a": 0}
    tasks += [asyncio.create_task(pool.fetch(fetch(path, rank), venue.base)) for path, rank in ranks.items()]
    await until(lambda: pool.view(START).queued == 4)
    assert len(venue.asked) == IN_FLIGHT
    venue.hold.set()
    await asyncio.gather(*tasks)
    assert venue.asked[IN_FLIGHT] == "/a"
    assert sorted(venue.asked[IN_FLIGHT:]) == ["/a", "/b", "/c", "/d"]


async def test_equal_requests_are_asked_once_and_all_get_the_answer(venue: Venue, pool: RestPool) -> None:
    held = [asyncio.create_task(pool.fetch(fetch("/held/depth"), venue.base)) for _ in range(5)]
    other = asyncio.create_task(pool.fetch(fetch("/held/depth"), venue.base + "/other"))
    await until(lambda: len(venue.asked) == 2)
    venue.hold.set()
    answers = await asyncio.gather(*held)
    assert all(answer is answers[0] for answer in answers)
    assert answers[0].body == b"/held/depth"
    assert (await other).body == b"/other/held/depth"
    await pool.fetch(fetch("/held/depth"), venue.base)
    assert len(venue.asked) == 3


async def test_one_who_gives_up_takes_nothing_from_the_other_and_the_last_ends_the_request(venue: Venue, pool: RestPool) -> None:
    first, second, third = (asyncio.create_task(pool.fetch(fetch("/held/depth"), venue.base)) for _ in range(3))
    await until(lambda: len(venue.asked) == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    venue.hold.set()
    assert (await second).body == b"/held/depth"
    assert (await second) is (await third)
    venue.hold.clear()
    lonely = asyncio.create_task(pool.fetch(fetch("/held/depth"), venue.base))
    await until(lambda: len(venue.asked) == 2)
    lonely.cancel()
    again = asyncio.create_task(pool.fetch(fetch("/held/depth"), venue.base))
    await until(lambda: len(venue.asked) == 3)
    venue.hold.set()
    assert (await again).status == 200
    assert lonely.cancelled()


async def test_a_ban_stops_all_who_wait_and_they_go_on_when_it_is_over(venue: Venue, pool: RestPool) -> None:
    async def ban(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "1"}, text='{"code":-1003}')

    venue.answers["/ban"] = ban
    answer = await pool.fetch(fetch("/ban"), venue.base)
    assert answer.outcome == FetchError(429, 'HTTP 429: {"code":-1003}')
    until_ns = pool.view(answer.received_ns).gate_ns
    assert until_ns == answer.received_ns + SECOND
    waiting = [asyncio.create_task(pool.fetch(fetch(f"/{number}", number % 3), venue.base)) for number in range(8)]
    await until(lambda: pool.view(until_ns - 1).queued == 8)
    assert venue.asked == ["/ban"]
    answers = await asyncio.gather(*waiting)
    assert all(each.sent_ns >= until_ns for each in answers)


@pytest.mark.parametrize(("status", "seconds"), [(418, 60), (429, 60), (403, 600)])
async def test_a_ban_without_a_term_lasts_as_long_as_the_venue_is_known_to_want(
    status: int, seconds: int, venue: Venue, pool: RestPool
) -> None:
    async def ban(request: web.Request) -> web.Response:
        return web.Response(status=status)

    venue.answers["/ban"] = ban
    answer = await pool.fetch(fetch("/ban"), venue.base)
    assert answer.outcome == FetchError(status, f"HTTP {status}")
    assert pool.view(answer.received_ns).gate_ns == answer.received_ns + seconds * SECOND


async def test_a_stumbling_venue_is_asked_again_for_lists_and_left_alone_when_it_is_down(venue: Venue, pool: RestPool) -> None:
    answers = [500, 502, 200]

    async def stumble(request: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0))

    async def down(request: web.Request) -> web.Response:
        return web.Response(status=503)

    venue.answers |= {"/stumble": stumble, "/down": down}
    assert (await pool.fetch(fetch("/stumble", priority=1), venue.base)).status == 200
    tasks = [asyncio.create_task(pool.fetch(fetch("/down", key=str(number)), venue.base)) for number in range(20)]
    await until(lambda: pool.view(START).breaker is Breaker.OPEN)
    await asyncio.sleep(0.1)
    assert venue.asked.count("/down") <= 4 + IN_FLIGHT
    assert pool.view(START).queued >= 12
    await pool.close()
    assert {answer.reason for answer in await asyncio.gather(*tasks)} == {"HTTP 503", "stopped"}


async def test_the_pool_stops_at_once_while_asking_waiting_and_between_attempts(
    venue: Venue, session: aiohttp.ClientSession
) -> None:
    async def ban(request: web.Request) -> web.Response:
        return web.Response(status=418, headers={"Retry-After": "86400"})

    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=500)

    venue.answers |= {"/ban": ban, "/broken": broken}
    stamina.set_testing(False)
    pool = pool_of(venue, session)
    tasks = [asyncio.create_task(pool.fetch(fetch("/broken", 1), venue.base))]
    tasks += [asyncio.create_task(pool.fetch(fetch(f"/held/{number}"), venue.base)) for number in range(3)]
    await until(lambda: len(venue.asked) == 4 and pool.view(START).failed == 1)
    await pool.fetch(fetch("/ban"), venue.base)
    tasks += [asyncio.create_task(pool.fetch(fetch(f"/later/{number}", number % 3), venue.base)) for number in range(9)]
    await until(lambda: pool.view(START).queued == 9)
    async with asyncio.timeout(1):
        await pool.close()
        answers = await asyncio.gather(*tasks)
    assert {(answer.status, answer.reason) for answer in answers} == {(0, "stopped")}
    assert (await pool.fetch(fetch("/"), venue.base)).reason == "stopped"
    await pool.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("REST ")]


async def test_a_session_that_was_closed_first_is_no_exception(venue: Venue) -> None:
    session = open_session()
    pool = pool_of(venue, session)
    await session.close()
    assert (await pool.fetch(fetch("/", priority=2), venue.base)).reason == "stopped"
    await pool.close()
