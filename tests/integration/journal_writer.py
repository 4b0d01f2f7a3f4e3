"""The process that the kill test kills: a fork server, so that 200 short lives cost one start of the interpreter.

Usage: `python -m tests.integration.journal_writer DIRECTORY`. Each line on stdin is a limit: a child is forked, its pid printed,
and it fires alerts up to that item, printing `F seq` or `R seq` after each append that came back durable, then `idle`. An empty
line reaps the child, which the reader has killed by then, and prints `reaped`: until it is reaped its pid is nobody else's.
"""

import os
import signal
import sys

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Severity
from feeds.model import MS, SECOND
from tui.alert_log import read
from tui.journal import Journal

T0 = 1_790_000_000_000_000_000
ROTATE_BYTES = 20_000
STAYS_OPEN = 10
"""Every tenth alert is never resolved."""


def fired(item: int, seq: int) -> AlertEvent:
    at = T0 + item * SECOND
    alert = Alert(
        seq=seq,
        opened_ns=at,
        rule="spread",
        severity=Severity.WARN,
        scope=f"item {item}",
        value=float(item),
        unit="bps",
        enter=2.0,
        exit=1.0,
    )
    return AlertEvent(AlertKind.FIRE, alert, at)


def resolved(item: int, seq: int) -> AlertEvent:
    alert = fired(item, seq).alert
    at = alert.opened_ns + 500 * MS
    closed = Alert(
        seq=seq,
        opened_ns=alert.opened_ns,
        closed_ns=at,
        rule=alert.rule,
        severity=alert.severity,
        scope=alert.scope,
        state=AlertState.RESOLVED,
        value=alert.value,
        unit=alert.unit,
        enter=alert.enter,
        exit=alert.exit,
    )
    return AlertEvent(AlertKind.RESOLVE, closed, at)


def item_of(alert: Alert) -> int:
    return int(alert.scope.removeprefix("item "))


def live(directory: str, limit: int) -> None:
    """One life: rebuild from the log, repeat what may not have been known to be written, go on to item `limit`."""
    journal = Journal(directory, rotate_bytes=ROTATE_BYTES)
    episodes, _ = read(directory)
    last = max((item_of(alert) for alert in episodes), default=0)

    def append(event: AlertEvent) -> None:
        if journal.append(event):
            say(f"{event.kind.value[0]} {event.alert.seq}")

    for alert in journal.open_alerts():
        item = item_of(alert)
        if item == last:
            append(fired(item, alert.seq))
        if item % STAYS_OPEN:
            append(resolved(item, alert.seq))
    for item in range(last + 1, limit + 1):
        seq = journal.next_seq
        append(fired(item, seq))
        if item % STAYS_OPEN:
            append(resolved(item, seq))
    say("idle")
    signal.pause()


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    child = 0
    for line in sys.stdin:
        if line.strip():
            child = os.fork()
            if not child:
                live(sys.argv[1], int(line))
            say(f"pid {child}")
        else:
            os.waitpid(child, 0)
            say("reaped")


if __name__ == "__main__":
    main()
