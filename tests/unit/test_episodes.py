"""What a run keeps of its alerts: all of a recording, a bounded number of a live run, and never a firing one less."""

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Severity
from tui.episodes import Episodes


def alert(seq: int, state: AlertState) -> Alert:
    return Alert(
        seq=seq,
        opened_ns=seq,
        rule="route",
        severity=Severity.CRIT,
        scope=f"scope {seq}",
        state=state,
        value=1.0,
        unit="bp",
        enter=3.0,
        exit=0.0,
    )


def hear(episodes: Episodes, seq: int, state: AlertState) -> None:
    kind = AlertKind.FIRE if state is AlertState.FIRING else AlertKind.RESOLVE
    episodes.on_alert(AlertEvent(kind, alert(seq, state), seq))


def test_a_live_run_does_not_keep_every_alert_of_the_day() -> None:
    episodes = Episodes(keep=10)
    for seq in range(1, 101):
        hear(episodes, seq, AlertState.FIRING)
        hear(episodes, seq, AlertState.RESOLVED)
    assert list(episodes.alerts) == list(range(91, 101))


def test_one_that_still_fires_is_never_forgotten() -> None:
    episodes = Episodes(keep=10)
    hear(episodes, 1, AlertState.FIRING)
    for seq in range(2, 101):
        hear(episodes, seq, AlertState.RESOLVED)
    assert episodes.alerts[1].state is AlertState.FIRING
    assert len(episodes.alerts) == 10


def test_of_a_recording_all_are_kept() -> None:
    episodes = Episodes()
    for seq in range(1, 2_001):
        hear(episodes, seq, AlertState.RESOLVED)
    assert len(episodes.alerts) == 2_000
