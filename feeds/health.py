"""How well data arrives: rates, gaps, latency, lateness against the leg's own median, and lag where a probe allows it.

Definitions: analytics 14 and reliability 3.0. `raw` is receive time minus the venue's send time: it contains the offset of the
two clocks, so only `late` (raw minus its own trailing median) is used without a probe. Nothing here reads a clock.
"""

from collections import deque
from math import nan

from msgspec import Struct
from sortedcontainers import SortedList

from feeds.model import MS, SECOND, InstrumentId, Ns, Stream

LATE_NS: int = 150 * MS
"""Above its own trailing median by more than this a leg is LATE."""
MEDIAN_SPAN_NS: int = 600 * SECOND
MIN_SAMPLES = 300
"""Thirty seconds of a busy leg. A shorter median is one of the connection's start, whose frames wait behind snapshots."""
PROBES = 10
STEP_NS: int = SECOND
"""Beyond the errors of both probes this much is a step of a clock, not its drift."""
MAX_PROBE_ERROR_NS: int = 100 * MS
"""Half a round trip above this says nothing about lag: it is shown as unknown."""
SUB_BUCKETS = 16
SAID = 200


class Health(Struct, frozen=True):
    """One stream over the last second, plus running totals. `nan` and `None` mean unknown, never zero."""

    frames: int
    frames_per_s: float
    bytes_per_s: float
    last_ns: Ns
    gaps: int
    resyncs: int
    quarantined: int
    ignored: int
    late_ms: float
    late_share: float
    lag_ms: float
    lag_error_ms: float
    p50_ms: float
    p99_ms: float
    slowest_gap_ms: float
    """Longest silence between two frames so far."""


class Histogram:
    """Log-2 buckets with sixteen sub-buckets: relative error of a percentile at most 1/16, in constant memory."""

    __slots__ = ("_counts", "_lowest", "count")

    def __init__(self) -> None:
        self._counts = [0] * (64 * SUB_BUCKETS)
        self._lowest = 64 * SUB_BUCKETS
        """The first bucket that holds anything: latencies begin hundreds of buckets in."""
        self.count = 0

    def add(self, value_ns: int) -> None:
        """Count one value; negatives count as 0."""
        bucket = _bucket(value_ns) if value_ns > 0 else 0
        self._counts[bucket] += 1
        if bucket < self._lowest:
            self._lowest = bucket
        self.count += 1

    def percentile(self, share: float) -> float:
        """The value in ns below which `share` of the values lie (bucket middle); nan when empty."""
        if not self.count:
            return nan
        rank = share * self.count
        seen = 0
        for bucket, count in enumerate(self._counts[self._lowest :], self._lowest):
            seen += count
            if seen >= rank and count:
                return _middle(bucket)
        return nan  # pragma: no cover - seen reaches count


def _bucket(value: int) -> int:
    if value < SUB_BUCKETS:
        return value
    exponent = value.bit_length() - 5
    return min((exponent + 1) * SUB_BUCKETS + ((value >> exponent) & (SUB_BUCKETS - 1)), 64 * SUB_BUCKETS - 1)


def _middle(bucket: int) -> float:
    if bucket < SUB_BUCKETS:
        return float(bucket)
    exponent, sub = bucket // SUB_BUCKETS - 1, bucket % SUB_BUCKETS
    return ((SUB_BUCKETS + sub) << exponent) + (1 << exponent) / 2


class TwoMinuteHistogram:
    """Two alternating histograms: percentiles over the last one to two minutes."""

    __slots__ = ("_now", "_old", "_turn_ns")

    def __init__(self) -> None:
        self._now, self._old = Histogram(), Histogram()
        self._turn_ns: Ns = 0

    def add(self, value_ns: int, now: Ns) -> None:
        if now >= self._turn_ns:
            stale = now >= self._turn_ns + 60 * SECOND
            self._old, self._now = Histogram() if stale else self._now, Histogram()
            self._turn_ns = now + 60 * SECOND
        self._now.add(value_ns)

    def percentile(self, share: float) -> float:
        """ns; of the fuller of the two halves, nan when both are empty."""
        half = self._now if self._now.count >= self._old.count else self._old
        return half.percentile(share)


class Probe(Struct, frozen=True):
    """One question for a venue's time: sent and received by the receive clock, answered by the venue's."""

    venue: str
    market: str
    sent_ns: Ns
    received_ns: Ns
    server_ns: Ns


