"""REST: one weighted, prioritised queue for all markets that share a request limit, and one bounded HTTP request.

A venue bans who asks on (hummingbot#1291: 429, retry loop, 418 ban), so every attempt of every caller passes one place: the
queue, the gate that Retry-After closes for all, the breaker, the weight. This file knows no venue and does not look into a body.
Limits are those of `Terms`; how the limiter must be set is measured in ecosystem.md 1.

Order: priority 0 before 1 before 2, first come first served within one. A class that waits while eight requests of better classes
are begun has the next turn, the worse one first where both wait so, hence nothing waits for ever; the last of the four places in
flight is kept for priority 0. What others used of a minute is made up for before anything else but snapshots: these go ahead up
to the safe share of the venue's own count, since a book that is missing is worth more than an even pace.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from math import nan
from pathlib import Path
from typing import Final, Generic, TypeVar

import aiohttp
import stamina
from aiohttp.http import HttpProcessingError
from aiolimiter import AsyncLimiter
from msgspec import Struct
from yarl import URL

from feeds.breaker import NO_PERMIT, CircuitBreaker
from feeds.budget import retry_after_ns
from feeds.links import PoolView
from feeds.model import MS, SECOND, Ns
from feeds.text import clean_text
from feeds.venue import Fetch, FetchError, Terms
from feeds.wire import host_of, is_loopback

MAX_BODY: Final = 32 << 20
TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0, connect=5.0)
IN_FLIGHT: Final = 4
MAX_QUEUED: Final = 1_000
ATTEMPTS: Final = 3
"""For priority 1 and 2. A session asks again for a snapshot by itself, when it knows what it still needs."""
PATIENCE: Final = 8
MINUTE_NS: Final[Ns] = 60 * SECOND
CAUTION: Final = 0.8
"""Share of the limit, by the venue's own count, at which nothing more is asked in this minute."""
FORBIDDEN_NS: Final[Ns] = 10 * MINUTE_NS
"""Bybit answers 403 to who asks too often and lets him in again after ten minutes (protocols.md 2.1)."""
BANS: Final[Mapping[int, Ns]] = {429: MINUTE_NS, 418: MINUTE_NS, 403: FORBIDDEN_NS}
"""Statuses that close the gate, and for how long where no Retry-After says so."""
ASKED_AGAIN: Final = frozenset({429, 418})
LOOK_S: Final = 0.05
"""Pause before the weight is looked at again. Who waits within the limiter is overtaken, and cannot give way to a better one."""

T = TypeVar("T", bound=Hashable)


class RestAnswer(Struct, frozen=True):
    """What came of a request. `status` 0: no answer. `reason`, already clean: why there is none, or what the error says."""

    status: int
    body: bytes
    sent_ns: Ns
    received_ns: Ns
    reason: str = ""

    @property
    def outcome(self) -> bytes | FetchError:
        """As a session is told it: the body of a success, or the error."""
        return self.body if 200 <= self.status < 300 else FetchError(self.status, self.reason)


class Reply(Struct, frozen=True):
    """An HTTP answer of any status, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoReply(Exception):  # noqa: N818 - what happened
    """There is no whole answer. `final`: asking again cannot help."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


def open_session(ca_file: Path | None = None) -> aiohttp.ClientSession:
    """The one HTTP session of the program, to be closed by its owner. TLS is verified; there is no way to switch that off.

    Args:
        ca_file: further certificates to trust, PEM.

    Raises:
        OSError, ssl.SSLError: the file cannot be used.
    """
    tls = ssl.create_default_context()
    if ca_file is not None:
        tls.load_verify_locations(ca_file)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls), cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "arbtop"}
    )


