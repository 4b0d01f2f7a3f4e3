"""`python -m tests.faults.guards`: takes each guard of the feeds out, in a copy of the program, and shows which test fails then.

A guard is a few characters of source and what stands there without it. A guard whose test still passes is the only finding that
matters here: what it guards is proved by nobody. Exit code 1 then.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("feeds", "analytics", "tui", "themes", "tests", "pyproject.toml", "README.md")
TEST_S: Final = 120


class Guard(NamedTuple):
    """What is guarded, where, what is taken out and put in its place, and the test that fails without it."""

    name: str
    path: str
    guard: str
    without: str
    test: str


GUARDS: Final[Sequence[Guard]] = (
    Guard(
        "sequence, Binance",
        "feeds/venues/binance.py",
        "_previous(event) == book.seq and event.u >= event.U:",
        "event.u >= event.U:",
        "tests/unit/test_binance.py::test_a_gap_is_counted_once_and_no_price_shows_until_the_next_snapshot",
    ),
    Guard(
        "sequence at the join, Binance",
        "feeds/venues/binance.py",
        "if old or (kept and not self._contains(kept[0], last)):",
        "if old:",
        "tests/unit/test_binance.py::test_the_first_diff_after_a_snapshot_must_contain_it",
    ),
    Guard(
        "sequence, Bybit",
        "feeds/venues/bybit.py",
        "u == feed.chain + 1 and book.state is synced:",
        "book.state is synced:",
        "tests/unit/test_bybit.py::test_an_update_that_does_not_follow_blanks_the_book_and_asks_for_another",
    ),
    Guard(
        "crossed, unpublished at once",
        "feeds/orderbook.py",
        "if levels_crossed or bid >= ask:",
        "if False:",
        "tests/unit/test_orderbook.py::test_a_crossed_or_locked_book_is_unpublished_at_once_and_knows_since_when",
    ),
    Guard(
        "crossed, under a quote",
        "feeds/orderbook.py",
        "        crossed = bid >= ask\n        if self.touch_seq > seq:",
        "        crossed = False\n        if self.touch_seq > seq:",
        "tests/unit/test_orderbook.py",
    ),
    Guard(
        "crossed, fetched anew",
        "feeds/session.py",
        "if now - crossed_ns >= CROSSED_GRACE_NS:",
        "if now < 0:",
        "tests/unit/test_session_rules.py::test_a_book_crossed_for_500_ms_is_resynced_and_not_before",
    ),
    Guard(
        "link, its pulse",
        "feeds/session.py",
        "if self.streams and now - silent_ns >= self.silence_ns:",
        "if now < 0:",
        "tests/unit/test_session_rules.py::test_a_silent_link_is_dead_at_its_limit_and_not_before",
    ),
    Guard(
        "link, what comes after its end",
        "feeds/venues/binance.py",
        "        if not self.pulse.alive:\n            return NOTHING  # given up",
        "        if now < 0:\n            return NOTHING  # given up",
        "tests/unit/test_session_rules.py::test_what_arrives_on_a_dead_link_brings_no_book_back",
    ),
    Guard(
        "topic",
        "feeds/subscription.py",
        "if now < self._silent_ns():",
        "if now > 0:",
        "tests/unit/test_session_rules.py::"
        "test_a_silent_ticker_is_asked_for_after_three_periods_and_brings_the_connection_down_after_three_more",
    ),
    Guard(
        "topic, by trades through the book",
        "feeds/session.py",
        "return self._through(feed, now) if now - feed.outside_ns >= THROUGH_NS else NOTHING",
        "return NOTHING",
        "tests/unit/test_session_rules.py::test_two_seconds_of_trades_outside_the_book_blank_it_and_trades_inside_do_not",
    ),
    Guard(
        "topic, by the best quote",
        "feeds/session.py",
        "if not follows and feed.health.last_ns <= feed.over_ns:",
        "if now < 0:",
        "tests/unit/test_session_rules.py::test_a_book_that_does_not_follow_its_best_quote_is_fetched_anew",
    ),
    Guard(
        "acknowledgement",
        "feeds/subscription.py",
        "unanswered = self.request and now >= self.asked_ns + ACK_NS",
        "unanswered = False",
        "tests/unit/test_session_rules.py::test_a_request_without_an_answer_makes_its_streams_not_ready_and_is_sent_again",
    ),
    Guard(
        "first data",
        "feeds/subscription.py",
        "late = now >= self._speak_ns()",
        "late = False",
        "tests/unit/test_session_rules.py::test_a_connection_on_which_nothing_that_was_asked_for_speaks_is_given_up",
    ),
    Guard(
        "lateness, measured",
        "feeds/health.py",
        "self.late_ns = raw - self._sorted[len(self._sorted) // 2] if enough else nan",
        "pass",
        "tests/unit/test_health.py::test_lateness_equals_the_brute_force_median_of_the_trailing_ten_minutes",
    ),
    Guard(
        "lateness, refused",
        "analytics/fitness.py",
        "not book.leg.late_ns > g.late_over_own_p50_ms * MS",
        "True",
        "tests/unit/test_routes.py",
    ),
    Guard(
        "budget of connects",
        "feeds/connection.py",
        "self._next_ns = max(self._wait_until_ns, budget_ns)",
        "self._next_ns = self._wait_until_ns",
        "tests/integration/test_connection.py::test_an_accept_then_close_server_is_not_asked_more_than_six_times_a_minute",
    ),
    Guard(
        "budget of messages",
        "feeds/connection.py",
        "            await self._limiter.acquire()\n",
        "",
        "tests/integration/test_connection.py::test_control_messages_keep_to_the_venues_budget",
    ),
    Guard(
        "budget of request weight",
        "feeds/rest.py",
        "            await self._limiter.acquire(job.weight)  # does not wait",
        "            # does not wait",
        "tests/property/test_rest_limits.py::test_the_first_minute_is_not_granted_twice_over_and_the_rate_is_used",
    ),
    Guard(
        "budget, the gate of Retry-After",
        "feeds/rest.py",
        "if self._gate_ns > now:",
        "if now < 0:",
        "tests/property/test_rest_limits.py::test_one_ban_holds_every_caller_for_as_long_as_the_venue_says",
    ),
    Guard(
        "size of a message",
        "feeds/wire.py",
        "max_size=MAX_MESSAGE,",
        "max_size=None,",
        "tests/integration/test_connection.py::test_a_message_larger_than_any_snapshot_ends_the_connection",
    ),
    Guard(
        "size of an answer",
        "feeds/rest.py",
        "MAX_BODY: Final = 32 << 20",
        "MAX_BODY: Final = 1 << 40",
        "tests/integration/test_rest.py::test_a_body_without_end_is_cut_off_and_not_asked_for_again",
    ),
    Guard(
        "size of the buffer",
        "feeds/venues/binance.py",
        "if join.size > BUFFER_BYTES:",
        "if now < 0:",
        "tests/unit/test_binance.py::test_a_buffer_that_overflows_starts_over_and_says_so",
    ),
    Guard(
        "size of what is remembered",
        "feeds/venues/binance.py",
        "if len(self.handlers) >= HANDLERS_KEPT:",
        "if now < 0:",
        "tests/unit/test_binance.py::test_unknown_streams_are_counted_and_do_not_fill_the_memory",
    ),
    Guard(
        "nonsense",
        "feeds/hub.py",
        "if len(bad) == BAD_PER_MINUTE and now - bad[0] <= 60 * SECOND:",
        "if now < 0:",
        "tests/unit/test_binance.py::test_the_hub_survives_every_hostile_frame_and_gives_the_connection_up_after_five",
    ),
    Guard(
        "depth of a snapshot",
        "feeds/venues/bybit.py",
        "            _sweep(feed, depth)\n            self.hear(feed.stream, now)",
        "            self.hear(feed.stream, now)",
        "tests/unit/test_bybit.py::test_a_snapshot_deeper_than_its_depth_is_cut",
    ),
    Guard(
        "depth of a book",
        "feeds/venues/bybit.py",
        "until_sweep = SWEEP_EVERY\n                    _sweep(feed, depth)",
        "until_sweep = SWEEP_EVERY",
        "tests/unit/test_bybit.py::test_levels_beyond_the_depth_do_not_stay_as_ghosts",
    ),
    Guard(
        "stall, recorded",
        "feeds/live.py",
        "if ticker.next_ns and STALL_NS <= now - ticker.next_ns <= LONGEST_STALL_NS:",
        "if now < 0:",
        "tests/integration/test_stall.py::test_three_stalls_within_a_minute_cost_no_connection_and_are_replayed_as_they_were",
    ),
    Guard(
        "stall, no silence of the link",
        "feeds/session.py",
        "        silent_ns = max(self.pulse.last_ns, self._silent_ns)",
        "        silent_ns = self.pulse.last_ns",
        "tests/unit/test_stalls.py::test_a_stall_is_no_silence_of_the_link_and_the_rest_of_its_limit_counts_on",
    ),
    Guard(
        "stall, no silence of a stream",
        "feeds/session.py",
        "asked.stood_still(until - since)",
        "pass",
        "tests/unit/test_stalls.py::test_a_periodic_stream_is_not_asked_for_anew_because_of_a_stall",
    ),
    Guard(
        "stall, nothing judged in it",
        "feeds/session.py",
        "if now < self._blind_ns:",
        "if now < 0:",
        "tests/unit/test_stalls.py::test_a_best_quote_over_a_book_is_not_held_against_it_in_a_stall",
    ),
    Guard(
        "stall, grace of a crossed book",
        "feeds/session.py",
        "crossed_ns = max(book.crossed_ns, self._blind_ns)",
        "crossed_ns = book.crossed_ns",
        "tests/unit/test_stalls.py::test_a_crossed_book_has_its_grace_when_the_stall_is_over",
    ),
    Guard(
        "stall, quotes and trades before it",
        "feeds/session.py",
        "            feed.over_seq, feed.outside_ns = -1, 0\n            feed.book.leg",
        "            feed.book.leg",
        "tests/unit/test_stalls.py",
    ),
    Guard(
        "stall, what is read first is late",
        "feeds/session.py",
        "feed.book.leg.stood_still(until - since)",
        "pass",
        "tests/unit/test_stalls.py::test_what_a_session_reads_first_after_a_stall_is_late",
    ),
    Guard(
        "stall, the longest",
        "feeds/hub.py",
        "until = min(max(act.until_ns, now), now + LONGEST_STALL_NS)",
        "until = act.until_ns",
        "tests/unit/test_stalls.py::test_a_damaged_stall_does_not_blind_a_replay",
    ),
    Guard(
        "link, what was sent before it was given up",
        "feeds/connection.py",
        "while self._given_up is None:  # a message",
        "while True:  # a message",
        "tests/integration/test_connection.py::test_what_was_sent_before_it_was_given_up_is_not_read_after",
    ),
    Guard(
        "link, a pause while it is dialled",
        "feeds/connection.py",
        "if self.paused:  # while it was dialled",
        "if self._fatal:",
        "tests/integration/test_connection.py::test_a_pause_that_is_asked_for_while_dialling_is_obeyed",
    ),
    Guard(
        "certificate, and nothing else of TLS",
        "feeds/connection.py",
        "untrusted = isinstance(error, ssl.SSLCertVerificationError)",
        "untrusted = True",
        "tests/integration/test_connection.py::test_an_alert_of_tls_that_is_not_about_the_certificate_is_tried_again",
    ),
    Guard(
        "certificate",
        "feeds/connection.py",
        "untrusted = isinstance(error, ssl.SSLCertVerificationError)",
        "untrusted = False",
        "tests/integration/test_connection.py::test_a_certificate_that_nobody_vouches_for_is_fatal_and_never_accepted",
    ),
    Guard(
        "budget, the pause after 403",
        "feeds/connection.py",
        "if status == 403 and self.terms.forbidden_ns:",
        "if status == 0:",
        "tests/integration/test_connection.py::test_where_403_may_mean_too_often_it_is_a_pause_that_says_when_it_ends",
    ),
    Guard(
        "budget, snapshots before what others used",
        "feeds/rest.py",
        "ahead = self._goes_ahead(now) if share else None",
        "ahead = None",
        "tests/property/test_rest_limits.py::"
        "test_snapshots_need_not_wait_for_what_others_used_while_the_minute_safely_holds_both",
    ),
    Guard(
        "budget, the safe share of a minute",
        "feeds/rest.py",
        "return job if self._ours() + self._others + job.weight <= CAUTION * self.limit else None",
        "return job",
        "tests/property/test_rest_limits.py::"
        "test_snapshots_need_not_wait_for_what_others_used_while_the_minute_safely_holds_both",
    ),
    Guard(
        "budget, the venue's own count",
        "feeds/rest.py",
        "used=max(self._ours(), self._venue_used),",
        "used=self._ours(),",
        "tests/integration/test_rest.py::"
        "test_where_the_venue_counts_more_weight_than_we_asked_for_its_count_is_shown_and_kept_to",
    ),
    Guard(
        "an answer belongs to one question",
        "feeds/live.py",
        'own = msgspec.structs.replace(fetch, key=f"{conn} {self._asked} {fetch.key}")',
        "own = fetch",
        "tests/integration/test_live_requests.py::test_a_connection_is_not_given_the_answer_to_what_an_earlier_one_asked",
    ),
    Guard(
        "a list that leaves something out",
        "feeds/live.py",
        "if not each.funding_interval_s and each.id in known",
        "if not each.id",
        "tests/integration/test_live_requests.py::"
        "test_a_list_without_funding_intervals_changes_no_instrument_so_that_no_statistic_starts_over",
    ),
    Guard(
        "age of an open interest",
        "feeds/venues/binance.py",
        "elif now - self._counted_ns.get(native, now) > OPEN_INTEREST_OLD_NS:",
        "elif now < 0:",
        "tests/unit/test_binance.py::test_an_open_interest_that_cannot_be_had_any_more_becomes_unknown_after_a_minute",
    ),
    Guard(
        "a recording's head, the quote over a book",
        "feeds/session.py",
        "laid=_laid(feed.book),",
        "",
        "tests/unit/test_recording_head.py",
    ),
    Guard(
        "sequence, OKX",
        "feeds/venues/okx.py",
        "update.prevSeqId == feed.chain and book.state",
        "book.state",
        "tests/unit/test_okx.py::test_an_update_that_does_not_follow_blanks_the_book_and_asks_for_another",
    ),
    Guard(
        "sequence of a count that starts over, OKX",
        "feeds/venues/okx.py",
        "book.touch_seq = -1  # counting",
        "pass  # counting",
        "tests/unit/test_okx.py::test_a_reset_goes_on_from_the_smaller_number_and_an_older_best_quote_is_forgotten",
    ),
    Guard(
        "sequence at the join, OKX",
        "feeds/venues/okx.py",
        "if kept and not _contains(kept[0], last):",
        "if now < 0:",
        "tests/unit/test_okx.py::test_a_rest_snapshot_older_than_what_was_kept_is_asked_for_again_after_two_seconds",
    ),
    Guard(
        "sequence after the join, OKX",
        "feeds/venues/okx.py",
        "if not _contains(update, book.seq):",
        "if now < 0:",
        "tests/unit/test_okx.py::test_the_first_update_on_a_rest_snapshot_must_contain_it",
    ),
    Guard(
        "sequence of what is kept for the join, OKX",
        "feeds/venues/okx.py",
        "(self.events and self.events[-1].seqId != update.prevSeqId)",
        "False",
        "tests/unit/test_okx.py::test_updates_kept_with_a_hole_between_them_are_joined_after_the_hole_only",
    ),
    Guard(
        "checksum, OKX",
        "feeds/venues/okx.py",
        "if not _sums_up(feed, update):",
        "if now < 0:",
        "tests/unit/test_okx.py::test_an_old_update_with_another_checksum_blanks_the_book_before_anybody_sees_it",
    ),
    Guard(
        "checksum of a snapshot, OKX",
        "feeds/venues/okx.py",
        "if not numbered and not _sums_up(feed, snapshot):",
        "if now < 0:",
        "tests/unit/test_okx.py::test_an_old_snapshot_with_another_checksum_is_not_shown",
    ),
    Guard(
        "depth of a book, OKX",
        "feeds/venues/okx.py",
        "until_sweep = SWEEP_EVERY\n                    _sweep(feed, depth)",
        "until_sweep = SWEEP_EVERY",
        "tests/unit/test_okx.py::test_levels_beyond_the_depth_do_not_stay_as_ghosts",
    ),
    Guard(
        "size of the buffer, OKX",
        "feeds/venues/okx.py",
        "if self.size > BUFFER_BYTES or",
        "if",
        "tests/unit/test_okx.py::test_what_is_kept_for_a_join_is_bounded",
    ),
    Guard(
        "quote from far ahead, OKX",
        "feeds/venues/okx.py",
        "if seq is not None and seq - book.seq > FAR_AHEAD and book.state is synced:",
        "if now < 0:",
        "tests/unit/test_okx.py::test_a_best_quote_from_impossibly_far_ahead_is_refused",
    ),
    Guard(
        "budget of requests, OKX",
        "feeds/venues/okx.py",
        "if len(done) + more > OPERATIONS else NOTHING",
        "if now < 0 else NOTHING",
        "tests/unit/test_okx.py::test_requests_beyond_what_an_hour_allows_cost_the_connection_and_not_the_venues_patience",
    ),
    Guard(
        "topic, a part of a ticker, OKX",
        "feeds/venues/okx.py",
        "or now - self._spoke_ns.get(topic, now) < limit_ns:",
        "or now > 0:",
        "tests/unit/test_okx.py::test_a_silent_part_of_a_ticker_is_asked_for_again_while_others_speak",
    ),
    Guard(
        "acknowledgement, of every part, OKX",
        "feeds/venues/okx.py",
        "if not any(part in self._unanswered for part in self._topics_of(stream)) and asked.acknowledge():",
        "if asked.acknowledge():",
        "tests/unit/test_okx.py::test_a_stream_is_acknowledged_with_its_last_part",
    ),
    Guard(
        "sequence, Deribit",
        "feeds/venues/deribit.py",
        "if not snapshot and update.prev_change_id == feed.chain:",
        "if not snapshot:",
        "tests/unit/test_deribit.py::test_a_change_that_does_not_follow_blanks_the_book_and_asks_for_another",
    ),
    Guard(
        "sequence, a clock that is set back, Deribit",
        "feeds/venues/deribit.py",
        "if update.timestamp < book.seq:  # its clock",
        "if now < 0:  # its clock",
        "tests/unit/test_deribit.py::test_a_clock_of_the_engine_that_is_set_back_leaves_no_quote_of_before_over_the_book",
    ),
    Guard(
        "acknowledgement, of every channel, Deribit",
        "feeds/venues/deribit.py",
        "if channel not in channels]",
        "if False]",
        "tests/unit/test_deribit.py::test_a_channel_that_is_missing_from_the_answer_is_refused_and_the_others_are_not",
    ),
    Guard(
        "size of what is remembered, Deribit",
        "feeds/venues/deribit.py",
        "if len(self._awaited) >= REQUESTS_KEPT:",
        "if not request:",
        "tests/unit/test_deribit.py::test_answers_that_never_come_do_not_fill_the_memory",
    ),
    Guard(
        "quote from far ahead, Deribit",
        "feeds/venues/deribit.py",
        "if feed is not None and quote.timestamp - feed.book.seq > AHEAD_MS and feed.book.state is synced:",
        "if now < 0:",
        "tests/unit/test_deribit.py::test_a_best_quote_from_impossibly_far_ahead_is_refused",
    ),
    Guard(
        "budget, too many requests, Deribit",
        "feeds/venues/deribit.py",
        "if error.code == TOO_MANY:",
        "if now < 0:",
        "tests/unit/test_deribit.py::test_too_many_requests_give_the_connection_up_for_half_a_minute",
    ),
    Guard(
        "link, what comes after its end, Deribit",
        "feeds/venues/deribit.py",
        "        if not self.pulse.alive:\n            return NOTHING  # given up",
        "        if now < 0:\n            return NOTHING  # given up",
        "tests/unit/test_deribit.py::test_what_arrives_on_a_dead_link_brings_no_book_back",
    ),
    Guard(
        "id that is unheard of, BitMEX",
        "feeds/venues/bitmex.py",
        "                return None\n            price = row.price\n",
        "                continue\n            price = row.price\n",
        "tests/unit/test_bitmex.py::test_an_id_that_is_not_what_the_rows_before_made_of_it_is_a_gap",
    ),
    Guard(
        "id or price that is there already, BitMEX",
        "feeds/venues/bitmex.py",
        "if price is not None or row.price is None or row.price in own.ids or len(own.prices) >= IDS_KEPT:",
        "if row.price is None or len(own.prices) >= IDS_KEPT:",
        "tests/unit/test_bitmex.py::test_an_id_that_is_not_what_the_rows_before_made_of_it_is_a_gap",
    ),
    Guard(
        "price that is taken by another id, BitMEX",
        "feeds/venues/bitmex.py",
        "            if row.price in own.ids:\n                return None\n",
        "",
        "tests/unit/test_bitmex.py::test_an_id_that_is_not_what_the_rows_before_made_of_it_is_a_gap",
    ),
    Guard(
        "id, the gap it proves, BitMEX",
        "feeds/venues/bitmex.py",
        "if changes is None:\n                    return self.gap(feed, now)",
        "if changes is None:\n                    return NOTHING",
        "tests/unit/test_bitmex.py::test_an_id_that_is_not_what_the_rows_before_made_of_it_is_a_gap",
    ),
    Guard(
        "rows before the partial, BitMEX",
        "feeds/venues/bitmex.py",
        "elif book.state is not synced:",
        "elif now < 0:",
        "tests/unit/test_bitmex.py::test_what_comes_before_the_partial_is_ignored",
    ),
    Guard(
        "size of a book, BitMEX",
        "feeds/venues/bitmex.py",
        " or len(own.prices) >= IDS_KEPT:",
        ":",
        "tests/unit/test_bitmex.py::test_a_book_cannot_grow_for_ever",
    ),
    Guard(
        "size of an order list, BitMEX",
        "feeds/venues/bitmex.py",
        "if len(known) >= ORDERS_KEPT:",
        "if now < 0:",
        "tests/unit/test_bitmex.py::test_an_order_list_cannot_grow_for_ever",
    ),
    Guard(
        "topic, by a quote that stands still, BitMEX",
        "feeds/venues/bitmex.py",
        "return [*actions, *contradicted] if contradicted else actions",
        "return actions",
        "tests/unit/test_bitmex.py::test_a_book_that_differs_from_a_quote_for_two_still_seconds_is_fetched_anew",
    ),
    Guard(
        "nonsense that names no book, BitMEX",
        "feeds/venues/bitmex.py",
        "if match is None or (channel is Channel.BOOK and not natives):",
        "if now < 0:",
        "tests/unit/test_bitmex.py::test_a_refused_frame_of_nobody_knows_which_book_starts_every_book_over",
    ),
    Guard(
        "age of an index, fx",
        "analytics/fx.py",
        " and now - each.at_ns <= MAX_AGE_NS]",
        "]",
        "tests/unit/test_fx.py::test_a_rate_older_than_five_seconds_is_none_and_says_so",
    ),
    Guard(
        "indices of one moment, fx",
        "analytics/fx.py",
        "if each.in_step and now",
        "if now",
        "tests/unit/test_fx.py::test_two_indices_of_different_moments_are_no_estimate",
    ),
    Guard(
        "one source is none, fx",
        "analytics/fx.py",
        "len(near) >= ENOUGH and 2 * len(near)",
        "2 * len(near)",
        "tests/unit/test_fx.py::test_one_estimate_alone_is_no_rate",
    ),
    Guard(
        "more than half agree, fx",
        "analytics/fx.py",
        "and 2 * len(near) > len(estimates)",
        "",
        "tests/unit/test_fx.py::test_two_of_five_that_agree_are_not_enough",
    ),
    Guard(
        "what is far off is set aside, fx",
        "analytics/fx.py",
        "if abs(bps(each.usd, middle)) <= AGREE_BPS]",
        "]",
        "tests/unit/test_fx.py::test_one_index_that_is_far_off_neither_moves_the_rate_nor_widens_it",
    ),
    Guard(
        "an index repeated is not newer, fx",
        "analytics/fx.py",
        "before is None or index.venue_ns > before.venue_ns or wrong:",
        "True:",
        "tests/unit/test_fx.py::test_an_index_sent_again_and_again_with_the_same_time_grows_old",
    ),
    Guard(
        "taken after a refusal",
        "feeds/subscription.py",
        'if self.fault in ("", NO_DATA) or self.refused:',
        "if self.fault != NO_ANSWER:",
        "tests/unit/test_okx.py::test_a_stream_that_may_never_speak_is_well_once_it_is_taken_after_a_refusal",
    ),
    Guard(
        "nothing behind a broken message, picows",
        "feeds/quick_wire.py",
        "while self._connected.close_code in OURS:",
        "while False:",
        "tests/integration/test_connection.py::test_nothing_that_came_behind_a_broken_message_is_handed_over",
    ),
    Guard(
        "no socket of an attempt that ended, picows",
        "feeds/quick_wire.py",
        "attempt.push_async_callback(_ended, opened)",
        "pass",
        "tests/integration/test_connection.py::test_it_can_be_ended_while_it_waits_for_a_handshake",
    ),
    Guard(
        "rows of a later subscription, BitMEX",
        "feeds/venues/bitmex.py",
        "if feed is not None and feed.book.state is BookState.SYNCED:\n                # by the partial",
        "if now < 0:\n                # by the partial",
        "tests/unit/test_bitmex.py::test_a_book_of_an_earlier_subscription_is_not_gone_on_with_when_a_later_one_begins",
    ),
    Guard(
        "nonsense in the name of a table, BitMEX",
        "feeds/venues/bitmex.py",
        "if not _TABLE.fullmatch(name):",
        "if now < 0:",
        "tests/unit/test_bitmex.py::test_a_table_whose_name_is_garbled_is_refused_and_not_taken_for_one_that_nobody_reads",
    ),
    Guard(
        "nonsense that is no message, BitMEX",
        "feeds/venues/bitmex.py",
        "elif not message.info:",
        "elif now < 0:",
        "tests/unit/test_bitmex.py::test_an_object_that_is_neither_rows_nor_an_answer_is_refused",
    ),
    Guard(
        "link, what comes after its end, BitMEX",
        "feeds/venues/bitmex.py",
        "        if not self.pulse.alive:\n            return NOTHING  # given up",
        "        if now < 0:\n            return NOTHING  # given up",
        "tests/unit/test_bitmex.py::test_after_the_link_was_given_up_nothing_brings_a_book_back",
    ),
)


def misplaced() -> list[str]:
    """Guards that no longer stand where this list says, exactly once."""
    counts = ((guard, (ROOT / guard.path).read_text().count(guard.guard)) for guard in GUARDS)
    return [f"{guard.name}: {count} times in {guard.path}" for guard, count in counts if count != 1]


def without(guard: Guard, copy: Path) -> tuple[bool, str]:
    """Run its test in a copy that lacks the guard. Whether the test failed, and the line that says so."""
    path = copy / guard.path
    source = path.read_text()
    path.write_text(source.replace(guard.guard, guard.without, 1))
    try:
        return run(guard.test, copy)
    finally:
        path.write_text(source)


def run(test: str, copy: Path) -> tuple[bool, str]:
    """Whether a test fails in the copy."""
    arguments = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(arguments, cwd=copy, env=environment, capture_output=True, text=True, timeout=TEST_S, check=False)
    except subprocess.TimeoutExpired:
        return True, f"it had not ended after {TEST_S} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED")] or done.stdout.splitlines()[-1:]
    return done.returncode == 1, lines[0] if lines else ""


def main() -> int:
    problems = misplaced()
    asked = sys.argv[1:]  # parts of names; none for all
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        chosen = [guard for guard in GUARDS if not asked or any(part in guard.name for part in asked)]
        for guard in chosen:
            whole, said = run(guard.test, copy)
            if whole:
                problems.append(f"{guard.name}: its test fails with the guard as well: {said}")
                continue
            failed, line = without(guard, copy)
            print(f"{'fails' if failed else 'PASSES':7} {guard.name:34} {line.removeprefix('FAILED ')}", flush=True)
            if not failed:
                problems.append(f"{guard.name}: taken out, and {guard.test} passes")
    print("\n".join(problems) or f"{len(chosen)} guards, each with a test that fails without it")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