class Offset:
    """Venue clock minus receive clock, from the probe with the least round trip of the last ten."""

    __slots__ = ("_probes",)

    def __init__(self) -> None:
        self._probes: deque[Probe] = deque(maxlen=PROBES)

    def add(self, probe: Probe) -> None:
        if probe.received_ns < probe.sent_ns:
            return
        known = self.estimate()
        if known is not None:
            error = (probe.received_ns - probe.sent_ns) // 2
            offset = probe.server_ns - (probe.sent_ns + probe.received_ns) // 2
            if abs(offset - known[0]) > error + known[1] + STEP_NS:
                self._probes.clear()  # a clock was set: what was measured before says nothing any more
        self._probes.append(probe)

    def estimate(self) -> tuple[int, int] | None:
        """(offset, error) in ns; None when no probe is good enough to say."""
        if not self._probes:
            return None
        best = min(self._probes, key=lambda probe: probe.received_ns - probe.sent_ns)
        error = (best.received_ns - best.sent_ns) // 2
        if error >= MAX_PROBE_ERROR_NS:
            return None
        return best.server_ns - (best.sent_ns + best.received_ns) // 2, error


class Pulse:
    """One connection's life sign, shared by everything that runs over it."""

    __slots__ = ("alive", "last_ns", "opened_ns")

    def __init__(self, now: Ns = 0) -> None:
        self.opened_ns: Ns = now
        self.last_ns: Ns = now
        """When the last data frame came, of any stream on the connection."""
        self.alive = True
        """False from the moment the pulse rule declared the link dead."""

    @property
    def heard(self) -> bool:
        """Whether the connection has carried any data since it was opened."""
        return self.last_ns > self.opened_ns


