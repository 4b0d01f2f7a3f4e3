"""Lateness, lag and rates say what is known and no more (analytics 14, reliability 3.0)."""

import random
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.health import (
    LATE_NS,
    MEDIAN_SPAN_NS,
    MIN_SAMPLES,
    HealthBoard,
    Histogram,
    LegHealth,
    Offset,
    Probe,
    Pulse,
    StreamHealth,
    TwoMinuteHistogram,
)
from feeds.model import MS, SECOND, Channel, Ns, Stream

START: Ns = 1_790_784_000_000_000_000
NAME = "BINANCE:BTC/USDT"
STREAM = Stream(NAME, Channel.BOOK)


def board() -> tuple[HealthBoard, LegHealth]:
    made = HealthBoard()
    return made, made.leg(NAME, "BINANCE", "spot", Pulse(START))


def probe(sent: Ns, round_trip: Ns, ahead: Ns) -> Probe:
    """A symmetric probe of a venue whose clock is `ahead` of ours."""
    return Probe("BINANCE", "spot", sent, sent + round_trip, sent + round_trip // 2 + ahead)


def arrive(leg: LegHealth, raw_ns: int) -> None:
    leg.raw_ns, leg.fresh = raw_ns, True


def test_lateness_equals_the_brute_force_median_of_the_trailing_ten_minutes() -> None:
    rng = random.Random(3)
    _, leg = board()
    past: list[tuple[Ns, int]] = []
    for step in range(8_000):
        now = START + step * 100 * MS
        if rng.random() < 0.7:
            raw = rng.randrange(-2 * SECOND, 300 * MS)
            arrive(leg, raw)
            window = sorted(value for at, value in past[-6_100:] if at >= now - MEDIAN_SPAN_NS) if step % 37 == 0 else None
            leg.sample(now, None)
            if window is not None and len(window) >= MIN_SAMPLES:
                assert leg.late_ns == raw - window[len(window) // 2]
            past.append((now, raw))
        else:
            leg.sample(now, None)
    assert len(leg._sorted) == len(leg._times) <= 6_001


def test_lateness_is_unknown_until_half_a_minute_of_samples_is_there() -> None:
    _, leg = board()
    for step in range(MIN_SAMPLES):
        arrive(leg, 5 * MS)
        leg.sample(START + step * 100 * MS, None)
        assert isnan(leg.late_ns)
        assert not leg.late
    arrive(leg, 5 * MS + LATE_NS + 1)
    leg.sample(START + MIN_SAMPLES * 100 * MS, None)
    assert leg.late
    assert MIN_SAMPLES * 100 * MS == 30 * SECOND


def test_exactly_150_ms_above_the_median_is_not_late() -> None:
    _, leg = board()
    for step, raw in enumerate([0] * MIN_SAMPLES + [LATE_NS]):
        arrive(leg, raw)
        leg.sample(START + step * 100 * MS, None)
    assert leg.late_ns == LATE_NS
    assert not leg.late


def test_a_boundary_without_a_new_frame_adds_no_sample() -> None:
    _, leg = board()
    arrive(leg, 7)
    for step in range(50):
        leg.sample(START + step * 100 * MS, None)
    assert list(leg._sorted) == [7]


def test_a_recorder_1_27_s_behind_shows_20_ms() -> None:
    made, leg = board()
    behind, latency = 1_270 * MS, 20 * MS
    made.probe(probe(START, 30 * MS, behind))
    for step in range(MIN_SAMPLES + 10):
        now = START + SECOND + step * 100 * MS
        arrive(leg, latency - behind)  # the venue's stamp lies in the recorder's future
        made.on_time(now)
    assert leg.raw_ns < 0
    assert leg.late_ns <= 0
    assert leg.lag_ns == latency
    assert leg.lag_error_ns == 15 * MS


def test_without_a_probe_lag_is_unknown_not_zero() -> None:
    made, leg = board()
    for step in range(MIN_SAMPLES + 1):
        arrive(leg, 20 * MS)
        made.on_time(START + step * 100 * MS)
    made.stream(STREAM).seen(10, START + SECOND)
    report = made.report(STREAM, START + SECOND)
    assert isnan(leg.lag_ns)
    assert isnan(report.lag_ms)
    assert isnan(report.p50_ms)
    assert report.late_ms == 0.0


@pytest.mark.parametrize(("round_trip_ms", "known"), [(199, True), (200, False), (250, False)])
def test_a_probe_with_a_round_trip_of_200_ms_or_more_says_nothing(round_trip_ms: int, known: bool) -> None:
    made, leg = board()
    made.probe(probe(START, round_trip_ms * MS, 0))
    arrive(leg, 20 * MS)
    made.on_time(START + SECOND)
    assert isnan(leg.lag_ns) is not known


def test_a_lag_that_can_no_longer_be_known_is_not_kept() -> None:
    made, leg = board()
    made.probe(probe(START, 10 * MS, 0))
    arrive(leg, 20 * MS)
    made.on_time(START + SECOND)
    assert leg.lag_ns == 20 * MS
    for minute in range(10):
        made.probe(probe(START + minute * 60 * SECOND, 400 * MS, 0))
    arrive(leg, 20 * MS)
    made.on_time(START + 2 * SECOND)
    assert isnan(leg.lag_ns)
    assert isnan(leg.lag_error_ns)


def test_the_probe_with_the_least_round_trip_of_the_last_ten_wins() -> None:
    offset = Offset()
    offset.add(probe(START, 2 * MS, 500 * MS))
    for at in range(9):
        offset.add(probe(START + at, 40 * MS, 700 * MS))
    assert offset.estimate() == (500 * MS, MS)
    offset.add(probe(START + 20, 30 * MS, 600 * MS))  # the eleventh pushes the best one out
    assert offset.estimate() == (600 * MS, 15 * MS)


def test_a_probe_answered_before_it_was_sent_is_no_probe() -> None:
    offset = Offset()
    offset.add(Probe("BINANCE", "spot", START + 5, START, START))
    assert offset.estimate() is None


def test_offsets_of_other_markets_do_not_count() -> None:
    made, leg = board()
    made.probe(Probe("BINANCE", "usdm", START, START + MS, START))
    arrive(leg, 20 * MS)
    made.on_time(START + SECOND)
    assert isnan(leg.lag_ns)


@given(st.lists(st.integers(min_value=0, max_value=10**12), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_a_sixteenth_of_the_exact_one(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = next(at for at in range(1, len(values) + 1) if at >= share * len(values))
    exact = sorted(values)[rank - 1]
    assert abs(histogram.percentile(share) - exact) <= exact / 16 + 0.5


def test_a_histogram_knows_nothing_when_empty_and_takes_any_value() -> None:
    histogram = Histogram()
    assert isnan(histogram.percentile(0.5))
    for value in (-5, 0, 1 << 62, 1 << 80):
        histogram.add(value)
    assert histogram.count == 4
    assert histogram.percentile(0.5) == 0.0


def test_percentiles_forget_what_is_older_than_two_minutes() -> None:
    histogram = TwoMinuteHistogram()
    for step in range(60):
        histogram.add(5 * SECOND, START + step * SECOND)
    for step in range(60, 190):
        histogram.add(MS, START + step * SECOND)
    assert histogram.percentile(0.99) == pytest.approx(MS, rel=1 / 16)


def test_percentiles_of_before_a_long_silence_are_not_shown_after_it() -> None:
    histogram = TwoMinuteHistogram()
    for step in range(60):
        histogram.add(5 * SECOND, START + step * SECOND)
    histogram.add(MS, START + 3_600 * SECOND)
    assert histogram.percentile(0.5) == pytest.approx(MS, rel=1 / 16)


def test_rates_cover_the_time_since_the_last_report_and_totals_stay() -> None:
    made, _ = board()
    own = made.stream(STREAM)
    for at in range(30):
        own.seen(100, START + at * 10 * MS)
    own.gaps = 2
    first = made.report(STREAM, START + SECOND)
    assert (first.frames, first.frames_per_s, first.bytes_per_s, first.gaps) == (30, 30.0, 3_000.0, 2)
    second = made.report(STREAM, START + 2 * SECOND)
    assert (second.frames, second.frames_per_s, second.bytes_per_s) == (30, 0.0, 0.0)
    assert second.last_ns == START + 290 * MS


def test_the_slowest_gap_is_the_longest_silence_and_the_first_frame_is_none() -> None:
    own = StreamHealth()
    for at in (0, 20, 1_520, 1_530):
        own.seen(1, START + at * MS)
    assert own.slowest_ns == 1_500 * MS


def test_the_late_share_is_late_time_over_the_time_since_the_first_sample() -> None:
    made, leg = board()
    steps = 3 * MIN_SAMPLES
    for step in range(steps):
        arrive(leg, 0)
        made.on_time(START + step * 100 * MS)
    arrive(leg, SECOND)
    for step in range(steps, steps + MIN_SAMPLES):  # it stays late until a newer frame says otherwise
        made.on_time(START + step * 100 * MS)
    made.stream(STREAM)
    assert made.report(STREAM, START).late_share == 0.25


def test_a_reconnect_keeps_the_leg_and_moves_it_to_the_new_pulse() -> None:
    made, leg = board()
    fresh = Pulse(START)
    assert made.leg(NAME, "BINANCE", "spot", fresh) is leg
    assert leg.pulse is fresh


def test_what_venues_said_is_bounded() -> None:
    made, _ = board()
    for at in range(1_000):
        made.say(str(at), START + at)
    assert len(made.said) == 200
    assert made.said[-1] == (START + 999, "999")


def test_a_clock_that_is_set_is_believed_at_once_and_not_after_ten_probes() -> None:
    offset = Offset()
    for minute in range(5):
        at = minute * 60 * SECOND
        offset.add(Probe("BINANCE", "spot", at, at + 2 * MS, at + MS))
    assert offset.estimate() == (0, MS)
    at = 300 * SECOND
    offset.add(Probe("BINANCE", "spot", at, at + 8 * MS, at + 4 * MS + 30 * SECOND))
    assert offset.estimate() == (30 * SECOND, 4 * MS)


def test_a_slow_probe_does_not_pass_for_a_step_of_the_clock() -> None:
    offset = Offset()
    offset.add(Probe("BINANCE", "spot", 0, 2 * MS, MS))
    offset.add(Probe("BINANCE", "spot", 60 * SECOND, 60 * SECOND + 150 * MS, 60 * SECOND + 10 * MS))
    assert offset.estimate() == (0, MS)


def test_after_a_stall_a_leg_is_late_until_something_new_has_been_judged() -> None:
    """What is read first has waited as long as the stall was, and its pulse is of now."""
    _, leg = board()
    clock = (-MS, MS)
    arrive(leg, 20 * MS)
    leg.sample(START + SECOND, clock)
    assert leg.lag_ns == 19 * MS
    arrive(leg, 20 * MS)  # read before the stall, and not judged yet: it is no evidence for what comes after it
    leg.stood_still(5 * SECOND)
    leg.sample(START + 6 * SECOND, clock)
    assert leg.late
    assert leg.lag_ns == 5 * SECOND
    arrive(leg, 4 * SECOND)
    leg.sample(START + 6 * SECOND + 100 * MS, clock)
    assert leg.lag_ns == 4 * SECOND - MS
    assert leg.late_ns > 3 * SECOND, "it waited, whatever is known of the clock"
    for step in (2, 3):  # the first may be the last of what waited
        arrive(leg, 20 * MS)
        leg.sample(START + 6 * SECOND + step * 100 * MS, clock)
        assert leg.lag_ns == 19 * MS
        assert (leg.late_ns <= 0) is (step == 3)
    arrive(leg, 20 * MS)
    leg.sample(START + 6 * SECOND + 400 * MS, clock)
    assert isnan(leg.late_ns), "there are too few samples for a median"
    assert isnan(leg.late_share)


def test_without_a_clock_what_waited_through_a_stall_is_late_all_the_same() -> None:
    _, leg = board()
    arrive(leg, 20 * MS)
    leg.sample(START + SECOND, None)
    leg.stood_still(5 * SECOND)
    arrive(leg, 4 * SECOND)
    leg.sample(START + 6 * SECOND, None)
    judged = []
    for raw_ms in (2_000, 30, 30):
        judged.append(leg.late)
        arrive(leg, raw_ms * MS)
        leg.sample(START + 7 * SECOND, None)
    assert [*judged, leg.late] == [True, True, True, False]


def test_a_leg_without_any_history_is_late_until_what_waited_has_been_read() -> None:
    _, leg = board()
    leg.stood_still(5 * SECOND)
    judged = []
    for raw_ms in (6_000, 3_000, 500, 30, 30):
        arrive(leg, raw_ms * MS)
        leg.sample(START + 6 * SECOND, None)
        judged.append(leg.late)
    assert judged == [True, True, True, True, False]


def test_a_leg_that_stood_still_before_its_first_frame_has_no_late_share() -> None:
    _, leg = board()
    leg.stood_still(5 * SECOND)
    assert isnan(leg.late_share)