class Web:
    """One GET, bounded in time and size. No redirect is followed; a proxy is used only where one is given."""

    def __init__(
        self, session: aiohttp.ClientSession, proxy: str | None = None, timeout: aiohttp.ClientTimeout = TIMEOUT
    ) -> None:
        self._session = session
        self._proxy = proxy
        self._timeout = timeout

    async def __call__(self, url: URL) -> Reply:
        """Raises NoReply, and nothing else that a network can cause."""
        if self._session.closed:
            raise NoReply("stopped", final=True)
        try:
            async with self._session.get(
                url, proxy=self._proxy, timeout=self._timeout, allow_redirects=False, raise_for_status=False
            ) as response:
                return Reply(response.status, response.headers, await _bounded(response.content))
        except (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError, ValueError) as error:
            raise self._no_reply(error) from None

    def _no_reply(self, error: Exception) -> NoReply:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return NoReply(f"no connection within {self._timeout.connect:g} s")
            case TimeoutError():
                return NoReply(f"no answer within {self._timeout.total:g} s")
            case aiohttp.ClientConnectorCertificateError():
                text = getattr(error.certificate_error, "verify_message", "") or "certificate refused"
                return NoReply(clean_text(f"TLS failed: {text}", 100), final=True)
            case aiohttp.ClientSSLError():
                return NoReply(clean_text(f"TLS failed: {getattr(error.os_error, 'reason', '') or 'no handshake'}", 100))
            case aiohttp.ClientConnectorError():
                cause = error.os_error
                return NoReply(clean_text(f"no connection: {cause.strerror or type(cause).__name__}", 100))
            case aiohttp.ServerDisconnectedError() | ConnectionResetError() | aiohttp.ClientOSError():
                return NoReply("connection cut")
            case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError() | HttpProcessingError():
                return NoReply("answer cut or damaged")
        return NoReply(type(error).__name__)


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    chunks, size = [], 0
    async for chunk in content.iter_chunked(1 << 16):
        size += len(chunk)
        if size > MAX_BODY:
            raise NoReply(f"answer larger than {MAX_BODY >> 20} MiB", final=True)
        chunks.append(chunk)
    return b"".join(chunks)


class Line(Generic[T]):
    """Who is next: the rule of this module's head. Classes are 0, 1, 2."""

    def __init__(self) -> None:
        self._classes: tuple[dict[T, None], ...] = ({}, {}, {})
        self._passed = [0, 0, 0]

    def __len__(self) -> int:
        return sum(map(len, self._classes))

    def put(self, item: T, priority: int) -> None:
        self._classes[min(max(priority, 0), 2)][item] = None

    def drop(self, item: T) -> bool:
        """It waits no more, and had no turn. Whether it was waiting."""
        return any(waiting.pop(item, 0) is None for waiting in self._classes)

    def first(self, urgent: bool = False) -> T | None:
        """Who is next; `urgent`: of priority 0 alone."""
        due = () if urgent else (rank for rank in (2, 1) if self._passed[rank] >= PATIENCE)
        ranks = (0,) if urgent else (*due, 0, 1, 2)
        return next((item for rank in ranks for item in self._classes[rank]), None)

    def take(self, item: T) -> None:
        """It has its turn."""
        rank = next(rank for rank, waiting in enumerate(self._classes) if item in waiting)
        del self._classes[rank][item]
        self._passed[rank] = 0
        for behind in range(rank + 1, 3):
            self._passed[behind] = self._passed[behind] + 1 if self._classes[behind] else 0