class LegHealth:
    """Lateness and lag of one instrument, as routes judge it. Written by the session and the board, read by the engine."""

    __slots__ = (
        "_judged_ns",
        "_sorted",
        "_stood",
        "_times",
        "_values",
        "fresh",
        "lag_error_ns",
        "lag_ns",
        "late_ns",
        "late_samples",
        "pulse",
        "raw_ns",
        "samples",
    )

    def __init__(self, pulse: Pulse) -> None:
        self.pulse = pulse
        self.raw_ns = 0
        """Receive time minus venue send time of the last timed frame."""
        self.fresh = False
        """Whether `raw_ns` is new since the last boundary."""
        self.late_ns = nan
        """raw minus its trailing ten-minute median; nan until `MIN_SAMPLES` are there, but for what waited through a stall."""
        self.lag_ns = nan
        """raw plus clock offset; nan when no probe says."""
        self.lag_error_ns = nan
        self.samples = 0
        """Boundaries since the first timed frame, while the link was alive."""
        self.late_samples = 0
        self._judged_ns = 0
        """`raw_ns` when it was judged last."""
        self._stood = False
        """Since nobody looked nothing has been read in time."""
        self._sorted: SortedList[int] = SortedList()
        self._times: deque[Ns] = deque()
        self._values: deque[int] = deque()

    @property
    def late_share(self) -> float:
        """Share of the time since the first timed frame in which it was LATE; nan while the median is not warm."""
        return self.late_samples / self.samples if self.samples and self.late_ns == self.late_ns else nan

    @property
    def late(self) -> bool:
        return self.late_ns > LATE_NS

    def stood_still(self, span: Ns) -> None:
        """Nobody looked for so long: what is read next has waited up to that, until the newest of it has been judged."""
        self.fresh = False
        self._stood = True
        self.late_ns = self.lag_ns = float(span)

    def sample(self, now: Ns, offset: tuple[int, int] | None) -> None:
        """One 100 ms boundary: judge the newest frame against the median so far, then let it into the median."""
        if self._times and self._times[0] < now - MEDIAN_SPAN_NS:  # one a boundary is enough: no more came in
            self._times.popleft()
            self._sorted.remove(self._values.popleft())
        if self.fresh:
            self.fresh = False
            raw = self.raw_ns
            if not self._stood or (self._sorted and raw > self._judged_ns - LATE_NS):  # what waited is not still being read
                enough = len(self._sorted) >= (1 if self._stood else MIN_SAMPLES)  # a median of few is better than none
                self.late_ns = raw - self._sorted[len(self._sorted) // 2] if enough else nan
                self._stood &= self.late
            self._judged_ns = raw
            self._sorted.add(raw)
            self._values.append(raw)
            self._times.append(now)
            if offset is not None:
                self.lag_ns, self.lag_error_ns = float(raw + offset[0]), float(offset[1])
        if offset is None:
            self.lag_ns = self.lag_error_ns = nan
        if self._times and self.pulse.alive:  # of a dead link only the last lateness is left, and it says nothing
            self.samples += 1
            self.late_samples += self.late_ns > LATE_NS


class StreamHealth:
    """Counters of one stream. `seen` is on the hot path; the rest runs once a second or on trouble."""

    __slots__ = (
        "bytes",
        "frames",
        "gaps",
        "ignored",
        "last_ns",
        "latency",
        "marked_bytes",
        "marked_frames",
        "quarantined",
        "resyncs",
        "slowest_ns",
    )

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.last_ns: Ns = 0
        self.slowest_ns = 0
        self.gaps = 0
        self.resyncs = 0
        self.quarantined = 0
        self.ignored = 0
        self.latency = TwoMinuteHistogram()
        self.marked_frames = 0
        self.marked_bytes = 0

    def seen(self, size: int, now: Ns) -> None:
        """One frame of `size` bytes."""
        self.frames += 1
        self.bytes += size
        silence = now - self.last_ns
        if silence > self.slowest_ns and self.last_ns:
            self.slowest_ns = silence
        self.last_ns = now


class HealthBoard:
    """Every stream's counters and every leg's lateness; outlives connections, so that a reconnect does not reset them."""

    def __init__(self) -> None:
        self.streams: dict[Stream, StreamHealth] = {}
        self.legs: dict[InstrumentId, LegHealth] = {}
        self.offsets: dict[tuple[str, str], Offset] = {}
        self._markets: dict[InstrumentId, tuple[str, str]] = {}
        self.ignored = 0
        """Frames of channels or symbols that nobody asked for."""
        self.said: deque[tuple[Ns, str]] = deque(maxlen=SAID)
        """What venues said that a user should see: already clean, newest last."""

    def say(self, text: str, now: Ns) -> None:
        """Keep a line for the user; `text` must have gone through `clean_text`."""
        self.said.append((now, text))

    def stream(self, stream: Stream) -> StreamHealth:
        found = self.streams.get(stream)
        if found is None:
            found = self.streams[stream] = StreamHealth()
        return found

    def leg(self, instrument: InstrumentId, venue: str, market: str, pulse: Pulse) -> LegHealth:
        """The leg of an instrument, moved onto the connection whose `pulse` this is."""
        found = self.legs.get(instrument)
        if found is None:
            found = self.legs[instrument] = LegHealth(pulse)
            self._markets[instrument] = (venue, market)
        found.pulse = pulse
        return found

    def begin(self) -> None:
        """Count from here on: what came before only brought the books up to a moment."""
        for own in self.streams.values():
            own.frames = own.bytes = own.slowest_ns = own.gaps = own.resyncs = own.quarantined = own.ignored = 0
            own.marked_frames = own.marked_bytes = 0
        for leg in self.legs.values():
            leg.samples = leg.late_samples = 0
        self.ignored = 0

    def probe(self, probe: Probe) -> None:
        """A clock probe, measured or replayed."""
        self.offsets.setdefault((probe.venue, probe.market), Offset()).add(probe)

    def on_time(self, now: Ns) -> None:
        """Each 100 ms boundary: judge every leg."""
        for instrument, leg in self.legs.items():
            offset = self.offsets.get(self._markets[instrument])
            leg.sample(now, offset.estimate() if offset is not None else None)

    def report(self, stream: Stream, now: Ns) -> Health:
        """The stream's figures; rates cover the time since the last report, which the hub makes one second."""
        own = self.streams[stream]
        leg = self.legs.get(stream.instrument)
        frames, size = own.frames - own.marked_frames, own.bytes - own.marked_bytes
        own.marked_frames, own.marked_bytes = own.frames, own.bytes
        if leg is not None and leg.lag_ns == leg.lag_ns and own.last_ns > now - SECOND:
            own.latency.add(int(leg.lag_ns), now)
        return Health(
            frames=own.frames,
            frames_per_s=float(frames),
            bytes_per_s=float(size),
            last_ns=own.last_ns,
            gaps=own.gaps,
            resyncs=own.resyncs,
            quarantined=own.quarantined,
            ignored=own.ignored,
            late_ms=leg.late_ns / MS if leg is not None else nan,
            late_share=leg.late_share if leg is not None else nan,
            lag_ms=leg.lag_ns / MS if leg is not None else nan,
            lag_error_ms=leg.lag_error_ns / MS if leg is not None else nan,
            p50_ms=own.latency.percentile(0.5) / MS,
            p99_ms=own.latency.percentile(0.99) / MS,
            slowest_gap_ms=own.slowest_ns / MS,
        )
