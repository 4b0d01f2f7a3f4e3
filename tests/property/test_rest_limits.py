"""The weight that a venue allows is never overdrawn, nothing in the queue waits for ever, and no pattern of calls jams the pool.

Time is the loop's own and is skipped, not waited for: an hour of a pool's life takes a fraction of a second.
"""

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import pairwise
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from feeds.breaker import CircuitBreaker
from feeds.links import Breaker
from feeds.model import SECOND, Ns
from feeds.rest import IN_FLIGHT, LOOK_S, MAX_QUEUED, PATIENCE, Line, NoReply, Reply, RestAnswer, RestPool
from feeds.venue import Fetch, FetchError, Terms

T = TypeVar("T")
START: Ns = 1_790_784_000 * SECOND
"""The beginning of a minute."""
BASE = "https://venue.invalid"
USED = "X-Used"


class Skipping(selectors.SelectSelector):
    """Waits for nothing: the time that a loop would have slept has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen again: the pool hangs"
        self.skipped_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.skipped_s


def virtually(story: Callable[[], Coroutine[None, None, T]]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story())


def now_s() -> float:
    return asyncio.get_running_loop().time()


def stamp() -> Ns:
    return START + int(now_s() * SECOND)


class Asked:
    """A venue that keeps a list of what it was asked, and answers as it is told."""

    def __init__(self, answer: Callable[[URL], Reply] | None = None, takes_s: Callable[[], float] = lambda: 0.05) -> None:
        self.log: list[tuple[float, str]] = []
        self.under_way = self.most_under_way = 0
        self._answer = answer or (lambda url: Reply(200, {}, url.path.encode()))
        self._takes_s = takes_s

    async def __call__(self, url: URL) -> Reply:
        self.log.append((now_s(), url.path))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self._takes_s())
        finally:
            self.under_way -= 1
        return self._answer(url)


def pool_of(
    ask: Callable[[URL], Awaitable[Reply]], limit: int = 1_200, used_weight: str = "", breaker: CircuitBreaker | None = None
) -> RestPool:
    terms = Terms(rest=BASE, pool="VENUE", weight_per_minute=limit, sends_per_s=5, used_weight=used_weight)
    return RestPool(terms, ask, stamp, breaker)


def fetch(name: str, weight: int = 1, priority: int = 1) -> Fetch:
    return Fetch(key=name, path=f"/{name}", weight=weight, priority=priority)


def heaviest_minute(log: list[tuple[float, int]]) -> int:
    """The greatest weight within any 60 s, both ends included."""
    return max((sum(weight for at, weight in log if begin <= at <= begin + 60.0) for begin, _ in log), default=0)


ARRIVAL = st.tuples(
    st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 2.0, 5.0, 20.0]),
    st.integers(0, 83),
    st.integers(0, 2),
    st.sampled_from([None, None, None, 0.0, 0.02, 1.0, 30.0]),
    st.sampled_from([1, 1, 3, 20]),
)
"""Seconds since the last, weight, priority, after how long the callers give up, and how many come at once."""


@settings(max_examples=40, deadline=None)
@given(
    bursts=st.lists(ARRIVAL, max_size=40),
    seed=st.integers(0, 2**32),
    trouble=st.sampled_from([0.0, 0.1, 0.6]),
    others=st.sampled_from([0, 100, 700]),
)
def test_no_arrivals_no_faults_and_no_cancellations_overdraw_the_weight_of_a_minute_or_jam_the_pool(
    bursts: list[tuple[float, int, int, float | None, int]], seed: int, trouble: float, others: int
) -> None:
    arrivals = [
        (0.0 if number else gap, weight, priority, patience)
        for gap, weight, priority, patience, size in bursts
        for number in range(size)
    ]
    random, weights = Random(seed), {f"/{number}": weight for number, (_, weight, _, _) in enumerate(arrivals)}

    def answer(url: URL) -> Reply:
        if random.random() >= trouble:
            return Reply(200, {USED: str(others + random.randrange(200))}, b"")
        match random.randrange(4):
            case 0:
                return Reply(429, {"Retry-After": "20"}, b"")
            case 1:
                raise NoReply("connection cut")
            case 2:
                return Reply(400, {}, b"")
            case _:
                return Reply(503, {}, b"")

    async def story() -> tuple[list[RestAnswer | None], Asked, RestPool]:
        asked = Asked(answer, lambda: random.choice([0.0, 0.05, 1.0, 7.0]))
        pool = pool_of(asked, used_weight=USED)

        async def caller(number: int, weight: int, priority: int, patience: float | None) -> RestAnswer | None:
            try:
                async with asyncio.timeout(patience):
                    return await pool.fetch(fetch(str(number), weight, priority), BASE)
            except TimeoutError:
                return None

        callers = []
        for number, (gap, weight, priority, patience) in enumerate(arrivals):
            await asyncio.sleep(gap)
            callers.append(asyncio.create_task(caller(number, weight, priority, patience)))
        answers = [await each for each in callers]
        assert await pool.fetch(fetch("after all that", 1, 2), BASE) is not None
        assert pool.view(stamp()).queued == 0
        await pool.close()
        assert len(asyncio.all_tasks()) == 1
        return answers, asked, pool

    answers, asked, pool = virtually(story)
    log = [(at, weights.get(path, 1)) for at, path in asked.log]
    assert heaviest_minute(log) <= 0.9 * pool.limit + 1e-6
    assert asked.most_under_way <= IN_FLIGHT
    for (_, _, _, patience), answered in zip(arrivals, answers, strict=True):
        assert answered is not None or patience is not None


def test_the_first_minute_is_not_granted_twice_over_and_the_rate_is_used() -> None:
    async def story() -> list[tuple[float, str]]:
        asked = Asked()
        pool = pool_of(asked, limit=1_200)
        await asyncio.gather(*(pool.fetch(fetch(str(number), 20), BASE) for number in range(200)))
        await pool.close()
        return asked.log

    log = [(at, 20) for at, _ in virtually(story)]
    assert heaviest_minute(log) <= 1_080
    assert heaviest_minute(log) >= 1_000
    assert log[-1][0] < 4_000 / (1_080 / 65)


@given(arrivals=st.lists(st.lists(st.sampled_from([0, 0, 1, 2]), max_size=3), min_size=1, max_size=150), left=st.integers(0, 99))
def test_no_class_waits_for_ever_and_the_first_come_are_the_first_served(arrivals: list[list[int]], left: int) -> None:
    line: Line[int] = Line()
    waiting: dict[int, list[int]] = {0: [], 1: [], 2: []}
    turns_waited = {0: 0, 1: 0, 2: 0}
    number = 0
    for coming in [*arrivals, *[[0]] * 30]:
        for rank in coming:
            number += 1
            line.put(number, rank)
            waiting[rank].append(number)
        if number % 100 == left and waiting[1]:
            assert line.drop(waiting[1].pop())
        first = line.first()
        if first is None:
            assert not any(waiting.values())
            continue
        line.take(first)
        assert not line.drop(first)
        rank = next(rank for rank, queue in waiting.items() if first in queue)
        assert waiting[rank].pop(0) == first, "overtaken within its class"
        for each, queue in waiting.items():
            turns_waited[each] = turns_waited[each] + 1 if queue and each != rank else 0
        assert turns_waited[2] <= PATIENCE
        assert turns_waited[1] <= PATIENCE + 2, "its own eight, and two of the class behind"
        assert turns_waited[0] <= 2
        assert len(line) == sum(map(len, waiting.values()))


def test_snapshots_go_first_and_history_last_but_not_never() -> None:
    async def story() -> list[str]:
        asked = Asked()
        pool = pool_of(asked, limit=100)
        names = [(f"{kind}{number}", rank) for number in range(12) for rank, kind in ((2, "history"), (1, "list"), (0, "book"))]
        await asyncio.gather(*(pool.fetch(fetch(name, 6, rank), BASE) for name, rank in names))
        await pool.close()
        return [path[1:] for _, path in asked.log]

    order = virtually(story)
    assert order[:8] == [f"book{number}" for number in range(8)]
    assert order[8:10] == ["history0", "list0"]
    assert order[10:14] == [f"book{number}" for number in range(8, 12)]
    assert order[14] == "list1"


def test_a_snapshot_finds_a_place_while_slow_history_hangs() -> None:
    async def story() -> tuple[list[tuple[float, str]], int]:
        asked = Asked(takes_s=lambda: 9.0)
        pool = pool_of(asked)
        slow = [asyncio.create_task(pool.fetch(fetch(f"history{number}", 1, 2), BASE)) for number in range(6)]
        await asyncio.sleep(1.0)
        await pool.fetch(fetch("book", 1, 0), BASE)
        await asyncio.gather(*slow)
        await pool.close()
        return asked.log, asked.most_under_way

    log, most = virtually(story)
    assert [at for at, path in log if path == "/book"] == [pytest.approx(1.0, abs=0.01)]
    assert most == IN_FLIGHT


def test_a_request_that_gets_more_urgent_moves_up() -> None:
    async def story() -> list[str]:
        asked = Asked(takes_s=lambda: 1.0)
        pool = pool_of(asked)
        async with asyncio.TaskGroup() as group:
            for number in range(IN_FLIGHT - 1):
                group.create_task(pool.fetch(fetch(f"first{number}", 1, 1), BASE))
            await asyncio.sleep(0.1)
            for name in ("a", "b", "c"):
                group.create_task(pool.fetch(fetch(name, 1, 2), BASE))
            await asyncio.sleep(0.1)
            group.create_task(pool.fetch(fetch("c", 1, 0), BASE))
        await pool.close()
        return [path[1:] for _, path in asked.log[IN_FLIGHT - 1 :]]

    assert virtually(story) == ["c", "a", "b"]


def test_a_request_that_can_never_be_granted_is_refused_at_once_and_says_why() -> None:
    async def story() -> list[RestAnswer]:
        asked = Asked()
        pool = pool_of(asked, limit=1_200)
        answers = [await pool.fetch(fetch(str(weight), weight), BASE) for weight in (83, 84, -1, 0)]
        await pool.close()
        return answers

    answers = virtually(story)
    assert [each.status for each in answers] == [200, 0, 0, 200]
    assert answers[1].outcome == FetchError(0, "weight 84 of one request: VENUE grants 0 to 83 at once")


def test_a_queue_that_is_full_refuses_instead_of_growing_and_equal_requests_need_no_place_in_it() -> None:
    async def story() -> tuple[list[RestAnswer], int]:
        asked = Asked(lambda url: Reply(429, {"Retry-After": "3600"}, b""))
        pool = pool_of(asked)
        await pool.fetch(fetch("ban", 1, 0), BASE)
        callers = [asyncio.create_task(pool.fetch(fetch(str(number), 1), BASE)) for number in range(MAX_QUEUED)]
        callers += [asyncio.create_task(pool.fetch(fetch("7", 1), BASE)) for _ in range(50)]
        await asyncio.sleep(1.0)
        one_more = await pool.fetch(fetch("one more", 1), BASE)
        queued = pool.view(stamp()).queued
        await pool.close()
        return [one_more, *(await asyncio.gather(*callers))], queued

    (one_more, *rest), queued = virtually(story)
    assert one_more.reason == f"{MAX_QUEUED} requests wait already"
    assert queued == MAX_QUEUED
    assert {(each.status, each.reason) for each in rest} == {(0, "stopped")}


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7),
        (418, {"Retry-After": "9999999"}, 259_200),
        (429, {"Retry-After": "Wed, 30 Sep 2026 16:01:30 GMT"}, 90),
        (429, {"Retry-After": "later"}, 60),
        (418, {}, 60),
        (403, {}, 600),
        (403, {"Retry-After": "5"}, 5),
    ],
)
def test_one_ban_holds_every_caller_for_as_long_as_the_venue_says(status: int, headers: Mapping[str, str], seconds: int) -> None:
    banned = True

    def answer(url: URL) -> Reply:
        nonlocal banned
        was, banned = banned, False
        return Reply(status, headers, b"slow down") if was else Reply(200, {}, b"")

    async def story() -> tuple[RestAnswer, list[tuple[float, str]], Ns, int]:
        asked = Asked(answer, lambda: 0.0)
        pool = pool_of(asked)
        first = await pool.fetch(fetch("first", 1, 0), BASE)
        gate = pool.view(stamp()).gate_ns
        waiting = [asyncio.create_task(pool.fetch(fetch(str(number), 1, number % 3), BASE)) for number in range(6)]
        await asyncio.sleep(seconds - 0.5)
        queued = pool.view(stamp()).queued
        await asyncio.gather(*waiting)
        assert pool.view(stamp()).gate_ns == 0
        await pool.close()
        return first, asked.log, gate, queued

    first, log, gate, queued = virtually(story)
    assert (first.status, first.reason) == (status, f"HTTP {status}: slow down")
    assert gate == pytest.approx(START + seconds * SECOND, abs=SECOND // 100)
    assert queued == 6
    assert [at >= seconds for at, _ in log] == [False] + [True] * 6
    assert log[-1][0] < seconds + 1.0


def test_a_list_that_met_a_ban_is_asked_for_again_when_it_is_over_and_a_snapshot_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(priority: int) -> tuple[RestAnswer, list[float]]:
        monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)  # by which the retries are timed
        replies = [Reply(429, {"Retry-After": "100"}, b""), Reply(503, {}, b""), Reply(200, {}, b"all")]
        asked = Asked(lambda url: replies.pop(0), lambda: 0.0)
        pool = pool_of(asked)
        answer = await pool.fetch(fetch("it", 1, priority), BASE)
        await pool.close()
        return answer, [at for at, _ in asked.log]

    answer, times = virtually(lambda: story(1))
    assert answer.outcome == b"all"
    assert 100 <= times[1] < 101 < times[2]
    answer, times = virtually(lambda: story(0))
    assert answer.status == 429
    assert len(times) == 1


@pytest.mark.parametrize(("priority", "attempts"), [(0, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("trouble", [503, 500, 0])
def test_a_broken_answer_is_asked_for_again_with_jitter_but_not_for_ever(priority: int, attempts: int, trouble: int) -> None:
    def answer(url: URL) -> Reply:
        if trouble:
            return Reply(trouble, {}, b"<html>")
        raise NoReply("connection cut")

    async def story() -> tuple[RestAnswer, list[float]]:
        asked = Asked(answer, lambda: 0.0)
        pool = pool_of(asked)
        told = await pool.fetch(fetch("it", 1, priority), BASE)
        await pool.close()
        return told, [at for at, _ in asked.log]

    told, times = virtually(story)
    assert told.status == trouble
    assert told.reason == (f"HTTP {trouble}: <html>" if trouble else "connection cut")
    assert len(times) == attempts
    assert all(0.5 <= later - earlier <= 2.1 for earlier, later in pairwise(times))


def test_a_refusal_that_no_repetition_mends_is_told_at_once() -> None:
    async def story(reply: Reply | NoReply) -> tuple[RestAnswer, int]:
        def answer(url: URL) -> Reply:
            if isinstance(reply, NoReply):
                raise reply
            return reply

        asked = Asked(answer, lambda: 0.0)
        pool = pool_of(asked)
        told = await pool.fetch(fetch("it", 1, 1), BASE)
        await pool.close()
        return told, len(asked.log)

    for reply in (Reply(400, {}, b"bad symbol"), Reply(403, {}, b""), Reply(451, {}, b""), Reply(302, {}, b"")):
        told, asked = virtually(lambda reply=reply: story(reply))  # type: ignore[misc]
        assert (told.status, asked) == (reply.status, 1)
    told, asked = virtually(lambda: story(NoReply("TLS failed", final=True)))
    assert (told.status, told.reason, asked) == (0, "TLS failed", 1)


def test_above_four_fifths_of_the_venues_own_count_nothing_is_asked_before_the_next_minute() -> None:
    counts = iter([960, 961, 5, 6])

    async def story() -> list[float]:
        asked = Asked(lambda url: Reply(200, {USED: str(next(counts))}, b""), lambda: 0.0)
        pool = pool_of(asked, limit=1_200, used_weight=USED)
        await asyncio.sleep(1.0)
        for name in ("a", "b", "c"):
            await pool.fetch(fetch(name, 1, 0), BASE)
            if name == "b":
                view = pool.view(stamp())
                assert (view.used, view.gate_ns) == (961, START + 60 * SECOND)
        assert pool.view(stamp()).used == 5
        await pool.close()
        return [at for at, _ in asked.log]

    times = virtually(story)
    assert times[1] < 59.9, "960 of 1,200 is not above four fifths"
    assert times[2] == pytest.approx(60.0, abs=0.01)


def test_what_others_used_of_the_limit_is_acquired_before_anything_but_snapshots_and_only_once() -> None:
    counts = iter([501, 502, 503])

    async def story() -> list[float]:
        asked = Asked(lambda url: Reply(200, {USED: str(next(counts))}, b""), lambda: 0.0)
        pool = pool_of(asked, limit=1_200, used_weight=USED)
        for name in ("a", "b", "c"):
            await pool.fetch(fetch(name, 1, 1), BASE)
        await pool.close()
        return [at for at, _ in asked.log]

    times = virtually(story)
    rate = 1_080 / 65
    assert times[1] == pytest.approx((500 - 5 * rate) / rate, abs=1.5)
    assert times[2] - times[1] <= 2 * LOOK_S


def test_what_others_used_counts_in_its_minute_alone_and_is_looked_at_anew_in_the_next() -> None:
    counts = iter([900, 900, 901])

    async def story() -> list[float]:
        asked = Asked(lambda url: Reply(200, {USED: str(next(counts))}, b""), lambda: 0.0)
        pool = pool_of(asked, limit=1_200, used_weight=USED)
        await asyncio.sleep(40.0)
        for name in ("a", "b", "c"):
            await pool.fetch(fetch(name, 1, 1), BASE)
        await pool.close()
        return [at for at, _ in asked.log]

    first, second, third = virtually(story)
    rate = 1_080 / 65
    assert first == 40.0
    assert second == pytest.approx(60.0, abs=0.1), "the rest of what is owed ends with the minute"
    assert third == pytest.approx(60.0 + 900 / rate, abs=2.0), "what others use in the new minute is owed again"


def test_snapshots_need_not_wait_for_what_others_used_while_the_minute_safely_holds_both() -> None:
    """A program that is begun again within a minute finds most of it used, by itself."""
    used = 400

    def answer(url: URL) -> Reply:
        nonlocal used
        used += 20
        return Reply(200, {USED: str(used)}, b"")

    async def story() -> list[tuple[float, str]]:
        asked = Asked(answer, lambda: 0.0)
        pool = pool_of(asked, limit=1_200, used_weight=USED)
        await pool.fetch(fetch("list", 20, 1), BASE)
        books = [asyncio.create_task(pool.fetch(fetch(f"book{number}", 20, 0), BASE)) for number in range(40)]
        history = asyncio.create_task(pool.fetch(fetch("history", 20, 2), BASE))
        await asyncio.sleep(40.0)
        assert not history.done()
        assert pool.view(stamp()).gate_ns == 0
        await asyncio.gather(*books, history)
        await pool.close()
        return asked.log

    log = virtually(story)
    rate = 1_080 / 65
    books = [at for at, path in log if path.startswith("/book")]
    assert books[0] < 1.5
    within = [at for at in books if at < 60.0]
    assert len(within) == (960 - 420) // 20, "up to four fifths of the minute, and no farther"
    assert within[-1] < 20 * len(within) / rate, "at the pace that is ours alone"


def test_a_short_ban_that_is_told_late_does_not_shorten_a_long_one() -> None:
    async def story() -> Ns:
        def answer(url: URL) -> Reply:
            return Reply(429, {"Retry-After": url.path[1:]}, b"")

        asked = Asked(answer, lambda: 1.0)
        pool = pool_of(asked)
        first = asyncio.create_task(pool.fetch(fetch("300", 1, 0), BASE))
        await asyncio.sleep(0.5)
        await pool.fetch(fetch("5", 1, 0), BASE)
        await first
        gate = pool.view(stamp()).gate_ns
        await pool.close()
        return gate

    assert virtually(story) == START + 301 * SECOND


@pytest.mark.parametrize("header", ["", "many", "-1", "1e9", "٣٠٠", "9" * 400, "1_0"])
def test_a_senseless_count_is_no_count(header: str) -> None:
    async def story() -> tuple[int, Ns]:
        pool = pool_of(Asked(lambda url: Reply(200, {USED: header}, b"")), used_weight=USED)
        await pool.fetch(fetch("it", 7), BASE)
        view = pool.view(stamp())
        await pool.close()
        return view.used, view.gate_ns

    assert virtually(story) == (7, 0)


def test_a_broken_host_gets_single_probes_and_the_queue_waits_for_a_good_one() -> None:
    async def story() -> tuple[list[tuple[float, str]], int]:
        def answer(url: URL) -> Reply:
            if now_s() < 20.0:
                raise NoReply("no connection: refused")
            return Reply(200, {}, b"")

        asked = Asked(answer, lambda: 0.2)
        pool = pool_of(asked, breaker=CircuitBreaker(failures=3, cool_ns=2 * SECOND, cool_max_ns=8 * SECOND))
        callers = [asyncio.create_task(pool.fetch(fetch(str(number), 1, 0), BASE)) for number in range(12)]
        await asyncio.sleep(1.0)
        view = pool.view(stamp())
        assert (view.breaker, view.failed, view.queued) == (Breaker.OPEN, 4, 8)
        assert view.reason == "no connection: refused"
        answers = await asyncio.gather(*callers)
        assert pool.view(stamp()).breaker is Breaker.CLOSED
        await pool.close()
        return asked.log, sum(each.status == 200 for each in answers)

    log, good = virtually(story)
    times = [round(at, 1) for at, _ in log]
    assert times[:8] == [0.0, 0.0, 0.0, 0.0, 2.2, 6.4, 14.6, 22.8]
    assert good == 12 - 7


def test_a_probe_whose_caller_gives_up_leaves_the_way_free_for_the_next() -> None:
    async def story() -> list[tuple[float, str]]:
        fails = True

        def answer(url: URL) -> Reply:
            if fails:
                raise NoReply("connection cut")
            return Reply(200, {}, b"")

        asked = Asked(answer, lambda: 1.0)
        pool = pool_of(asked, breaker=CircuitBreaker(failures=1, cool_ns=2 * SECOND))
        await pool.fetch(fetch("bad", 1, 0), BASE)
        fails = False
        probe = asyncio.create_task(pool.fetch(fetch("probe", 1, 0), BASE))
        other = asyncio.create_task(pool.fetch(fetch("other", 1, 0), BASE))
        await asyncio.sleep(2.5)
        probe.cancel()
        assert (await other).status == 200
        await pool.close()
        return asked.log

    assert [(round(at, 1), path) for at, path in virtually(story)] == [(0.0, "/bad"), (3.0, "/probe"), (3.5, "/other")]
