"""What a stablecoin is worth in dollars, in as few words as the header has room for, and in a route's detail."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Final

from analytics.fx import FxRate, Missing, Source, peg
from feeds.model import MS, SECOND, Ns
from tui.formats import DASH, age
from tui.line import Span

AGE_FROM_NS: Final[Ns] = SECOND
"""Younger than that goes without saying."""
LEAST: Final = 1e-6
"""In bp: less than that is arithmetic."""
WORDS: Final[Mapping[Missing, str]] = {Missing.STALE: "STALE", Missing.ALONE: "1 source", Missing.APART: "SPLIT"}
"""Why there is no rate; one that was never heard of has no word."""


def rate_spans(rate: FxRate, now: Ns, short: bool = False) -> tuple[Span, ...]:
    """`USDT/USD .99962 ±1.0 impl`, with its age from a second on; why there is none; only the value where it is `short`."""
    name: Span = (f"{peg(rate.currency) if not short else rate.currency} ", "dim")
    if isnan(rate.usd):
        word = WORDS.get(rate.missing, "")
        since = f" {rate_age(rate, now)}" if word and rate.at_ns else ""
        return (name, (f"{DASH} {word}{since}" if word else DASH, "warn" if word else "dim"))
    value: Span = (rate_text(rate), "text")
    if rate.source is Source.FIXED:
        return (name, value, (" FIXED", "warn"))
    if short:
        return (name, value)
    old = f" {rate_age(rate, now)}" if now - rate.at_ns >= AGE_FROM_NS else ""
    return (name, value, (f" {uncertainty_text(rate)} impl{old}", "dim"))


def rate_text(rate: FxRate) -> str:
    """Five digits; a zero in front goes without saying."""
    return f"{rate.usd:.5f}".removeprefix("0")


def uncertainty_text(rate: FxRate) -> str:
    """In bp, to a tenth, rounded up: no rate is more certain than it says."""
    return f"±{-((LEAST - rate.uncertainty_bps) * 10 // 1) / 10:.1f}"


def rate_age(rate: FxRate, now: Ns) -> str:
    """Of the oldest index in it."""
    return age(max(now - rate.at_ns, 0) / MS)


def conversion_note(rates: Sequence[FxRate]) -> str:
    """By what a route is converted, and what that is made of: `at USDT/USD .99962 ±1.0 bp, implied`."""
    told = []
    for rate in rates:
        sure = "fixed by you" if rate.source is Source.FIXED else f"{uncertainty_text(rate)} bp, implied, not tradable"
        told.append(f"{peg(rate.currency)} {rate_text(rate)} {sure}")
    return "; ".join(told)
