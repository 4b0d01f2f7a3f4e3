"""The state machine behind episodes and alerts: Prometheus's `for` and `keep_firing_for` (analytics 13)."""

from math import nan

import pytest

from analytics.hysteresis import Hysteresis, Phase


def run(hold: Hysteresis, values: str | list[float]) -> str:
    """One letter a step: the phase after each value, 100 apart in time. `^` is loud, `-` between, `_` quiet, `?` unknown."""
    levels = {"^": 3.0, "-": 1.0, "_": -1.0, "?": nan}
    said = []
    for at, value in enumerate([levels[letter] for letter in values] if isinstance(values, str) else values):
        hold.step(1_000 + 100 * at, value)
        said.append(hold.phase.value[0])
    return "".join(said)


@pytest.mark.parametrize(
    ("values", "phases"),
    [
        ("^^^^", "ppaa"),  # held for 200: the third look in a row
        ("^^_^^^", "ppippa"),  # one quiet look starts the wait again
        ("^^-^^^", "ppippa"),  # so does one between exit and enter
        ("^^^---", "ppaaaa"),  # between the two an episode stays open
        ("^^^_^__^", "ppararra"),  # a flicker under exit does not end it
        ("^^^____", "pparrri"),  # quiet for 300: the end
        ("^^^__-___^", "pparrarrra"),  # back above exit: the wait for the end starts again
        ("????", "iiii"),
        ("^??^", "pppa"),  # unknown neither confirms nor breaks the wait
        ("^^^????", "ppaaaaa"),  # nor ends what is open
        ("^^^_???_", "pparrrri"),  # nor stops the clock of the end
    ],
)
def test_for_and_keep_hold_a_phase_for_their_time(values: str, phases: str) -> None:
    assert run(Hysteresis(2.0, 0.0, for_ns=200, keep_ns=300), values) == phases


def test_thresholds_count_as_reached_on_the_loud_side_and_not_as_left_at_exit() -> None:
    assert run(Hysteresis(2.0, 0.0, 0, 0), [2.0, 0.0, -1e-9, 1.999999999, 2.0]) == "aaiia"


def test_without_for_and_keep_one_look_opens_and_one_closes() -> None:
    assert run(Hysteresis(2.0, 2.0, 0, 0), "^_^_") == "aiai"


def test_looks_without_new_data_do_not_confirm() -> None:
    hold = Hysteresis(2.0, 0.0, for_ns=200, keep_ns=0, updates=3)
    for at, fresh in enumerate([True, False, False, True, False, True]):
        hold.step(100 * at, 3.0, fresh)
        assert hold.active is (at == 5)
    assert hold.since_ns == 0


def test_updates_of_an_earlier_wait_do_not_count_for_the_next() -> None:
    hold = Hysteresis(2.0, 0.0, for_ns=0, keep_ns=0, updates=2)
    for at, value in enumerate([3.0, -1.0, 3.0]):
        hold.step(100 * at, value)
    assert hold.phase is Phase.PENDING


def test_the_end_knows_when_the_value_fell_not_when_it_was_sure() -> None:
    hold = Hysteresis(2.0, 0.0, for_ns=0, keep_ns=300)
    run(hold, "^_-____")
    assert (hold.phase, hold.fell_ns) == (Phase.INACTIVE, 1_300)


def test_reset_ends_at_once_and_forgets_the_wait() -> None:
    hold = Hysteresis(2.0, 0.0, for_ns=100, keep_ns=10_000)
    run(hold, "^^")
    hold.reset()
    assert not hold.active
    hold.step(5_000, 3.0)
    assert (hold.phase, hold.since_ns) == (Phase.PENDING, 5_000)


def test_a_resumed_episode_is_open_since_then_and_ends_like_any_other() -> None:
    hold = Hysteresis(2.0, 0.0, for_ns=10_000, keep_ns=100)
    hold.resume(7)
    assert (hold.active, hold.since_ns) == (True, 7)
    assert run(hold, "__") == "ri"


def test_an_exit_beyond_enter_is_refused() -> None:
    with pytest.raises(ValueError, match="quiet side"):
        Hysteresis(1.0, 1.1, 0, 0)