class _Again(Exception):  # noqa: N818 - what is to be done
    """This attempt came to nothing, another may not."""

    def __init__(self, answer: RestAnswer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


class _Job:
    """A request that somebody waits for, in all its attempts."""

    def __init__(self, name: tuple[str, str], url: URL, weight: int, priority: int) -> None:
        self.name = name
        self.url = url
        self.weight = weight
        self.priority = priority
        self.waiters = 0
        self.permit = NO_PERMIT
        """Of the breaker; held from the turn to the end of the attempt."""
        self.lesser = False
        """In flight, and not of priority 0 when its turn came."""
        self.answer: asyncio.Future[RestAnswer] = asyncio.get_running_loop().create_future()
        self.turn: asyncio.Future[None]
        self.task: asyncio.Task[RestAnswer] | None = None


class RestPool:
    """All requests under one limit. To be used in one event loop, and closed before the HTTP session is.

    Args:
        terms: of any of the markets that name this pool.
        ask: one HTTP request, `Web` but in tests.
        stamp: receive time, UTC ns (`ReceiveClock.stamp`).
    """

    def __init__(
        self, terms: Terms, ask: Callable[[URL], Awaitable[Reply]], stamp: Callable[[], Ns], breaker: CircuitBreaker | None = None
    ) -> None:
        self.name = terms.pool
        self.limit = terms.weight_per_minute
        rate = 0.9 * self.limit / 65
        self.heaviest = 5 * rate
        """The greatest weight that one request may have."""
        self._ask = ask
        self._stamp = stamp
        self._used_weight = terms.used_weight
        self._limiter = AsyncLimiter(self.heaviest, 5)
        self._breaker = breaker if breaker is not None else CircuitBreaker()
        self._hosts = [host_of(terms.rest)]
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._tasks: set[asyncio.Task[RestAnswer]] = set()
        self._line: Line[_Job] = Line()
        self._changed = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._closed = False
        self._in_flight = self._lesser = 0
        self._gate_ns: Ns = 0
        self._spent: deque[tuple[Ns, int]] = deque()
        """What was asked in the last 60 s, with its weight."""
        self._minute = 0
        self._others = self._debt = self._venue_used = 0
        """In this minute: weight beyond ours by the venue's count, how much of that is still to be acquired, and the count."""
        self._answered = self._failed = 0
        self._last_ms = nan
        self._reason = ""

    async def fetch(self, fetch: Fetch, base: str) -> RestAnswer:
        """Ask for `base + fetch.path` when its turn comes. One that equals a waiting one by (base, key) gets that one's answer.

        Never raises for what a network or a venue can do; may be cancelled, which does not touch others that wait for the same.
        """
        job = self._jobs.get((base, fetch.key))
        if job is None:
            if refusal := self._refusal(fetch, base):
                return self._no_answer(refusal)
            job = self._begin(fetch, base)
        elif fetch.priority < job.priority:
            job.priority = fetch.priority
            if self._line.drop(job):
                self._line.put(job, job.priority)
                self._changed.set()
        job.waiters += 1
        try:
            return await asyncio.shield(job.answer)
        finally:
            job.waiters -= 1
            if not job.waiters and self._jobs.get(job.name) is job and job.task is not None:
                del self._jobs[job.name]
                self._line.drop(job)  # now: its turn may come before the cancelled task runs
                job.task.cancel()

    async def close(self) -> None:
        """Stop at once, whatever is under way; who still waits is answered "stopped"."""
        self._closed = True
        tasks: list[asyncio.Task[RestAnswer] | asyncio.Task[None]] = [*self._tasks]
        if self._server is not None:
            tasks.append(self._server)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def view(self, now: Ns) -> PoolView:
        """How it stands."""
        self._age(now)
        return PoolView(
            name=self.name,
            host=", ".join(self._hosts),
            used=max(self._ours(), self._venue_used),
            limit=self.limit,
            queued=len(self._line),
            gate_ns=self._gate_ns if self._gate_ns > now else 0,
            breaker=self._breaker.state,
            answered=self._answered,
            failed=self._failed,
            last_ms=self._last_ms,
            reason=self._reason,
        )

    # -- a request's life --------------------------------------------------------------------------------------------------

    def _refusal(self, fetch: Fetch, base: str) -> str:
        """Why a request is not even queued, in one line; empty when it may be."""
        if self._closed:
            return "stopped"
        if not 0 <= fetch.weight <= self.heaviest:
            return f"weight {fetch.weight} of one request: {self.name} grants 0 to {int(self.heaviest)} at once"
        try:
            url = URL(base + fetch.path)
        except ValueError:
            return "not an address"
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host or "")):
            return f"{clean_text(url.scheme)}://{host_of(base)}: only https:// is asked, http:// on this machine alone"
        if not fetch.path.startswith("/"):
            return "a path begins with /"
        if len(self._jobs) >= MAX_QUEUED:
            return f"{MAX_QUEUED} requests wait already"
        return ""

    def _begin(self, fetch: Fetch, base: str) -> _Job:
        job = _Job((base, fetch.key), URL(base + fetch.path), fetch.weight, fetch.priority)
        if (host := host_of(base)) not in self._hosts:
            self._hosts.append(host)
        self._jobs[job.name] = job
        if self._server is None:
            self._server = asyncio.create_task(self._serve(), name=f"REST {self.name}")
        job.task = asyncio.create_task(self._carry(job), name=f"REST {self.name} {fetch.key}")
        self._tasks.add(job.task)
        job.task.add_done_callback(lambda task: self._finish(job, task))
        return job

    async def _carry(self, job: _Job) -> RestAnswer:
        """All attempts. The gate does the waiting that a Retry-After asks for, here is only the jitter."""
        attempts = ATTEMPTS if job.priority > 0 else 1
        answer = self._no_answer("stopped")
        try:
            async for attempt in stamina.retry_context(
                on=_Again, attempts=attempts, timeout=None, wait_initial=0.5, wait_max=10.0, wait_jitter=1.0
            ):
                with attempt:
                    answer = await self._attempt(job)
        except _Again as last:
            answer = last.answer
        return answer

    async def _attempt(self, job: _Job) -> RestAnswer:
        job.turn = asyncio.get_running_loop().create_future()
        self._line.put(job, job.priority)
        self._changed.set()
        try:
            await job.turn
            return await self._asked(job)
        finally:
            self._line.drop(job)
            if job.permit != NO_PERMIT:
                self._breaker.abandoned(job.permit)  # void unless it was a probe that nothing came of
                job.permit = NO_PERMIT
                self._in_flight -= 1
                self._lesser -= job.lesser
            self._changed.set()

    async def _asked(self, job: _Job) -> RestAnswer:
        sent_ns = self._stamp()
        try:
            reply = await self._ask(job.url)
        except NoReply as trouble:
            now = self._stamp()
            self._breaker.failed(job.permit, now)
            answer = RestAnswer(0, b"", sent_ns, now, trouble.reason)
            return self._failure(answer, again=not trouble.final)
        now = self._stamp()
        self._last_ms = (now - sent_ns) / MS
        status = reply.status
        if status >= 500:
            self._breaker.failed(job.permit, now)
        else:
            self._breaker.answered(job.permit, now, now - sent_ns)
        self._learn(reply.headers.get(self._used_weight) if self._used_weight else None, now)
        if 200 <= status < 300:
            self._answered += 1
            return RestAnswer(status, reply.body, sent_ns, now)
        if status in BANS:
            self._close_gate(now + retry_after_ns(reply.headers.get("Retry-After"), now, BANS[status]))
        said = clean_text(reply.body, 100).strip()
        reason = "redirects are not followed" if 300 <= status < 400 else said
        answer = RestAnswer(status, reply.body, sent_ns, now, f"HTTP {status}: {reason}" if reason else f"HTTP {status}")
        return self._failure(answer, again=status >= 500 or status in ASKED_AGAIN)

    def _failure(self, answer: RestAnswer, again: bool) -> RestAnswer:
        self._failed += 1
        self._reason = answer.reason
        if again:
            raise _Again(answer)
        return answer

    def _finish(self, job: _Job, task: "asyncio.Task[RestAnswer]") -> None:
        self._tasks.discard(task)
        if self._jobs.get(job.name) is job:
            del self._jobs[job.name]
        if task.cancelled():
            job.answer.set_result(self._no_answer("stopped"))
        elif error := task.exception():
            job.answer.set_exception(error)
        else:
            job.answer.set_result(task.result())

    def _no_answer(self, reason: str) -> RestAnswer:
        now = self._stamp()
        return RestAnswer(0, b"", now, now, reason)

    # -- whose turn it is --------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Give turns, one after the other; look again when something changes or a wait is over."""
        while True:
            self._changed.clear()
            wait_s = await self._next_turn()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _next_turn(self) -> float | None:
        """Let go whoever may. Returns after how many seconds to look again; None: not before something changes."""
        while True:
            now = self._stamp()
            self._age(now)
            share = min(self._debt, max(int(self.heaviest / 5), 1))
            ahead = self._goes_ahead(now) if share else None
            if share and ahead is None:
                if not self._limiter.has_capacity(share):
                    return LOOK_S
                await self._limiter.acquire(share)
                self._debt -= share
                continue
            job = ahead or self._line.first(urgent=self._lesser >= IN_FLIGHT - 1)
            if job is None or self._in_flight >= IN_FLIGHT:
                return None
            if self._gate_ns > now:
                return (self._gate_ns - now) / SECOND
            if not self._limiter.has_capacity(job.weight):
                return LOOK_S
            permit = self._breaker.admit(now)
            if permit == NO_PERMIT:
                return max(self._breaker.probe_ns - now, MS) / SECOND if self._breaker.probe_ns else None
            await self._limiter.acquire(job.weight)  # does not wait: there is capacity, and nobody else acquires
            self._line.take(job)
            self._spent.append((now, job.weight))
            job.permit, job.lesser = permit, job.priority > 0
            self._in_flight += 1
            self._lesser += job.lesser
            job.turn.set_result(None)

    def _goes_ahead(self, now: Ns) -> _Job | None:
        """A snapshot that need not wait until what others used is made up for: the minute's safe share holds it as well."""
        job = self._line.first(urgent=True)
        if job is None or self._gate_ns > now or self._in_flight >= IN_FLIGHT:
            return None
        return job if self._ours() + self._others + job.weight <= CAUTION * self.limit else None

    # -- what the venue allows ---------------------------------------------------------------------------------------------

    def _age(self, now: Ns) -> None:
        """Forget what a minute has passed over."""
        while self._spent and now - self._spent[0][0] >= MINUTE_NS:
            self._spent.popleft()
        if now // MINUTE_NS != self._minute:
            self._minute = now // MINUTE_NS
            self._others = self._debt = self._venue_used = 0

    def _ours(self) -> int:
        return sum(weight for _, weight in self._spent)

    def _learn(self, header: str | None, now: Ns) -> None:
        """The venue's own count of this minute: whatever it has beyond ours was used by others, and is not ours to use."""
        if header is None or not (header.isascii() and header.isdigit() and len(header) <= 9):
            return
        self._age(now)
        self._venue_used = int(header)
        more = self._venue_used - self._ours() - self._others
        if more > 0:
            self._others += more
            self._debt += more
        if self._venue_used > CAUTION * self.limit:
            self._close_gate((self._minute + 1) * MINUTE_NS)

    def _close_gate(self, until: Ns) -> None:
        self._gate_ns = max(self._gate_ns, until)
